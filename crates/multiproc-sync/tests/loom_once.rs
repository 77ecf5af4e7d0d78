//! Once under loom, and a death at every step of it.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use multiproc_sync::{Held, OnceWord};

use modelled::{at_every_step, explore, go, join, victim};

struct Shared {
    once: OnceWord,
    number: UnsafeCell<u32>,
}

// SAFETY: `number` is written by the one who does it, and read after, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            once: OnceWord::default(),
            number: UnsafeCell::new(0),
        })
    }

    fn call(&self) {
        let work = |held| {
            self.number.with_mut(|number| {
                // SAFETY: nobody else is at it, nor reads before it is done.
                let number = unsafe { &mut *number };
                assert!(*number == 0 || held != Held::Sound);
                *number = 1;
            });
        };
        // SAFETY: each thread has its own share of the memory.
        unsafe { self.once.call_once(work) };
        self.number.with(|number| {
            // SAFETY: it is done.
            assert_eq!(unsafe { *number }, 1);
        });
    }
}

#[test]
fn one_does_it_and_all_see_it() {
    explore(2, || {
        let shared = Shared::new();
        let others = [go(&shared, Shared::call), go(&shared, Shared::call)];
        shared.call();
        join(others);
    });
}

fn one_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let other = victim(&shared, steps, &tell, Shared::call);
    shared.call();
    join([other]);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step() {
    at_every_step(2, one_dies);
}
