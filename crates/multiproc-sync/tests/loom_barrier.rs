//! The barrier under loom, and the death of one who takes part, at every step of its wait.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::{Receiver, channel};
use loom::thread;
use multiproc_sync::primitive::model::mortal;
use multiproc_sync::{BarrierError, BarrierWord, Deadline};

use modelled::{at_every_step, explore, go, join, victim};

/// A barrier, and a number that one adds to before it and another reads after it.
struct Shared {
    barrier: BarrierWord,
    number: UnsafeCell<u32>,
}

// SAFETY: `number` is written by one thread before the barrier and read after it, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            barrier: BarrierWord::default(),
            number: UnsafeCell::new(0),
        })
    }

    fn wait(&self, parties: u32) -> Result<u32, BarrierError> {
        // SAFETY: each thread has its own share of the memory.
        unsafe { self.barrier.wait(parties, Deadline::NEVER, || ()) }
    }
}

#[test]
fn two_pass_two_rounds() {
    explore(1, || {
        let shared = Shared::new();
        let other = go(&shared, |shared| {
            shared.number.with_mut(|number| {
                // SAFETY: the other reads after the barrier.
                unsafe { *number = 1 };
            });
            shared.wait(2).unwrap();
            shared.wait(2).unwrap();
        });
        shared.wait(2).unwrap();
        shared.number.with(|number| {
            // SAFETY: written before the barrier.
            assert_eq!(unsafe { *number }, 1);
        });
        shared.wait(2).unwrap();
        join([other]);
    });
}

#[test]
fn three_pass_with_numbers_of_their_own() {
    explore(1, || {
        let shared = Shared::new();
        let (tell, told) = channel();
        let others = [(); 2].map(|()| {
            let tell = tell.clone();
            go(&shared, move |shared| {
                tell.send(shared.wait(3).unwrap()).unwrap();
            })
        });
        let mut all = vec![shared.wait(3).unwrap()];
        join(others);
        all.extend([(); 2].map(|()| told.recv().unwrap()));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}

#[test]
fn an_abort_wakes_who_waits() {
    explore(3, || {
        let shared = Shared::new();
        let other = go(&shared, |shared| {
            assert_eq!(shared.wait(2), Err(BarrierError::Broken));
        });
        shared.barrier.abort();
        join([other]);
    });
}

/// A member that waits for so many steps and dies, once it is a member.
fn member(
    shared: &Arc<Shared>,
    parties: u32,
    steps: u32,
) -> (thread::JoinHandle<()>, Receiver<bool>) {
    let (tell, told) = channel();
    let member = go(shared, move |shared| {
        // SAFETY: the thread has its own share of the memory.
        assert!(unsafe { shared.barrier.enlist() });
        tell.send(true).unwrap();
        let survived = mortal(steps, || shared.wait(parties)).is_some();
        tell.send(survived).unwrap();
    });
    assert!(told.recv().unwrap());
    (member, told)
}

fn one_of_two_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (member, told) = member(&shared, 2, steps);
    let _passed_or_broken: Result<u32, BarrierError> = shared.wait(2);
    join([member]);
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_wait() {
    at_every_step(1, one_of_two_dies);
}

fn one_of_three_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (member, told) = member(&shared, 3, steps);
    let (tell, other_passed) = channel();
    let other = go(&shared, move |shared| {
        tell.send(shared.wait(3).is_ok()).unwrap();
    });
    let passed = shared.wait(3).is_ok();
    join([member, other]);
    let survived = told.recv().unwrap();
    // A round is passed by all or by none.
    assert_eq!(passed, other_passed.recv().unwrap());
    assert!(passed || !survived);
    survived
}

#[test]
fn a_death_at_every_step_of_a_wait_with_two_others() {
    at_every_step(0, one_of_three_dies);
}

/// Dies at each step of an abort. Who waits is woken by it, or by the next.
fn one_who_aborts_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let other = go(&shared, |shared| {
        assert_eq!(shared.wait(2), Err(BarrierError::Broken));
    });
    let mortal = victim(&shared, steps, &tell, |shared| shared.barrier.abort());
    join([mortal]);
    let came_through = told.recv().unwrap();
    if !came_through && !shared.barrier.is_broken() {
        shared.barrier.abort();
    }
    join([other]);
    came_through
}

#[test]
fn a_death_at_every_step_of_an_abort() {
    at_every_step(1, one_who_aborts_dies);
}
