//! Threads of one process: who holds what, and what their ends give back.

use std::sync::atomic::{AtomicU32 as Number, Ordering::SeqCst};
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::*;

fn permits(count: u32) -> Permits {
    let permits = Permits::default();
    assert!(permits.give(count, u32::MAX));
    permits
}

fn take(permits: &Permits, count: u32, all: bool) -> Taken {
    // SAFETY: the tests' permits outlive the threads that take them.
    unsafe { permits.take(count, all, Until::ThreadEnds, limit()) }
        .expect("the permits do not come")
}

fn try_take(permits: &Permits, count: u32) -> bool {
    // SAFETY: as above.
    unsafe { permits.try_take(count, false, Until::ThreadEnds) }.is_some()
}

fn give_back(permits: &Permits, count: u32) -> bool {
    // SAFETY: nothing is accessed on the strength of them.
    unsafe { permits.give_back(count, None) }
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

#[test]
fn as_many_are_taken_as_there_are() {
    let it = permits(3);
    let _: Taken = take(&it, 2, false);
    assert!(!try_take(&it, 2) && try_take(&it, 1) && !try_take(&it, 1));
    assert_eq!(it.free(), 0);
    assert!(give_back(&it, 2) && it.free() == 2 && give_back(&it, 1));
    assert!(!give_back(&it, 1), "nothing is left to give back");
    assert_eq!(it.free(), 3);
}

#[test]
fn none_come_beyond_the_most() {
    let it = permits(2);
    assert!(!it.give(1, 2));
    let _: Taken = take(&it, 1, false);
    assert!(!it.give(1, 2), "one that is held counts");
    assert!(it.forget(1) && !it.forget(1));
    assert!(it.give(1, 2) && !it.give(1, 2));
    assert!(!it.give(u32::MAX, u32::MAX));
}

#[test]
fn what_an_ended_thread_held_is_free() {
    let it = permits(2);
    scope(|scope| {
        scope.spawn(|| assert!(try_take(&it, 1))).join().unwrap();
        assert_eq!(it.free(), 2);
        assert!(!it.is_poisoned());
        let taken = scope.spawn(|| take(&it, 2, true)).join().unwrap();
        assert_eq!(taken.held(), Held::Sound);
    });
    let poisoned = Held::Poisoned {
        owner: Some(std::process::id()),
    };
    let taken = take(&it, 2, true);
    assert_eq!(taken.held(), poisoned);
    it.clear_poison();
    // SAFETY: as in `give_back`.
    assert!(unsafe { it.give_back(2, Some(taken)) });
    assert_eq!(take(&it, 2, true).held(), Held::Sound);
}

#[test]
fn all_can_be_taken_back_from_whoever_has_them() {
    let it = permits(1);
    assert!(!it.take_back_all());
    let stale = take(&it, 1, true);
    scope(|scope| {
        scope.spawn(|| assert!(it.take_back_all())).join().unwrap();
    });
    let fresh = take(&it, 1, true);
    // SAFETY: as in `give_back`.
    let given = unsafe { it.give_back(1, Some(stale)) };
    assert!(!given, "it is not that turn's any more");
    assert_eq!(it.free(), 0);
    // SAFETY: as above.
    assert!(unsafe { it.give_back(1, Some(fresh)) });
    assert_eq!(it.free(), 1);
}

#[test]
fn a_deadline_ends_the_wait() {
    let it = permits(0);
    // SAFETY: as in `take`.
    let late = unsafe {
        it.take(
            1,
            false,
            Until::ThreadEnds,
            Deadline::after(Duration::from_millis(2)),
        )
    };
    assert_eq!(late, None);
    scope(|scope| {
        scope.spawn(|| take(&it, 1, false));
        assert!(it.give(1, u32::MAX));
    });
}

#[test]
fn a_sleeper_is_woken_by_a_holders_end() {
    let it = permits(1);
    let step = Number::new(0);
    scope(|scope| {
        scope.spawn(|| {
            let _: Taken = take(&it, 1, false);
            step.store(1, SeqCst);
            while !it.turnstile.is_held() {
                yield_now();
            }
        });
        while step.load(SeqCst) == 0 {
            yield_now();
        }
        let _: Taken = take(&it, 1, false);
        assert!(give_back(&it, 1));
    });
}

#[test]
fn who_comes_does_not_overtake_who_waits() {
    for _ in 0..200 {
        let it = permits(1);
        let first = take(&it, 1, true);
        let step = Number::new(0);
        scope(|scope| {
            scope.spawn(|| {
                let taken = take(&it, 1, true);
                while step.load(SeqCst) == 0 {
                    yield_now();
                }
                // SAFETY: as in `give_back`.
                assert!(unsafe { it.give_back(1, Some(taken)) });
            });
            while !it.turnstile.is_held() {
                yield_now();
            }
            // SAFETY: as in `give_back`.
            assert!(unsafe { it.give_back(1, Some(first)) });
            // SAFETY: as in `take`.
            let overtaken = unsafe { it.take_alone(1, true, Until::ThreadEnds) };
            step.store(1, SeqCst);
            assert_eq!(overtaken, None);
        });
        // SAFETY: as in `take`.
        let alone = unsafe { it.take_alone(1, true, Until::ThreadEnds) };
        assert!(alone.is_some(), "whoever is alone again has it as a lock");
    }
}

#[test]
fn more_threads_than_slots_take_turns() {
    let it = permits(1000);
    let inside = Number::new(0);
    scope(|scope| {
        for _ in 0..crate::table::SLOTS + 10 {
            scope.spawn(|| {
                let _: Taken = take(&it, 1, false);
                inside.fetch_add(1, SeqCst);
                assert!(give_back(&it, 1));
            });
        }
    });
    assert_eq!(it.free(), 1000);
}

#[test]
fn never_more_hold_than_there_are() {
    let it = permits(2);
    let inside = Number::new(0);
    scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let _: Taken = take(&it, 1, false);
                    assert!(inside.fetch_add(1, SeqCst) < 2);
                    inside.fetch_sub(1, SeqCst);
                    assert!(give_back(&it, 1));
                }
            });
        }
    });
    assert_eq!(it.free(), 2);
}
