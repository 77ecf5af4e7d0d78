//! Bells: words in shared memory by which many processes wake one that waits for any of them.
//!
//! # State
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | [`PARKED`]: its owner sleeps, or is about to |
//! | 1 | [`RUNG`]: a wake-up was sent, and has arrived, since the owner declared that |
//! | the rest | counts declarations and rings, so that no value comes back soon |
//!
//! # Invariants
//!
//! 1. The owner declares that it sleeps, passes a fence, looks for what it waits for, and only then sleeps
//!    while the word is as it was declared. A ringer does what the owner waits for, passes a fence, and
//!    looks at the word. Of two fences one comes first: the owner sees what was done, or the ringer sees
//!    the declaration.
//! 2. A ringer that sees `PARKED` without `RUNG` changes the word, wakes, and only then sets `RUNG`. So one
//!    that is stopped or killed in between keeps nobody from being woken by the next; and of many
//!    that ring while the owner is on its way, most make no system call.
//! 3. `RUNG` is set only in the value that its setter's own ring has left. That value is gone for good once
//!    the owner withdraws: a late setter does nothing.
//!
//! # A ringer gone wild
//!
//! All ringers of a block can write to all its words. One that does so at random can silence a bell for all,
//! which is a wait that lasts until something else ends it, and nothing worse.
//!
//! # Death
//!
//! A ringer that is killed before it rings may leave the owner asleep over what it did. Who watches for
//! deaths looks at everything the dead could have done, and wakes the owner if need be.

use std::io;

use multiproc_sync::primitive::{AtomicU32, Ordering, fence, futex};
use serde::{Deserialize, Serialize};

use crate::block::Block;

const PARKED: u32 = 1;
const RUNG: u32 = 2;
const ONE: u32 = 4;
/// Bells of one block lie on lines of their own.
const STRIDE: usize = 128;

/// Some bells in one block of shared memory, by their numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bells(Block);

impl Bells {
    /// `count` bells whose owners are awake.
    ///
    /// # Errors
    /// Where there is no memory for them, or too many files are open.
    pub fn create(count: usize) -> io::Result<Bells> {
        Block::create(count.max(1) * STRIDE).map(Bells)
    }

    /// Rings a bell whose owner sleeps; does nothing, at the cost of a fence and a load, where it is awake.
    #[inline]
    pub fn ring(&self, number: usize) {
        fence(Ordering::SeqCst);
        self.ring_after_fence(number);
    }

    /// As [`ring`](Self::ring), where a sequentially consistent fence has just been passed since what the
    /// owner waits for was done.
    #[inline]
    pub fn ring_after_fence(&self, number: usize) {
        let word = self.word(number);
        // Relaxed, here and below: carries no data; the fence orders it (Invariant 1).
        if word.load(Ordering::Relaxed) & (PARKED | RUNG) == PARKED {
            let rung = word.fetch_add(ONE, Ordering::Relaxed).wrapping_add(ONE);
            futex::wake(word, u32::MAX);
            if rung & PARKED != 0 {
                // Where it fails somebody else has rung, or the owner is awake.
                let _seen =
                    word.compare_exchange(rung, rung | RUNG, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Declares that the owner is about to sleep, and gives the value while which it may. What it waits
    /// for is to be looked at after this.
    #[must_use]
    pub fn declare(&self, number: usize) -> u32 {
        let word = self.word(number);
        let mut now = word.load(Ordering::Relaxed);
        loop {
            let declared = (now & !RUNG).wrapping_add(ONE) | PARKED;
            match word.compare_exchange(now, declared, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    fence(Ordering::SeqCst);
                    return declared;
                }
                Err(changed) => now = changed,
            }
        }
    }

    /// Withdraws the declaration.
    pub fn withdraw(&self, number: usize) {
        self.word(number)
            .fetch_and(!(PARKED | RUNG), Ordering::Relaxed);
    }

    /// The word on which the owner sleeps.
    ///
    /// # Panics
    /// If there is no such bell.
    #[must_use]
    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    pub fn word(&self, number: usize) -> &AtomicU32 {
        let offset = number * STRIDE;
        assert!(offset < self.0.len(), "there is no bell {number}");
        let word = self.0.as_ptr().wrapping_add(offset).cast::<AtomicU32>();
        // SAFETY: inside the block, which is mapped while `self` lives; aligned, since the block is to
        // 128; any bytes are an atomic's, whoever writes to them.
        unsafe { &*word }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multiproc_sync::primitive::{AtomicU64, Deadline, Woken};
    use std::time::Duration;

    #[test]
    fn an_owner_that_sleeps_is_woken_and_one_that_is_awake_is_not() {
        let bells = Bells::create(2).unwrap();
        bells.ring(0);
        assert_eq!(bells.word(0).load(Ordering::Relaxed), 0);
        let asleep = bells.declare(0);
        bells.ring(1);
        assert_eq!(bells.word(0).load(Ordering::Relaxed), asleep);
        bells.ring(0);
        let limit = Deadline::after(Duration::from_secs(60));
        assert_eq!(futex::wait(bells.word(0), asleep, limit), Woken::Look);
        bells.withdraw(0);
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        const ROUNDS: u64 = 20_000;
        let bells = Bells::create(1).unwrap();
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        done.fetch_add(1, Ordering::Relaxed);
                        bells.ring(0);
                    }
                });
            }
            let mut seen = 0;
            while seen < 2 * ROUNDS {
                let asleep = bells.declare(0);
                let now = done.load(Ordering::Relaxed);
                if now == seen {
                    let limit = Deadline::after(Duration::from_secs(60));
                    assert_eq!(futex::wait(bells.word(0), asleep, limit), Woken::Look);
                }
                bells.withdraw(0);
                seen = now;
            }
        });
    }
}
