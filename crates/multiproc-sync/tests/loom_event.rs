//! The event under loom, and a death at every step of a set and of a wait.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use multiproc_sync::primitive::futex;
use multiproc_sync::{Deadline, EventWord};

use modelled::{at_every_step, explore, go, join, victim};

/// An event and what was done before it is set.
struct Shared {
    event: EventWord,
    number: UnsafeCell<u32>,
}

// SAFETY: `number` is written before the event is set and read after, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            event: EventWord::default(),
            number: UnsafeCell::new(0),
        })
    }

    fn wait(&self) {
        assert!(self.event.wait(Deadline::NEVER));
        self.number.with(|number| {
            // SAFETY: nobody writes any more.
            assert_eq!(unsafe { *number }, 1);
        });
    }

    fn announce(&self) {
        self.number.with_mut(|number| {
            // SAFETY: nobody reads yet.
            unsafe { *number = 1 };
        });
        self.event.set();
    }
}

#[test]
fn all_who_wait_are_woken_and_see_what_was_done() {
    explore(3, || {
        let shared = Shared::new();
        let others = [go(&shared, Shared::wait), go(&shared, Shared::wait)];
        shared.announce();
        join(others);
    });
}

#[test]
fn a_wait_that_began_before_a_set_ends_though_it_is_cleared() {
    explore(3, || {
        let shared = Shared::new();
        let other = go(&shared, |shared| {
            shared.event.set();
            shared.event.clear();
            shared.event.set();
        });
        assert!(shared.event.wait(Deadline::NEVER));
        join([other]);
    });
}

#[test]
fn a_deadline_ends_a_wait_and_takes_no_wake_along() {
    explore(2, || {
        let shared = Shared::new();
        let hasty = go(&shared, |shared| {
            let _set: bool = shared.event.wait(Deadline::now());
        });
        let patient = go(&shared, Shared::wait);
        futex::pass_deadlines();
        shared.announce();
        join([hasty, patient]);
    });
}

/// Of two who wait, both are woken, or the one who set it died before it was set.
fn a_setter_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let waiters = [(); 2].map(|()| {
        go(&shared, |shared| {
            assert!(shared.event.wait(Deadline::NEVER));
        })
    });
    let setter = victim(&shared, steps, &tell, |shared| shared.event.set());
    join([setter]);
    let came_through = told.recv().unwrap();
    // Nobody else may be needed where it was set.
    if !shared.event.is_set() {
        shared.event.set();
    }
    join(waiters);
    came_through
}

#[test]
fn a_death_at_every_step_of_a_set() {
    at_every_step(2, a_setter_dies);
}

/// A waiter that dies takes no wake along, nor does one that dies with the setter.
fn a_waiter_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let others = [
        victim(&shared, steps, &tell, |shared| {
            shared.event.wait(Deadline::NEVER)
        }),
        go(&shared, |shared| {
            assert!(shared.event.wait(Deadline::NEVER));
        }),
    ];
    shared.event.set();
    join(others);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_wait() {
    at_every_step(2, a_waiter_dies);
}

/// The setter dies after the change and before the wake, and whom the kernel wakes dies too.
fn setter_and_waiter_die(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let (tell_of_waiter, told_of_waiter) = channel();
    let waiters = [
        victim(&shared, steps, &tell_of_waiter, |shared| {
            shared.event.wait(Deadline::NEVER)
        }),
        go(&shared, |shared| {
            assert!(shared.event.wait(Deadline::NEVER));
        }),
    ];
    // It has announced, looked, set, and looked who is to be woken.
    let setter = victim(&shared, 4, &tell, |shared| shared.event.set());
    join([setter]);
    assert!(!told.recv().unwrap());
    if !shared.event.is_set() {
        shared.event.set();
    }
    join(waiters);
    told_of_waiter.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_wait_for_a_dead_setter() {
    at_every_step(1, setter_and_waiter_die);
}
