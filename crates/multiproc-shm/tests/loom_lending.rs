//! Lending under loom: two or three threads, and a death at every step.
//!
//! loom reports a piece that two have, or that the lender has beside its user, as a race on its element.
//!
//! These models have been seen to fail. Each of the following changes makes at least two of them end in a race,
//! or in a change cut short of which nobody is told: leaving out either fence, the second look at which
//! lending it is, or the poison; a Relaxed store or load of `piece` in place of any Release or Acquire.

#![cfg(loom)]

#[path = "../../multiproc-sync/tests/modelled/mod.rs"]
mod modelled;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use multiproc_shm::lending::{Lending, PieceError, Slot, Words};
use multiproc_sync::primitive::model::step;
use multiproc_sync::{Deadline, Held, LockWord};

use modelled::{at_every_step, explore, go, join, victim};

/// A segment with one piece, of two numbers that are equal unless a change was cut short.
struct Shared {
    words: Words,
    slots: [Slot; 2],
    /// Of the segment, taken as if its lender had the segment's lock.
    lender: LockWord,
    pair: [UnsafeCell<u32>; 2],
    hints: [AtomicUsize; 3],
}

// SAFETY: `pair` is accessed by who has the piece only, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// What is lent: the first lending, of pieces of one element.
const FIRST: u64 = 1;

impl Shared {
    fn lent() -> Arc<Shared> {
        let shared = Arc::new(Shared {
            words: Words::default(),
            slots: [Slot::default(), Slot::default()],
            lender: LockWord::default(),
            pair: [UnsafeCell::new(0), UnsafeCell::new(0)],
            hints: [const { AtomicUsize::new(0) }; 3],
        });
        assert_eq!(shared.of(0).begin(1), FIRST);
        shared
    }

    /// As a process sees it: each has a hint of its own.
    fn of(&self, process: usize) -> Lending<'_> {
        Lending {
            words: &self.words,
            slots: &self.slots,
            hint: &self.hints[process],
        }
    }

    /// Changes the piece, in two steps, if it can be had.
    fn turn(&self, process: usize) -> Result<(), PieceError> {
        let taken = self.of(process).take(FIRST, 1, 0)?;
        self.change();
        drop(taken);
        Ok(())
    }

    fn change(&self) {
        for number in &self.pair {
            // SAFETY: the caller has the piece.
            number.with_mut(|number| unsafe { *number += 1 });
            step();
        }
    }

    fn read(&self) -> [u32; 2] {
        // SAFETY: the caller has the piece.
        [0, 1].map(|at| self.pair[at].with(|number| unsafe { *number }))
    }

    fn is_poisoned(&self) -> bool {
        self.words.lock.told() != Held::Sound
    }
}

#[test]
fn two_never_have_the_same_piece() {
    explore(3, || {
        let shared = Shared::lent();
        let other = go(&shared, |shared| {
            let turn = shared.turn(1);
            assert!(matches!(turn, Ok(()) | Err(PieceError::InUse)));
        });
        let turn = shared.turn(2);
        assert!(matches!(turn, Ok(()) | Err(PieceError::InUse)));
        join([other]);
        assert!(shared.of(0).end(Deadline::NEVER));
        assert_eq!(shared.read()[0], shared.read()[1]);
    });
}

/// As a segment of one element has it: a slot for each piece, which two want at once.
#[test]
fn nobody_is_refused_for_want_of_a_slot_where_each_piece_has_one() {
    explore(3, || {
        let shared = Shared::lent();
        let turn = |shared: &Shared, process| {
            let lending = Lending {
                slots: &shared.slots[..1],
                ..shared.of(process)
            };
            match lending.take(FIRST, 1, 0) {
                Ok(_taken) => shared.change(),
                Err(error) => assert_eq!(error, PieceError::InUse),
            }
        };
        let other = go(&shared, move |shared| turn(&shared, 1));
        turn(&shared, 2);
        join([other]);
        assert!(shared.of(0).end(Deadline::NEVER));
        assert_eq!(shared.read()[0], shared.read()[1]);
    });
}

#[test]
fn the_lender_has_it_back_when_nobody_uses_it() {
    explore(3, || {
        let shared = Shared::lent();
        let other = go(&shared, |shared| {
            let turn = shared.turn(1);
            assert!(matches!(turn, Ok(()) | Err(PieceError::Ended)));
        });
        assert!(shared.of(0).end(Deadline::NEVER));
        let before = shared.read();
        shared.change();
        assert_eq!(shared.read(), before.map(|number| number + 1));
        assert!(!shared.is_poisoned());
        join([other]);
    });
}

#[test]
fn what_one_did_the_next_sees() {
    explore(2, || {
        let shared = Shared::lent();
        let other = go(&shared, |shared| {
            while shared.turn(1).is_err() {
                loom::thread::yield_now();
            }
        });
        while shared.turn(2).is_err() {
            loom::thread::yield_now();
        }
        join([other]);
        assert!(shared.of(0).end(Deadline::NEVER));
        assert_eq!(shared.read(), [2, 2]);
    });
}

#[test]
fn a_users_death_at_every_step_frees_the_piece_and_is_told() {
    at_every_step(2, |steps| {
        let shared = Shared::lent();
        let (tell, told) = channel();
        let dying = victim(&shared, steps, &tell, |shared| shared.turn(1));
        // The lender, at the same time.
        assert!(shared.of(0).end(Deadline::NEVER));
        let [one, two] = shared.read();
        assert!(
            one == two || shared.is_poisoned(),
            "half changed, and nobody told"
        );
        join([dying]);
        told.recv().unwrap()
    });
}

#[test]
fn a_dead_users_piece_is_had_by_the_next() {
    at_every_step(1, |steps| {
        let shared = Shared::lent();
        let (tell, told) = channel();
        join([victim(&shared, steps, &tell, |shared| shared.turn(1))]);
        shared.turn(2).unwrap();
        assert!(shared.of(0).end(Deadline::NEVER));
        let [one, two] = shared.read();
        assert!(
            one == two || shared.is_poisoned(),
            "half changed, and nobody told"
        );
        told.recv().unwrap()
    });
}

#[test]
fn a_lenders_death_at_every_step_of_the_end_leaves_it_to_the_next() {
    at_every_step(2, |steps| {
        let shared = Shared::lent();
        let (tell, told) = channel();
        let dying = victim(&shared, steps, &tell, |shared| {
            // SAFETY: each thread has its own share of the memory.
            let _: Result<Held, _> = unsafe { shared.lender.lock(Deadline::NEVER) };
            shared.of(0).end(Deadline::NEVER)
        });
        let user = go(&shared, |shared| {
            let turn = shared.turn(1);
            assert!(matches!(turn, Ok(()) | Err(PieceError::Ended)));
        });
        join([dying]);
        assert!(shared.of(2).end(Deadline::NEVER));
        shared.change();
        join([user]);
        told.recv().unwrap()
    });
}
