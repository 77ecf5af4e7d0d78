//! An event: it is set or not, and a wait for it ends when it is, or was meanwhile.
//!
//! # State
//!
//! The state of an [alarm](crate::alarm), and nothing else:
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | it is set |
//! | the rest | how often it was set |
//!
//! # Invariants
//!
//! 1. Setting is one store, of the bit and the number. So a wait that sees another number than when it
//!    began was met, even if the event is clear again.
//! 2. All who sleep are woken by a set (`alarm.rs`), and none by a clear, which ends no wait.
//!
//! # Orderings
//!
//! A set is Release and pairs with the Acquire of a wait or look that finds it.
//!
//! # Death
//!
//! At any instruction of a set: it is not set; or it is, and all are woken, by the alarm's care. Waiting,
//! clearing and looking leave nothing behind.
//!
//! # Differences from Python
//!
//! A `wait` of `multiprocessing.Event` may say `False` where the event was set and cleared while it slept;
//! and a process that is killed while it sets one leaves all others hanging.

use crate::alarm::Alarm;
use crate::primitive::{AtomicU32, Deadline, Woken};

/// An event in memory that processes share; all zeroes is one that is not set.
#[repr(C)]
#[derive(Debug)]
pub struct EventWord {
    alarm: Alarm,
}

impl EventWord {
    /// Sets the event, and wakes all who wait for it.
    ///
    /// # Panics
    /// If the platform has no robust words, or the thread holds too many locks.
    pub fn set(&self) {
        self.alarm.ring_once();
    }

    /// Sees to what a process that has ended has left here and the kernel has not.
    pub fn sweep(&self) {
        self.alarm.sweep();
    }

    /// Clears the event.
    pub fn clear(&self) {
        self.alarm.clear();
    }

    /// Whether the event is set at this moment.
    #[must_use]
    #[inline]
    pub fn is_set(&self) -> bool {
        self.alarm.now() & 1 != 0
    }

    /// For who sleeps on other things besides: what [`word`](Self::word) holds until the event is set, from now on to
    /// [`unwatch`](Self::unwatch). Whether it is set is to be asked after this. A set by a process that is killed at
    /// once may not be told.
    #[must_use = "what the word holds until the event is set"]
    pub fn watch(&self) -> u32 {
        self.alarm.watch()
    }

    /// What sleepers sleep on.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        self.alarm.word()
    }

    /// The sleep that [`watch`](Self::watch) has announced is over.
    pub fn unwatch(&self) {
        self.alarm.unwatch();
    }

    /// Waits until the event is set, or the deadline. Says whether it is, or was meanwhile.
    ///
    /// # Panics
    /// As [`set`](Self::set).
    #[must_use]
    pub fn wait(&self, deadline: Deadline) -> bool {
        let before = self.alarm.now();
        let mut now = before;
        while now & 1 == 0 && now == before {
            let woken = self.alarm.sleep(now, &[], deadline);
            now = self.alarm.now();
            if woken == Woken::TimedOut {
                break;
            }
        }
        now & 1 != 0 || now != before
    }
}

/// One that is not set, for memory of this process: shared memory has them as zeroes.
impl Default for EventWord {
    fn default() -> EventWord {
        EventWord {
            alarm: Alarm::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread::scope;
    use std::time::Duration;

    #[test]
    fn it_is_set_and_cleared() {
        let it = EventWord::default();
        assert!(!it.is_set() && !it.wait(Deadline::now()));
        assert!(!it.wait(Deadline::after(Duration::from_millis(2))));
        it.set();
        it.set();
        assert!(it.is_set() && it.wait(Deadline::now()));
        it.clear();
        it.clear();
        assert!(!it.is_set() && !it.wait(Deadline::now()));
    }

    #[test]
    fn a_set_wakes_all_even_if_it_is_cleared_at_once() {
        const WAITERS: usize = 4;
        for _ in 0..200 {
            let it = EventWord::default();
            let ready = std::sync::Barrier::new(WAITERS + 1);
            scope(|scope| {
                for _ in 0..WAITERS {
                    scope.spawn(|| {
                        let before = it.alarm.now();
                        ready.wait();
                        while it.alarm.now() == before {
                            let _woken: Woken = it.alarm.sleep(before, &[], Deadline::NEVER);
                        }
                    });
                }
                ready.wait();
                it.set();
                it.clear();
            });
        }
    }
}
