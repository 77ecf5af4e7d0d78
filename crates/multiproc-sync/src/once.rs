//! Once: something that is done by the first who comes, while others wait.
//!
//! # State
//!
//! | lock | `done` | meaning |
//! |---|---|---|
//! | free | 0 | nobody has begun, or who had died or panicked |
//! | held | 0 | somebody is at it |
//! | anything | 1 | it is done |
//!
//! # Invariants
//!
//! 1. `done` is set by the lock's holder, after all is done, and never cleared.
//!
//! # Orderings
//!
//! `done` is set with Release, and read with Acquire by who does not take the lock.
//!
//! # Death
//!
//! Before `done` is set: the lock passes on (`lock.rs`), and the next is told of the death and does it
//! anew. After: it is done.

#![expect(
    unsafe_code,
    reason = "to take a lock is to promise something about memory"
)]

use crate::lock::{Held, LockWord};
use crate::poison::{LockTimeoutError, PoisonError};
use crate::primitive::Ordering::{Acquire, Release};
use crate::primitive::{AtomicU32, Deadline};

/// Something to be done once, in memory that processes share; all zeroes is not done yet.
#[repr(C)]
#[derive(Debug)]
pub struct OnceWord {
    lock: LockWord,
    done: AtomicU32,
}

impl OnceWord {
    /// Calls `work`, unless that has been done; returns when it is done. `work` is told whether somebody
    /// began before and died or panicked.
    ///
    /// # Panics
    /// Where `work` does, or calls this again; and as [`LockWord::lock`].
    ///
    /// # Safety
    /// The memory stays mapped at this address until this returns, or the thread has ended.
    pub unsafe fn call_once(&self, work: impl FnOnce(Held)) {
        // SAFETY: passed on to the caller.
        let _done = unsafe { self.call_once_until(work, Deadline::NEVER) };
    }

    /// As [`call_once`](Self::call_once), waiting for others until the deadline. Says whether it is done.
    ///
    /// # Panics
    /// As [`call_once`](Self::call_once).
    ///
    /// # Safety
    /// As [`call_once`](Self::call_once).
    pub unsafe fn call_once_until(&self, work: impl FnOnce(Held), deadline: Deadline) -> bool {
        if self.is_done() {
            return true;
        }
        // SAFETY: passed on to the caller.
        let taken = unsafe { self.lock.guard_until(deadline) };
        let (guard, held) = match taken {
            Ok(guard) => (guard, Held::Sound),
            Err(LockTimeoutError::TimedOut) => return self.is_done(),
            Err(LockTimeoutError::Poisoned(error)) => {
                let owner = error.owner();
                (PoisonError::into_inner(error), Held::Poisoned { owner })
            }
        };
        if !self.is_done() {
            work(held);
            // Release: what was done; pairs with the Acquire in `is_done`.
            self.done.store(1, Release);
        }
        drop(guard);
        true
    }

    /// Sees to what `process`, which has ended, has left here and the kernel has not. By one process at a time:
    /// the parent of the other.
    pub fn sweep(&self, process: u32) {
        self.lock.sweep(process);
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the Release in `call_once`.
        self.done.load(Acquire) != 0
    }
}

/// One that is not done, for memory of this process: shared memory has them as zeroes.
impl Default for OnceWord {
    fn default() -> OnceWord {
        OnceWord {
            lock: LockWord::default(),
            done: AtomicU32::new(0),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicU32 as Number, Ordering::SeqCst};
    use std::thread::scope;

    fn call(it: &OnceWord, work: impl FnOnce(Held)) {
        // SAFETY: the tests' words outlive the threads that use them.
        unsafe { it.call_once(work) };
    }

    #[test]
    fn it_is_done_once_and_all_wait_for_it() {
        let (it, done) = (OnceWord::default(), Number::new(0));
        scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    call(&it, |held| {
                        assert_eq!(held, Held::Sound);
                        done.fetch_add(1, SeqCst);
                    });
                    assert_eq!(done.load(SeqCst), 1);
                });
            }
        });
        assert!(it.is_done());
    }

    #[test]
    fn a_panic_leaves_it_to_the_next_who_is_told() {
        let it = OnceWord::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            call(&it, |_| resume_unwind(Box::new("half-way")));
        }));
        assert!(panicked.is_err() && !it.is_done());
        let owner = Some(std::process::id());
        call(&it, |held| assert_eq!(held, Held::Poisoned { owner }));
        assert!(it.is_done());
        call(&it, |_| panic!("it is done"));
    }
}
