//! The lock under loom: all interleavings of two or three threads, and a death at every step.
//!
//! loom reports a lost wake as a deadlock, and a lock that two hold as a race on what it protects.
//!
//! These models have been seen to fail. Each of the following changes to the lock makes at least two
//! of them end in a deadlock or a race: releasing to 0; a take that drops `WAITERS`; retracting before
//! the sleep, or before the wake; a close without `CLOSING`, one that wakes nobody to find out, and a
//! sleep beside `CLOSING`; a release that is Relaxed; an unlock that does not wake. The way of the C
//! libraries (release to 0, and a woken thread takes with `WAITERS`) fails
//! `a_death_at_every_step_of_a_wait`: a newcomer takes the lock, the woken thread dies, the other
//! sleeper is forgotten.

#![cfg(loom)]

mod modelled;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::mpsc::channel;
use loom::thread;
use multiproc_sync::primitive::futex;
use multiproc_sync::primitive::model::{die, step};
use multiproc_sync::{Deadline, Held, LockWord, NotTaken};

use modelled::{at_every_step, costs_two_exchanges, explore, go, join, victim};

/// A lock and what it protects: two numbers that are equal unless a change was cut short.
struct Shared {
    lock: LockWord,
    pair: [UnsafeCell<u32>; 2],
}

// SAFETY: `pair` is accessed by the lock's holder only, which loom verifies.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: LockWord::default(),
            pair: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    /// A lock that says that somebody may sleep although nobody does, so that the next unlock closes.
    fn stale() -> Arc<Shared> {
        let shared = Shared::new();
        assert_eq!(shared.take(Deadline::NEVER), Ok(Held::Sound));
        futex::pass_deadlines();
        let late = Arc::clone(&shared);
        let late = thread::spawn(move || late.take(Deadline::now()));
        assert_eq!(late.join().unwrap(), Err(NotTaken::TimedOut));
        shared.release();
        shared
    }

    fn take(&self, deadline: Deadline) -> Result<Held, NotTaken> {
        // SAFETY: each thread has its own share of the memory.
        unsafe { self.lock.lock(deadline) }
    }

    fn release(&self) {
        // SAFETY: each caller is done with `pair`.
        unsafe { self.lock.unlock() };
    }

    fn add_to(&self, which: usize) -> u32 {
        self.pair[which].with_mut(|number| {
            // SAFETY: the caller holds the lock.
            let number = unsafe { &mut *number };
            *number += 1;
            *number
        })
    }

    /// The critical section. Repairs what a dead holder left; says how the lock was taken.
    fn change(&self, held: Held) -> Held {
        let first = self.add_to(0);
        step();
        let mut second = self.add_to(1);
        assert!(
            first == second || held != Held::Sound,
            "half a change, and no word of it"
        );
        while second < first {
            second = self.add_to(1);
        }
        held
    }

    fn turn(&self) -> Held {
        let held = self.change(self.take(Deadline::NEVER).unwrap());
        self.release();
        held
    }
}

#[test]
fn who_is_alone_makes_two_exchanges() {
    explore(0, || {
        let shared = Shared::new();
        costs_two_exchanges(|| assert_eq!(shared.turn(), Held::Sound));
        // SAFETY: the memory is this thread's.
        costs_two_exchanges(|| assert_eq!(unsafe { shared.lock.briefly(|| ()) }, Some(())));
    });
}

#[test]
fn two_threads_take_turns() {
    explore(3, || {
        let shared = Shared::new();
        let other = go(&shared, |shared| {
            assert_eq!(shared.turn(), Held::Sound);
            assert_eq!(shared.turn(), Held::Sound);
        });
        assert_eq!(shared.turn(), Held::Sound);
        assert_eq!(shared.turn(), Held::Sound);
        join([other]);
    });
}

#[test]
fn three_threads_take_turns() {
    explore(3, || {
        let shared = Shared::new();
        let turn = |shared: &Shared| assert_eq!(shared.turn(), Held::Sound);
        let others = [go(&shared, turn), go(&shared, turn)];
        turn(&shared);
        join(others);
    });
}

#[test]
fn three_threads_take_turns_while_one_closes() {
    explore(2, || {
        let shared = Shared::stale();
        let turn = |shared: &Shared| assert_eq!(shared.turn(), Held::Sound);
        let others = [go(&shared, turn), go(&shared, turn)];
        turn(&shared);
        join(others);
    });
}

/// One waits for ever and one until a deadline, which passes before or after the release.
fn one_times_out(before: bool) {
    explore(3, move || {
        let shared = Shared::new();
        assert_eq!(shared.take(Deadline::NEVER), Ok(Held::Sound));
        let hasty = go(&shared, |shared| match shared.take(Deadline::now()) {
            Ok(held) => {
                assert_eq!(shared.change(held), Held::Sound);
                shared.release();
            }
            Err(why) => assert_eq!(why, NotTaken::TimedOut),
        });
        let patient = go(&shared, |shared| assert_eq!(shared.turn(), Held::Sound));
        if before {
            futex::pass_deadlines();
            shared.release();
        } else {
            shared.release();
            futex::pass_deadlines();
        }
        join([hasty, patient]);
    });
}

#[test]
fn a_wait_that_times_out_before_the_release_takes_no_wake_with_it() {
    one_times_out(true);
}

#[test]
fn a_wait_that_times_out_after_the_release_takes_no_wake_with_it() {
    one_times_out(false);
}

#[test]
fn a_holder_that_tries_again_is_told_so() {
    explore(3, || {
        let shared = Shared::new();
        let other = go(&shared, |shared| assert_eq!(shared.turn(), Held::Sound));
        assert_eq!(shared.take(Deadline::NEVER), Ok(Held::Sound));
        assert_eq!(shared.take(Deadline::NEVER), Err(NotTaken::WouldDeadlock));
        shared.release();
        join([other]);
    });
}

#[test]
fn a_holders_death_is_told_to_a_sleeper() {
    explore(3, || {
        let shared = Shared::new();
        let victim = go(&shared, |shared| {
            assert_eq!(shared.take(Deadline::NEVER), Ok(Held::Sound));
            die();
        });
        let held = shared.turn();
        join([victim]);
        // Either this turn came first, or it was the one to be told, or the death left no name.
        if held == Held::Sound {
            assert_ne!(shared.turn(), Held::Sound);
        }
    });
}

/// Takes the lock and ends.
fn hold_until_death(shared: &Shared) -> Held {
    let held = shared.take(Deadline::NEVER).unwrap();
    die();
    held
}

fn bystander(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    go(shared, |shared| {
        let _: Held = shared.turn();
    })
}

/// Three take a turn, of which one dies at each of its steps.
fn one_of_three_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let others = [
        victim(&shared, steps, &tell, Shared::turn),
        bystander(&shared),
    ];
    let _: Held = shared.turn();
    join(others);
    let _: Held = shared.turn();
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_turn() {
    at_every_step(2, one_of_three_dies);
}

/// One dies at each step of a turn that ends with a close, and another wants the lock meanwhile.
fn a_closer_dies(steps: u32) -> bool {
    let shared = Shared::stale();
    let (tell, told) = channel();
    let closer = victim(&shared, steps, &tell, Shared::turn);
    let _: Held = shared.turn();
    join([closer]);
    let _: Held = shared.turn();
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_turn_that_closes() {
    at_every_step(3, a_closer_dies);
}

/// Takes a turn as a brief section, if it can, else as another.
fn brief_turn(shared: &Shared) {
    // SAFETY: the memory is the model's, which all threads share.
    let brief = unsafe { shared.lock.briefly(|| shared.change(Held::Sound)) };
    if brief.is_none() {
        let _: Held = shared.turn();
    }
}

#[test]
fn brief_sections_and_others_take_turns() {
    explore(3, || {
        let shared = Shared::new();
        let others = [
            go(&shared, brief_turn),
            go(&shared, |shared| assert_eq!(shared.turn(), Held::Sound)),
        ];
        brief_turn(&shared);
        join(others);
        assert!(!shared.lock.is_poisoned());
    });
}

/// One dies at each step of a brief section, while another takes a turn and a third another brief section.
fn one_dies_in_a_brief_section(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    let others = [
        victim(&shared, steps, &tell, brief_turn),
        go(&shared, brief_turn),
    ];
    let _: Held = shared.turn();
    join(others);
    // Who comes next is told of half a change, or it has been repaired.
    let _: Held = shared.turn();
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_brief_section() {
    at_every_step(2, one_dies_in_a_brief_section);
}

/// One dies at each step of a brief section that another waits for.
fn a_brief_holder_with_a_sleeper_dies(steps: u32) -> bool {
    let shared = Shared::stale();
    let (tell, told) = channel();
    let brief = victim(&shared, steps, &tell, brief_turn);
    let _: Held = shared.turn();
    join([brief]);
    let _: Held = shared.turn();
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_brief_section_that_another_waits_for() {
    at_every_step(3, a_brief_holder_with_a_sleeper_dies);
}

/// Two wait for this thread, which takes the lock again at once, often before the woken one does. One
/// of the two dies at each step up to its having the lock, and with it.
fn a_waiter_dies(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    assert_eq!(shared.take(Deadline::NEVER), Ok(Held::Sound));
    let others = [
        victim(&shared, steps, &tell, hold_until_death),
        bystander(&shared),
    ];
    shared.release();
    let _: Held = shared.turn();
    join(others);
    let _: Held = shared.turn();
    told.recv().unwrap()
}

#[test]
fn a_death_at_every_step_of_a_wait() {
    at_every_step(2, a_waiter_dies);
}

/// As above, with two that die at the same step of theirs.
fn two_waiters_die(steps: u32) -> bool {
    let shared = Shared::new();
    let (tell, told) = channel();
    assert_eq!(shared.take(Deadline::NEVER), Ok(Held::Sound));
    let others = [
        victim(&shared, steps, &tell, hold_until_death),
        victim(&shared, steps, &tell, hold_until_death),
        bystander(&shared),
    ];
    shared.release();
    let _: Held = shared.turn();
    join(others);
    let _: Held = shared.turn();
    let [first, second] = [(); 2].map(|()| told.recv().unwrap());
    first && second
}

#[test]
fn two_deaths_at_every_step_of_a_wait() {
    at_every_step(1, two_waiters_die);
}
