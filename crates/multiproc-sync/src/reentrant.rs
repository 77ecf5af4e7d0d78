//! A lock that its holder may take again: a [`LockWord`] and how often it was taken.
//!
//! # State
//!
//! | lock | `depth` | meaning |
//! |---|---|---|
//! | free | anything | free |
//! | a thread's | n | that thread took it n times more than it released it |
//!
//! # Invariants
//!
//! 1. `depth` is written by the lock's holder only, and set anew by each.
//! 2. The lock is released when `depth` comes to 0, and not before.
//!
//! # Orderings
//!
//! `depth` is Relaxed: from one holder to the next it carries nothing.
//!
//! # Death
//!
//! At any instruction: as the lock's, see `lock.rs`. What `depth` was does not matter to the next.

#![expect(
    unsafe_code,
    reason = "to take a lock is to promise something about memory"
)]

use crate::lock::{Held, LockWord};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{AtomicU32, Deadline};

/// A lock for memory that processes share, which its holder may take again; all zeroes is an unlocked one.
#[repr(C)]
#[derive(Debug)]
pub struct ReentrantWord {
    lock: LockWord,
    depth: AtomicU32,
}

impl ReentrantWord {
    /// Takes the lock once more, waiting until the deadline for others to release it; `false` where that has passed.
    /// What its taker is told is [the word's](Self::word) to say.
    ///
    /// # Panics
    /// As [`LockWord::lock`]; or if the thread has taken it 2³² times.
    ///
    /// # Safety
    /// As [`LockWord::lock`].
    #[inline]
    pub unsafe fn lock(&self, deadline: Deadline) -> bool {
        // SAFETY: passed on to the caller.
        self.lock_again() || self.first(unsafe { self.lock.lock(deadline) }.is_ok())
    }

    /// Takes the lock once more unless another thread holds it.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Safety
    /// As [`lock`](Self::lock).
    #[inline]
    pub unsafe fn try_lock(&self) -> bool {
        // SAFETY: passed on to the caller.
        self.lock_again() || self.first(unsafe { self.lock.try_lock() }.is_some())
    }

    /// Releases the lock once. Does nothing in a thread that does not hold it.
    ///
    /// # Safety
    /// As [`LockWord::unlock`], where this releases the first taking.
    #[inline]
    pub unsafe fn unlock(&self) {
        if !self.lock.is_mine() {
            return;
        }
        let left = self.depth.load(Relaxed).saturating_sub(1);
        self.depth.store(left, Relaxed);
        if left == 0 {
            // SAFETY: passed on to the caller.
            unsafe { self.lock.unlock() };
        }
    }

    /// Releases the lock however often the calling thread has it, and says how often that was.
    ///
    /// # Safety
    /// As [`LockWord::unlock`].
    pub unsafe fn release(&self) -> u32 {
        let depth = self.depth();
        // SAFETY: passed on to the caller.
        unsafe { self.lock.unlock() };
        depth
    }

    /// Takes the lock as often as it was [released](Self::release), however long it takes.
    ///
    /// # Panics
    /// As [`lock`](Self::lock), and if the thread has it.
    ///
    /// # Safety
    /// As [`LockWord::lock`].
    pub unsafe fn retake(&self, depth: u32) -> Held {
        // SAFETY: passed on to the caller.
        match unsafe { self.lock.lock(Deadline::NEVER) } {
            Ok(held) => {
                self.depth.store(depth, Relaxed);
                held
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// How often the calling thread has it.
    #[must_use]
    pub fn depth(&self) -> u32 {
        if self.lock.is_mine() {
            self.depth.load(Relaxed)
        } else {
            0
        }
    }

    /// The lock itself: for its poison, and for who holds it.
    #[must_use]
    pub fn word(&self) -> &LockWord {
        &self.lock
    }

    #[inline]
    fn first(&self, taken: bool) -> bool {
        if taken {
            self.depth.store(1, Relaxed);
        }
        taken
    }

    #[inline]
    fn lock_again(&self) -> bool {
        let mine = self.lock.is_mine();
        if mine {
            let depth = self.depth.load(Relaxed).checked_add(1);
            let depth = depth.expect("the lock was taken 4294967296 times by one thread");
            self.depth.store(depth, Relaxed);
        }
        mine
    }
}

/// An unlocked one, for memory of this process: shared memory has them as zeroes.
impl Default for ReentrantWord {
    fn default() -> ReentrantWord {
        ReentrantWord {
            lock: LockWord::default(),
            depth: AtomicU32::new(0),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread::scope;

    fn lock(it: &ReentrantWord) -> Option<Held> {
        // SAFETY: the tests' locks outlive the threads that take them.
        unsafe { it.lock(Deadline::now()) }.then(|| it.word().told())
    }

    fn unlock(it: &ReentrantWord) {
        // SAFETY: it protects nothing.
        unsafe { it.unlock() };
    }

    #[test]
    fn it_is_released_as_often_as_taken() {
        let it = ReentrantWord::default();
        for depth in 1..=3 {
            assert_eq!(lock(&it), Some(Held::Sound));
            assert_eq!(it.depth(), depth);
        }
        for _ in 0..3 {
            let other = scope(|scope| scope.spawn(|| (lock(&it), it.depth())).join().unwrap());
            assert_eq!(other, (None, 0));
            unlock(&it);
        }
        assert_eq!(
            scope(|scope| scope.spawn(|| lock(&it)).join().unwrap()),
            Some(Held::Sound)
        );
        assert!(matches!(lock(&it), Some(Held::Poisoned { .. })));
        assert_eq!(it.depth(), 1, "what the dead thread left does not count");
        assert!(matches!(lock(&it), Some(Held::Poisoned { .. })));
        it.word().clear_poison();
        unlock(&it);
        assert_eq!(lock(&it), Some(Held::Sound));
        assert_eq!(it.depth(), 2);
    }

    #[test]
    fn who_does_not_hold_it_cannot_release_it() {
        let it = ReentrantWord::default();
        unlock(&it);
        assert_eq!(lock(&it), Some(Held::Sound));
        scope(|scope| {
            scope.spawn(|| unlock(&it));
        });
        assert_eq!(it.depth(), 1);
        // SAFETY: as in `lock`.
        assert!(unsafe { it.try_lock() });
        assert_eq!(it.word().told(), Held::Sound);
    }
}
