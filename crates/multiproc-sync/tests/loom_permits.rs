//! Permits under loom: two or three threads, and a death at every step.
//!
//! loom reports a lost wake as a deadlock, and a permit that two hold as a race on what it protects.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use loom::thread;
use multiproc_sync::primitive::model::{die, live_on, mortal, step};
use multiproc_sync::{Deadline, Held, Permits, Taken, Until};

use modelled::{at_every_step, costs_two_exchanges, explore, go, join, victim};

/// One permit, and what it protects.
struct Shared {
    permits: Permits,
    number: UnsafeCell<u32>,
}

// SAFETY: `number` is accessed by the permit's holder only, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(count: u32) -> Arc<Shared> {
        let permits = Permits::default();
        assert!(count == 0 || permits.give(count, u32::MAX));
        Arc::new(Shared {
            permits,
            number: UnsafeCell::new(0),
        })
    }

    fn take(&self) -> Taken {
        // SAFETY: each thread has its own share of the memory.
        unsafe {
            self.permits
                .take(1, true, Until::ThreadEnds, Deadline::NEVER)
        }
        .unwrap()
    }

    fn give_back(&self) {
        // SAFETY: each caller is done with `number`.
        assert!(unsafe { self.permits.give_back(1, None) });
    }

    /// One of several permits, which poisons nothing.
    fn take_to_read(&self) {
        // SAFETY: as in `take`.
        let taken = unsafe {
            self.permits
                .take(1, false, Until::ProcessEnds, Deadline::NEVER)
        };
        assert_eq!(taken.unwrap().held(), Held::Sound);
    }

    /// A change under both of two permits, which readers do not poison.
    fn write(&self) {
        // SAFETY: as in `take`.
        let taken = unsafe {
            self.permits
                .take(2, true, Until::ProcessEnds, Deadline::NEVER)
        };
        assert_eq!(taken.unwrap().held(), Held::Sound);
        self.number.with_mut(|number| {
            // SAFETY: this thread has all permits.
            unsafe { *number += 1 };
        });
        // SAFETY: the access is over.
        assert!(unsafe { self.permits.give_back(2, taken) });
    }

    fn turn(&self) {
        let taken = self.take();
        self.number.with_mut(|number| {
            // SAFETY: the caller holds the permit.
            unsafe { *number += 1 };
        });
        // SAFETY: the access is over.
        assert!(unsafe { self.permits.give_back(1, Some(taken)) });
    }
}

#[test]
fn who_is_alone_pays_as_for_a_lock() {
    explore(0, || {
        let (lock, pair) = (Shared::new(1), Shared::new(2));
        costs_two_exchanges(|| lock.turn());
        costs_two_exchanges(|| {
            pair.take_to_read();
            pair.give_back();
        });
        costs_two_exchanges(|| pair.write());
    });
}

#[test]
fn two_threads_take_turns() {
    explore(2, || {
        let shared = Shared::new(1);
        let other = go(&shared, Shared::turn);
        shared.turn();
        join([other]);
        assert_eq!(shared.permits.free(), 1);
    });
}

#[test]
fn three_threads_take_turns() {
    explore(1, || {
        let shared = Shared::new(1);
        let others = [go(&shared, Shared::turn), go(&shared, Shared::turn)];
        shared.turn();
        join(others);
        assert_eq!(shared.permits.free(), 1);
    });
}

#[test]
fn a_permit_that_is_added_wakes() {
    explore(2, || {
        let shared = Shared::new(0);
        let other = go(&shared, Shared::turn);
        assert!(shared.permits.give(1, 1));
        join([other]);
    });
}

#[test]
fn what_is_taken_back_wakes_and_is_not_given_back_twice() {
    explore(2, || {
        let shared = Shared::new(1);
        let stale = shared.take();
        let other = go(&shared, |shared| {
            let _: Taken = shared.take();
        });
        assert!(shared.permits.take_back_all());
        // SAFETY: nothing is accessed.
        unsafe { shared.permits.give_back(1, Some(stale)) };
        join([other]);
    });
}

#[test]
fn a_holders_death_is_told_to_the_next() {
    explore(2, || {
        let shared = Shared::new(1);
        let holder = go(&shared, |shared| {
            let _: Taken = shared.take();
            die();
        });
        let first = shared.take().held();
        shared.give_back();
        join([holder]);
        assert!(first != Held::Sound || shared.take().held() != Held::Sound);
    });
}

/// Takes a turn and dies at each step of it, while another wants one.
fn one_of_two_dies(steps: u32) -> bool {
    let shared = Shared::new(1);
    let (tell, told) = channel();
    let other = victim(&shared, steps, &tell, Shared::turn);
    shared.turn();
    join([other]);
    assert_eq!(shared.permits.free(), 1);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_turn() {
    at_every_step(2, one_of_two_dies);
}

/// Two wait for a permit; one of them dies at each step up to its having it, and with it.
fn a_waiter_dies(steps: u32) -> bool {
    let shared = Shared::new(1);
    let (tell, told) = channel();
    let _: Taken = shared.take();
    let others = [
        victim(&shared, steps, &tell, |shared| {
            let _: Taken = shared.take();
            die();
        }),
        go(&shared, Shared::turn),
    ];
    shared.give_back();
    join(others);
    assert_eq!(shared.permits.free(), 1);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_wait() {
    at_every_step(1, a_waiter_dies);
}

/// Adds a permit that another waits for, and dies at each step. That one goes on once there is one more.
fn a_giver_dies(steps: u32) -> bool {
    let shared = Shared::new(0);
    let (tell, told) = channel();
    let giver = victim(&shared, steps, &tell, |shared| {
        assert!(shared.permits.give(1, 2));
    });
    let waiter = go(&shared, Shared::turn);
    join([giver]);
    // Where the dead one has added it, nobody else may be needed to wake who waits for it: nor does
    // this look enter the gate.
    if shared.permits.total() == 0 {
        assert!(shared.permits.give(1, 1));
    }
    join([waiter]);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_an_addition() {
    at_every_step(2, a_giver_dies);
}

/// Two readers, of which one leaves the other, and a writer.
#[test]
fn a_writer_waits_for_each_reader() {
    explore(2, || {
        let shared = Shared::new(2);
        let (tell, told) = channel();
        shared.take_to_read();
        let other = go(&shared, move |shared| {
            shared.take_to_read();
            tell.send(()).unwrap();
            // SAFETY: this thread has a permit.
            shared.number.with(|number| unsafe { *number });
            shared.give_back();
        });
        told.recv().unwrap();
        let writer = go(&shared, |shared| shared.write());
        shared.give_back();
        join([other, writer]);
        assert_eq!(shared.permits.free(), 2);
    });
}

/// A reader that dies at each step, while a writer waits for all permits.
fn a_reader_dies(steps: u32) -> bool {
    let shared = Shared::new(2);
    let (tell, told) = channel();
    let reader = victim(&shared, steps, &tell, |shared| {
        shared.take_to_read();
        shared.give_back();
    });
    shared.write();
    join([reader]);
    assert_eq!(shared.permits.free(), 2);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_reader() {
    at_every_step(1, a_reader_dies);
}

/// A reader that has lent what it reads to another thread of its process, and dies at each step, while a writer
/// waits for all permits.
fn a_lending_reader_dies(steps: u32) -> bool {
    let shared = Shared::new(2);
    let (tell, told) = channel();
    let reading = Arc::clone(&shared);
    let reader = thread::spawn(move || {
        let came_through = live_on(|| {
            let mut lent = None;
            let came_through = mortal(steps, || {
                reading.take_to_read();
                lent = Some(go(&reading, |shared| {
                    // SAFETY: the process has a permit.
                    shared.number.with(|number| unsafe { *number });
                }));
                step();
                join(lent.take());
                reading.give_back();
            });
            join(lent);
            came_through.is_some()
        });
        tell.send(came_through).unwrap();
    });
    shared.write();
    join([reader]);
    told.recv().unwrap()
}

#[test]
fn a_dead_reader_s_other_thread_is_waited_for() {
    at_every_step(2, a_lending_reader_dies);
}
