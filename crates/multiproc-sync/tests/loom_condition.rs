//! The condition under loom, and a death at every step of a wait and of a notice.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use multiproc_sync::primitive::futex;
use multiproc_sync::{ConditionWord, Deadline, Held, LockWord};

use modelled::{at_every_step, explore, go, join, victim};

/// A condition and a lock, and whether what is waited for has come.
struct Shared {
    lock: LockWord,
    condition: ConditionWord,
    ready: UnsafeCell<bool>,
}

// SAFETY: `ready` is accessed by the lock's holder only, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: LockWord::default(),
            condition: ConditionWord::default(),
            ready: UnsafeCell::new(false),
        })
    }

    fn lock(&self) -> Held {
        // SAFETY: each thread has its own share of the memory.
        unsafe { self.lock.lock(Deadline::NEVER) }.unwrap()
    }

    fn unlock(&self) {
        // SAFETY: each caller is done with `ready`.
        unsafe { self.lock.unlock() };
    }

    fn is_ready(&self) -> bool {
        self.ready.with(|ready| {
            // SAFETY: the caller holds the lock.
            unsafe { *ready }
        })
    }

    /// Waits once, having the lock before and after. Says whether it was notified.
    fn wait_until(&self, deadline: Deadline) -> bool {
        let (mut it, condition) = (self, &self.condition);
        // SAFETY: as in `lock`.
        let (_, notified): (Held, bool) =
            unsafe { condition.wait(&mut it, deadline, |it| it.unlock(), |it| it.lock()) };
        notified
    }

    fn wait(&self) {
        let _: Held = self.lock();
        while !self.is_ready() {
            self.wait_until(Deadline::NEVER);
        }
        self.unlock();
    }

    fn announce(&self, most: u32) {
        let _: Held = self.lock();
        self.ready.with_mut(|ready| {
            // SAFETY: the caller holds the lock.
            unsafe { *ready = true };
        });
        self.condition.notify(most);
        self.unlock();
    }
}

#[test]
fn who_waits_is_notified() {
    explore(3, || {
        let shared = Shared::new();
        let other = go(&shared, Shared::wait);
        shared.announce(1);
        join([other]);
    });
}

#[test]
fn all_who_wait_are_notified() {
    explore(2, || {
        let shared = Shared::new();
        let others = [go(&shared, Shared::wait), go(&shared, Shared::wait)];
        shared.announce(u32::MAX);
        join(others);
    });
}

#[test]
fn a_notice_for_one_passes_by_who_is_late() {
    explore(2, || {
        let shared = Shared::new();
        let hasty = go(&shared, |shared| {
            let _: Held = shared.lock();
            // What it was given it passes on.
            if !shared.is_ready() && shared.wait_until(Deadline::now()) {
                shared.condition.notify(1);
            }
            shared.unlock();
        });
        let patient = go(&shared, Shared::wait);
        futex::pass_deadlines();
        shared.announce(1);
        join([hasty, patient]);
    });
}

/// One of two who wait dies; a notice for one reaches the other, unless the dead one had been told.
fn a_waiter_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let mortal = victim(&shared, steps, &tell, Shared::wait);
    let other = go(&shared, Shared::wait);
    shared.announce(1);
    join([mortal]);
    let came_through = told.recv().unwrap();
    // Who was told holds the lock: alive, it came through, and dead, the lock says so.
    if came_through || shared.lock.is_poisoned() {
        shared.announce(1);
    }
    join([other]);
    came_through
}

#[test]
fn a_death_at_every_step_of_a_wait() {
    at_every_step(1, a_waiter_dies);
}

/// The notifier dies, with the lock: who takes it next is told, and notifies in its place.
fn a_notifier_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let notifier = victim(&shared, steps, &tell, |shared| shared.announce(u32::MAX));
    let others = [go(&shared, Shared::wait), go(&shared, Shared::wait)];
    join([notifier]);
    let came_through = told.recv().unwrap();
    if !came_through {
        shared.announce(u32::MAX);
    }
    join(others);
    came_through
}

#[test]
fn a_death_at_every_step_of_a_notice() {
    at_every_step(1, a_notifier_dies);
}

/// The notifier dies beside the only one that waits: at more instants than two can be followed to.
fn the_notifier_of_one_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let notifier = victim(&shared, steps, &tell, |shared| shared.announce(1));
    let other = go(&shared, Shared::wait);
    join([notifier]);
    let came_through = told.recv().unwrap();
    if !came_through {
        shared.announce(1);
    }
    join([other]);
    came_through
}

#[test]
fn a_death_at_every_step_of_a_notice_for_one() {
    at_every_step(2, the_notifier_of_one_dies);
}

/// The only one that waits dies, beside its notifier: the lock passes on, and nothing is left of the dead.
fn the_only_waiter_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let mortal = victim(&shared, steps, &tell, Shared::wait);
    shared.announce(1);
    join([mortal]);
    assert_eq!(
        shared.condition.notify(u32::MAX),
        0,
        "nobody waits any more"
    );
    let _: Held = shared.lock();
    shared.unlock();
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_wait_alone() {
    at_every_step(2, the_only_waiter_dies);
}
