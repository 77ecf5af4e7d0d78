//! Threads of one process: who is notified, in which order, and who is not.

use std::sync::Mutex;
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::*;
use crate::lock::{Held, LockWord};

/// A condition and a lock to go with it.
#[derive(Default)]
struct Pair {
    lock: LockWord,
    condition: ConditionWord,
}

impl Pair {
    fn lock(&self) {
        // SAFETY: the tests' pairs outlive the threads that use them.
        assert_eq!(unsafe { self.lock.lock(Deadline::NEVER) }, Ok(Held::Sound));
    }

    fn unlock(&self) {
        // SAFETY: nothing is accessed after.
        unsafe { self.lock.unlock() };
    }

    /// Waits, having the lock before and after, and says whether it was notified.
    fn wait_again(&self, deadline: Deadline) -> bool {
        let (mut it, condition) = (self, &self.condition);
        // SAFETY: as in `lock`.
        let ((), notified) =
            unsafe { condition.wait(&mut it, deadline, |it| it.unlock(), |it| it.lock()) };
        notified
    }

    fn wait(&self, deadline: Deadline) -> bool {
        self.lock();
        let notified = self.wait_again(deadline);
        self.unlock();
        notified
    }

    fn notify(&self, most: u32) -> u32 {
        self.lock();
        let notified = self.condition.notify(most);
        self.unlock();
        notified
    }
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn until_there_wait(it: &Pair, count: usize) {
    let limit = limit();
    while it.condition.waiting().count() != count {
        assert!(!limit.has_passed(), "they never come to wait");
        yield_now();
    }
}

#[test]
fn a_notice_without_waiters_is_nobodys() {
    let it = Pair::default();
    assert_eq!(it.notify(1), 0);
    assert!(!it.wait(Deadline::now()));
    assert!(!it.wait(Deadline::after(Duration::from_millis(2))));
    assert_eq!(it.notify(u32::MAX), 0);
}

#[test]
fn who_has_waited_longest_is_notified_first() {
    let it = Pair::default();
    let order = Mutex::new(Vec::new());
    scope(|scope| {
        for number in 0..4 {
            let (it, order) = (&it, &order);
            scope.spawn(move || {
                assert!(it.wait(limit()));
                order.lock().unwrap().push(number);
            });
            until_there_wait(it, number + 1);
        }
        for told in 1..=2 {
            assert_eq!(it.notify(1), 1);
            let limit = limit();
            while order.lock().unwrap().len() < told {
                assert!(!limit.has_passed());
                yield_now();
            }
        }
        assert_eq!(*order.lock().unwrap(), [0, 1]);
        assert_eq!(it.notify(5), 2);
    });
    assert_eq!(order.lock().unwrap().len(), 4);
}

#[test]
fn a_thread_that_ends_chosen_passes_it_on() {
    let it = Pair::default();
    scope(|scope| {
        scope.spawn(|| {
            // As one that is killed before it is told.
            // SAFETY: left at once; the slot lives as long as the thread.
            let _inside = unsafe { it.condition.gate.enter_now() };
            // SAFETY: as above.
            let slot = unsafe {
                it.condition
                    .table
                    .claim(&it.condition.gate.alarm, Until::ThreadEnds)
            }
            .unwrap();
            slot.note(STATE).store(NOTIFIED, Relaxed);
            drop(_inside);
            until_there_wait(&it, 1);
        });
        assert!(it.wait(limit()));
    });
}

#[test]
fn producers_and_consumers_meet() {
    const EACH: u64 = 2_000;
    let it = Pair::default();
    let items = AtomicU32::new(0);
    scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    it.lock();
                    while items.load(Relaxed) == 0 {
                        assert!(it.wait_again(limit()));
                    }
                    items.store(items.load(Relaxed) - 1, Relaxed);
                    it.unlock();
                }
            });
            scope.spawn(|| {
                for _ in 0..EACH {
                    it.lock();
                    items.store(items.load(Relaxed) + 1, Relaxed);
                    it.condition.notify(1);
                    it.unlock();
                }
            });
        }
    });
    assert_eq!(items.into_inner(), 0);
}
