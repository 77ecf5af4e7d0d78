//! Conditions: waiting, with a lock released meanwhile, for notice from whoever takes it next.

use std::fmt;
use std::io;
use std::time::Duration;

use multiproc_sync::{ConditionWord, Deadline, Held, PoisonError};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};

/// By which the holder of a lock waits until another thread, of whichever process, has changed what the
/// lock protects: the standard library's `Condvar`, between processes.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// condition. The lock is any: who waits hands over its guard and gets it back. The guards of [`Mutex`],
/// [`SharedArray`], [`Lock`] and [`RLock`] will do.
///
/// ```
/// use multiproc_shm::{Condition, Mutex};
///
/// let (items, changed) = (Mutex::new(0)?, Condition::new()?);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let some = changed.wait_while(items.lock().unwrap(), |items| *items == 0);
///         *some.unwrap() -= 1;
///     });
///     *items.lock().unwrap() += 1;
///     changed.notify_one();
/// });
/// assert_eq!(items.get()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Every form of wait releases the lock while it lasts, whatever the depth of an [`RLock`], and has it again
/// when it returns, also with an error. A notice reaches who waits then, in the order of arrival; what is
/// waited for is to be changed under the lock.
///
/// [`Mutex`]: crate::Mutex
/// [`SharedArray`]: crate::SharedArray
/// [`Lock`]: crate::Lock
/// [`RLock`]: crate::RLock
///
/// # When a process dies
///
/// One that is killed while it waits is forgotten; if it had been chosen by a `notify_one` and had not got
/// the lock back, another is chosen in its place. One that is killed or panics while it has the lock leaves
/// that poisoned: who comes back from a wait gets what any taker gets, `Err(PoisonError)` with the guard.
/// Nobody is notified of it by itself: who wants to notice waits with a timeout.
///
/// # Differences from Python
///
/// The lock is not part of the condition, so several conditions can go with one lock. Waiting without it is
/// an `AssertionError` there and cannot be written here; notifying without it is one too, and allowed
/// here. A process that is killed while it waits makes Python's `notify` hang. No more than 126 threads
/// wait at a time: for one more, a wait ends at once.
#[doc(alias = "multiprocessing.Condition")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Condition(Shared<ConditionWord>);

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for ConditionWord {
    const KIND: u32 = 20;

    fn sweep(&self, process: u32) {
        ConditionWord::sweep(self, process);
    }
}

/// A held lock that a [`Condition`] can release while its thread waits.
#[expect(private_bounds, reason = "nobody else releases the lock under a guard")]
pub trait Guard: Release {
    /// What the lock protects; `()` for a lock without data.
    type Data: ?Sized;

    /// What the lock protects.
    fn data(&mut self) -> &mut Self::Data;
}

pub(crate) trait Release: Sized {
    /// Dropped before it is taken again, the guard does nothing.
    fn release(&mut self);

    /// However long it takes. Says what is said to the lock's taker.
    fn retake(&mut self) -> Held;
}

/// The data of a lock without.
pub(crate) fn nothing<'a>() -> &'a mut () {
    // What has no size takes no memory.
    Box::leak(Box::new(()))
}

/// Whether a wait with a timeout ended by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult {
    timed_out: bool,
}

impl WaitTimeoutResult {
    /// Whether the time passed before there was a notice, or before the condition was false.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.timed_out
    }
}

impl Condition {
    /// A condition for which nobody waits.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<Condition> {
        Shared::create().map(Condition)
    }

    /// Waits until notified. May end for nothing, where a process was killed.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a holder of the lock died or panicked, meanwhile or
    /// before.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn wait<G: Guard>(&self, guard: G) -> Result<G, PoisonError<G>> {
        let (guard, held, _) = self.wait_until(guard, Deadline::NEVER);
        held.with(guard)
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`, and until the lock is free then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), with the whole answer in it.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<G: Guard>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> Result<(G, WaitTimeoutResult), PoisonError<(G, WaitTimeoutResult)>> {
        let (guard, held, notified) = self.wait_until(guard, Deadline::after(timeout));
        let timed_out = !notified;
        held.with((guard, WaitTimeoutResult { timed_out }))
    }

    /// Waits until `condition`, which is called with the lock held, says `false`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait): the condition may still be true.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_while<G: Guard>(
        &self,
        mut guard: G,
        mut condition: impl FnMut(&mut G::Data) -> bool,
    ) -> Result<G, PoisonError<G>> {
        while condition(guard.data()) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait_while`](Self::wait_while), for no longer than `timeout`. Has timed out where the condition
    /// is true in the end.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), with the whole answer in it.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[doc(alias = "wait_for")]
    pub fn wait_timeout_while<G: Guard>(
        &self,
        mut guard: G,
        timeout: Duration,
        mut condition: impl FnMut(&mut G::Data) -> bool,
    ) -> Result<(G, WaitTimeoutResult), PoisonError<(G, WaitTimeoutResult)>> {
        let deadline = Deadline::after(timeout);
        let mut held = Held::Sound;
        loop {
            let timed_out = condition(guard.data());
            if !timed_out || held != Held::Sound || deadline.has_passed() {
                return held.with((guard, WaitTimeoutResult { timed_out }));
            }
            (guard, held, _) = self.wait_until(guard, deadline);
        }
    }

    /// Notifies the thread that has waited longest, of whichever process.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[doc(alias = "notify")]
    pub fn notify_one(&self) {
        self.0.notify(1);
    }

    /// Notifies all that wait.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn notify_all(&self) {
        self.0.notify(u32::MAX);
    }

    /// Notifies the `count` threads that have waited longest, or all if they are fewer; says how many.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn notify_many(&self, count: u32) -> u32 {
        self.0.notify(count)
    }

    /// Gives what is said to the lock's taker, and whether the thread was notified.
    fn wait_until<G: Guard>(&self, mut guard: G, deadline: Deadline) -> (G, Held, bool) {
        // SAFETY: the memory stays mapped while `self` is borrowed, and while a thread of this process is in
        // it (`home.rs`).
        let waited = unsafe { self.0.wait(&mut guard, deadline, G::release, G::retake) };
        (guard, waited.0, waited.1)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}
