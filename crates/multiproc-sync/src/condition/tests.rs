//! Threads of one process: who is notified, in which order, and who is not.

use std::sync::Mutex;
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::*;

fn lock(it: &ConditionWord) {
    // SAFETY: the tests' conditions outlive the threads that use them.
    assert_eq!(unsafe { it.lock().lock(Deadline::NEVER) }, Ok(Held::Sound));
}

fn unlock(it: &ConditionWord) {
    // SAFETY: nothing is accessed after.
    unsafe { it.lock().unlock() };
}

/// Takes the lock, waits, and says whether it was notified.
fn wait(it: &ConditionWord, deadline: Deadline) -> bool {
    lock(it);
    // SAFETY: as in `lock`.
    let (held, notified) = unsafe { it.wait(deadline) };
    assert_eq!(held, Held::Sound);
    unlock(it);
    notified
}

fn notify(it: &ConditionWord, most: u32) -> u32 {
    lock(it);
    let notified = it.notify(most);
    unlock(it);
    notified
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn until_there_wait(it: &ConditionWord, count: usize) {
    let limit = limit();
    while it.waiting().count() != count {
        assert!(!limit.has_passed(), "they never come to wait");
        yield_now();
    }
}

#[test]
fn a_notice_without_waiters_is_nobodys() {
    let it = ConditionWord::default();
    assert_eq!(notify(&it, 1), 0);
    assert!(!wait(&it, Deadline::now()));
    assert!(!wait(&it, Deadline::after(Duration::from_millis(2))));
    assert_eq!(notify(&it, u32::MAX), 0);
    assert!(!it.is_used_by_this_process());
}

#[test]
fn who_has_waited_longest_is_notified_first() {
    let it = ConditionWord::default();
    let order = Mutex::new(Vec::new());
    scope(|scope| {
        for number in 0..4 {
            let (it, order) = (&it, &order);
            scope.spawn(move || {
                assert!(wait(it, limit()));
                order.lock().unwrap().push(number);
            });
            until_there_wait(it, number + 1);
        }
        for told in 1..=2 {
            assert_eq!(notify(&it, 1), 1);
            let limit = limit();
            while order.lock().unwrap().len() < told {
                assert!(!limit.has_passed());
                yield_now();
            }
        }
        assert_eq!(*order.lock().unwrap(), [0, 1]);
        assert_eq!(notify(&it, 5), 2);
    });
    assert_eq!(order.lock().unwrap().len(), 4);
}

#[test]
fn a_thread_that_ends_chosen_passes_it_on() {
    let it = ConditionWord::default();
    scope(|scope| {
        scope.spawn(|| {
            // As one that is killed before it is told.
            // SAFETY: left at once; the slot lives as long as the thread.
            let _inside = unsafe { it.gate.enter_now() };
            // SAFETY: as above.
            let slot = unsafe { it.table.claim(&it.gate.alarm) }.unwrap();
            slot.note(STATE).store(NOTIFIED, Relaxed);
            drop(_inside);
            until_there_wait(&it, 1);
        });
        assert!(wait(&it, limit()));
    });
}

#[test]
fn producers_and_consumers_meet() {
    const EACH: u64 = 2_000;
    let it = ConditionWord::default();
    let items = AtomicU32::new(0);
    scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    lock(&it);
                    while items.load(Relaxed) == 0 {
                        // SAFETY: as in `lock`.
                        let (_, notified) = unsafe { it.wait(limit()) };
                        assert!(notified);
                    }
                    items.store(items.load(Relaxed) - 1, Relaxed);
                    unlock(&it);
                }
            });
            scope.spawn(|| {
                for _ in 0..EACH {
                    lock(&it);
                    items.store(items.load(Relaxed) + 1, Relaxed);
                    it.notify(1);
                    unlock(&it);
                }
            });
        }
    });
    assert_eq!(items.into_inner(), 0);
}
