//! Threads of one process: rounds, and what breaks them.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32 as Number;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::*;

fn wait(it: &BarrierWord, parties: u32) -> Result<u32, BarrierError> {
    // SAFETY: the tests' barriers outlive the threads that wait.
    unsafe { it.wait(parties, Deadline::after(Duration::from_secs(60)), || ()) }
}

fn until_there_wait(it: &BarrierWord, count: u32) {
    let limit = Deadline::after(Duration::from_secs(60));
    while it.waiting() != count {
        assert!(!limit.has_passed(), "they never come to wait");
        yield_now();
    }
}

#[test]
fn rounds_are_in_step_with_one_leader_each() {
    const PARTIES: u32 = 4;
    const ROUNDS: u32 = 300;
    let it = BarrierWord::default();
    let (acted, steps) = (Number::new(0), Number::new(0));
    let indices = Mutex::new(vec![BTreeSet::new(); ROUNDS as usize]);
    scope(|scope| {
        for _ in 0..PARTIES {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    steps.fetch_add(1, SeqCst);
                    let limit = Deadline::after(Duration::from_secs(60));
                    let action = || {
                        assert_eq!(steps.load(SeqCst), PARTIES * (round + 1));
                        acted.fetch_add(1, SeqCst);
                    };
                    // SAFETY: as in `wait`.
                    let index = unsafe { it.wait(PARTIES, limit, action) }.unwrap();
                    assert!(acted.load(SeqCst) > round);
                    assert!(indices.lock().unwrap()[round as usize].insert(index));
                }
            });
        }
    });
    assert_eq!(acted.into_inner(), ROUNDS);
    let all: BTreeSet<u32> = (0..PARTIES).collect();
    assert!(
        indices
            .into_inner()
            .unwrap()
            .into_iter()
            .all(|round| round == all)
    );
}

#[test]
fn one_party_waits_for_nobody() {
    let it = BarrierWord::default();
    for _ in 0..3 {
        assert_eq!(wait(&it, 1), Ok(0));
    }
}

#[test]
fn an_abort_breaks_it_until_it_is_reset() {
    let it = BarrierWord::default();
    scope(|scope| {
        let waiter = scope.spawn(|| wait(&it, 2));
        until_there_wait(&it, 1);
        it.abort();
        assert_eq!(waiter.join().unwrap(), Err(BarrierError::Broken));
    });
    assert!(it.is_broken());
    assert_eq!(wait(&it, 2), Err(BarrierError::Broken));
    it.reset();
    assert!(!it.is_broken());
    scope(|scope| {
        scope.spawn(|| wait(&it, 2).unwrap());
        wait(&it, 2).unwrap();
    });
}

#[test]
fn a_reset_breaks_the_round_of_who_waits_only() {
    let it = BarrierWord::default();
    scope(|scope| {
        let waiter = scope.spawn(|| wait(&it, 2));
        until_there_wait(&it, 1);
        it.reset();
        // The next round passes, whether the other has left or not.
        let next = scope.spawn(|| wait(&it, 2));
        assert!(wait(&it, 2).is_ok() && next.join().unwrap().is_ok());
        assert_eq!(waiter.join().unwrap(), Err(BarrierError::Broken));
    });
}

#[test]
fn a_deadline_breaks_it_for_all() {
    let it = BarrierWord::default();
    scope(|scope| {
        let patient = scope.spawn(|| wait(&it, 3));
        until_there_wait(&it, 1);
        let soon = Deadline::after(Duration::from_millis(2));
        // SAFETY: as in `wait`.
        let late = unsafe { it.wait(3, soon, || ()) };
        assert_eq!(late, Err(BarrierError::TimedOut));
        assert_eq!(patient.join().unwrap(), Err(BarrierError::Broken));
    });
}

#[test]
fn a_panic_in_the_action_breaks_it() {
    let it = BarrierWord::default();
    scope(|scope| {
        let other = scope.spawn(|| wait(&it, 2));
        until_there_wait(&it, 1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: as in `wait`.
            unsafe { it.wait(2, Deadline::NEVER, || resume_unwind(Box::new("the action"))) }
        }));
        assert!(panicked.is_err());
        assert_eq!(other.join().unwrap(), Err(BarrierError::Broken));
    });
}

#[test]
fn the_end_of_a_member_breaks_it_and_that_of_others_does_not() {
    let it = BarrierWord::default();
    scope(|scope| {
        scope.spawn(|| {
            // SAFETY: the barrier outlives the thread.
            assert!(unsafe { it.enlist() });
            it.resign();
        });
    });
    assert!(!it.is_broken());
    scope(|scope| {
        let waiter = scope.spawn(|| wait(&it, 2));
        until_there_wait(&it, 1);
        // SAFETY: as above.
        scope.spawn(|| assert!(unsafe { it.enlist() }));
        assert_eq!(waiter.join().unwrap(), Err(BarrierError::Broken));
    });
}

#[test]
fn as_many_as_there_can_be_pass_twice() {
    let it = BarrierWord::default();
    scope(|scope| {
        for _ in 0..MAX_PARTIES {
            scope.spawn(|| {
                wait(&it, MAX_PARTIES).unwrap();
                wait(&it, MAX_PARTIES).unwrap();
            });
        }
    });
}
