//! Conditions: a lock, and waiting for notice from whoever holds it next.

use std::fmt;
use std::io;
use std::time::Duration;

use multiproc_sync::{
    ConditionWord, Deadline, Held, LockGuard, LockTimeoutError, PoisonError, TryLockError,
};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};

/// A lock, whose holder can wait until another process has changed what it protects.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// condition. The lock is its own. Who has it waits and notifies through the guard.
///
/// ```
/// use multiproc_shm::{Condition, SharedValue};
///
/// let (condition, items) = (Condition::new()?, SharedValue::new(0)?);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let mut held = condition.lock().unwrap();
///         held.wait_while(|| items.get().unwrap() == 0).unwrap();
///         *items.lock().unwrap() -= 1;
///     });
///     let held = condition.lock().unwrap();
///     *items.lock().unwrap() += 1;
///     held.notify_one();
/// });
/// assert_eq!(items.get()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
///
/// One that is killed while it waits is forgotten; if it had been chosen by a `notify_one` and had not got
/// the lock back, another is chosen in its place. One that is killed or panics while it has the lock leaves
/// it poisoned: every later taker, who comes back from a wait too, gets `Err(PoisonError)` until
/// [`clear_poison`](Self::clear_poison). Nobody is notified of that by itself: who wants to notice waits
/// with a timeout.
///
/// # Differences from Python
///
/// The lock cannot be another one, and is not reentrant. Waiting and notifying without the lock is an
/// `AssertionError` there and cannot be written here. A process that is killed while it waits makes
/// Python's `notify` hang. No more than 126 threads wait at a time: for one more, a wait ends at once.
#[doc(alias = "multiprocessing.Condition")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Condition(Shared<ConditionWord>);

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for ConditionWord {
    const KIND: u32 = 20;

    fn is_used_by_this_process(&self) -> bool {
        ConditionWord::is_used_by_this_process(self)
    }
}

impl Condition {
    /// A condition whose lock nobody holds.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<Condition> {
        Shared::create().map(Condition)
    }

    /// Waits until nobody holds the lock, and takes it.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a holder died or panicked.
    ///
    /// # Panics
    /// If the calling thread holds the lock already, or a thousand others.
    #[doc(alias = "acquire")]
    pub fn lock(&self) -> Result<ConditionGuard<'_>, PoisonError<ConditionGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process holds it (`home.rs`).
        let taken = unsafe { self.0.lock().guard() };
        taken
            .map(|lock| self.guard(lock))
            .map_err(|error| error.map(|lock| self.guard(lock)))
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where somebody does; [`TryLockError::Poisoned`], with the guard in it,
    /// where a holder died or panicked.
    ///
    /// # Panics
    /// If the calling thread holds a thousand locks.
    pub fn try_lock(&self) -> Result<ConditionGuard<'_>, TryLockError<ConditionGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process holds it (`home.rs`).
        match unsafe { self.0.lock().try_guard() } {
            Ok(lock) => Ok(self.guard(lock)),
            Err(TryLockError::Poisoned(error)) => Err(error.map(|lock| self.guard(lock)).into()),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }

    /// As [`lock`](Self::lock), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// [`LockTimeoutError::TimedOut`] where somebody held it all the time;
    /// [`LockTimeoutError::Poisoned`], with the guard in it, where a holder died or panicked.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ConditionGuard<'_>, LockTimeoutError<ConditionGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process holds it (`home.rs`).
        match unsafe { self.0.lock().guard_until(Deadline::after(timeout)) } {
            Ok(lock) => Ok(self.guard(lock)),
            Err(LockTimeoutError::Poisoned(error)) => {
                Err(error.map(|lock| self.guard(lock)).into())
            }
            Err(LockTimeoutError::TimedOut) => Err(LockTimeoutError::TimedOut),
        }
    }

    /// Whether a holder of the lock died or panicked, and the poison was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.lock().is_poisoned()
    }

    /// Declares what the lock protects sound again; best done by who holds it.
    pub fn clear_poison(&self) {
        self.0.lock().clear_poison();
    }

    fn guard<'a>(&'a self, lock: LockGuard<'a>) -> ConditionGuard<'a> {
        ConditionGuard {
            condition: &self.0,
            _lock: lock,
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}

/// The held lock of a [`Condition`]: dropping it releases it.
///
/// Every form of wait releases the lock while it lasts, and has it again when it returns, also with an
/// error.
#[must_use = "the lock is released when this is dropped"]
pub struct ConditionGuard<'a> {
    condition: &'a ConditionWord,
    _lock: LockGuard<'a>,
}

impl ConditionGuard<'_> {
    /// Waits until notified. May end for nothing, where a process was killed.
    ///
    /// # Errors
    /// [`PoisonError`] where a holder of the lock died or panicked, meanwhile or before.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn wait(&mut self) -> Result<(), PoisonError<()>> {
        told(self.wait_until(Deadline::NEVER), ())
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`, and until the lock is free then. Says
    /// whether the thread was notified.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), with the answer in it.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool, PoisonError<bool>> {
        let (held, notified) = self.wait_until(Deadline::after(timeout));
        told((held, notified), notified)
    }

    /// Waits until `condition`, which is called with the lock held, says `false`.
    ///
    /// # Errors
    /// As [`wait`](Self::wait): the condition may still be true.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_while(
        &mut self,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), PoisonError<()>> {
        while condition() {
            self.wait()?;
        }
        Ok(())
    }

    /// As [`wait_while`](Self::wait_while), for no longer than `timeout`. Says whether the condition was
    /// false in the end.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), with that in it.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[doc(alias = "wait_for")]
    pub fn wait_timeout_while(
        &mut self,
        timeout: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<bool, PoisonError<bool>> {
        let deadline = Deadline::after(timeout);
        while condition() {
            if deadline.has_passed() {
                return Ok(false);
            }
            let waited = self.wait_until(deadline);
            if waited.0 != Held::Sound {
                return told(waited, !condition());
            }
        }
        Ok(true)
    }

    /// Notifies the thread that has waited longest, of whichever process.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    #[doc(alias = "notify")]
    pub fn notify_one(&self) {
        self.condition.notify(1);
    }

    /// Notifies all that wait.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn notify_all(&self) {
        self.condition.notify(u32::MAX);
    }

    /// Notifies the `count` threads that have waited longest, or all if they are fewer; says how many.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn notify_many(&self, count: u32) -> u32 {
        self.condition.notify(count)
    }

    fn wait_until(&mut self, deadline: Deadline) -> (Held, bool) {
        // SAFETY: the guard shows that the thread has the lock, and the memory stays mapped while a thread
        // of this process is in it (`home.rs`). What the guard stands for is not borrowed: `&mut self`.
        unsafe { self.condition.wait(deadline) }
    }
}

fn told<T>((held, _): (Held, bool), answer: T) -> Result<T, PoisonError<T>> {
    match held {
        Held::Sound => Ok(answer),
        Held::Poisoned { owner } => Err(PoisonError::new(answer, owner)),
    }
}

impl fmt::Debug for ConditionGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionGuard").finish_non_exhaustive()
    }
}
