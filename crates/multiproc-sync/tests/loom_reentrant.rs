//! The reentrant lock under loom, and a death at every step of a nested turn.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use multiproc_sync::{Deadline, ReentrantWord};

use modelled::{at_every_step, costs_two_exchanges, explore, go, join, victim};

struct Shared {
    lock: ReentrantWord,
    number: UnsafeCell<u32>,
}

// SAFETY: `number` is accessed by the lock's holder only, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: ReentrantWord::default(),
            number: UnsafeCell::new(0),
        })
    }

    fn take(&self) {
        // SAFETY: each thread has its own share of the memory.
        assert!(unsafe { self.lock.lock(Deadline::NEVER) });
    }

    fn release(&self) {
        // SAFETY: each caller is done with `number`, or has the lock once more.
        unsafe { self.lock.unlock() };
    }

    fn nested_turn(&self) {
        self.take();
        self.take();
        self.release();
        self.number.with_mut(|number| {
            // SAFETY: the caller has the lock still.
            unsafe { *number += 1 };
        });
        self.release();
        assert_eq!(self.lock.depth(), 0);
    }
}

#[test]
fn who_is_alone_makes_two_exchanges() {
    explore(0, || {
        let shared = Shared::new();
        costs_two_exchanges(|| shared.nested_turn());
    });
}

#[test]
fn two_threads_take_nested_turns() {
    explore(3, || {
        let shared = Shared::new();
        let other = go(&shared, Shared::nested_turn);
        shared.nested_turn();
        join([other]);
    });
}

fn one_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let other = victim(&shared, steps, &tell, Shared::nested_turn);
    shared.nested_turn();
    join([other]);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_nested_turn() {
    at_every_step(1, one_dies);
}
