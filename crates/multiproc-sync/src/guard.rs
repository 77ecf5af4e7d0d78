//! A held lock as a value: dropping it unlocks, and poisons where a panic cut the work short.

#![expect(
    unsafe_code,
    reason = "to take a lock is to promise something about memory"
)]

use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::thread;

use crate::lock::{Held, LockWord, NotTaken};
use crate::poison::{LockTimeoutError, PoisonError, TryLockError};
use crate::primitive::{Deadline, Until};

/// Holds a [`LockWord`] until dropped.
///
/// Dropped by a panic that began after the lock was taken, it leaves the lock poisoned. Leaked, it
/// keeps the lock for as long as the process lives, also when its thread has ended: references that came
/// from it may be anywhere. It stays in the thread that took the lock:
///
/// ```compile_fail,E0277
/// fn sent(guard: multiproc_sync::LockGuard<'static>) {
///     std::thread::spawn(|| drop(guard));
/// }
/// ```
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard<'a> {
    lock: &'a LockWord,
    /// Whether a panic was already under way, which the lock then knows nothing of.
    panicking: bool,
    /// Not `Send`: the kernel and the lock know the thread. `Sync` like the standard library's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl LockWord {
    /// Takes the lock, waiting as long as it takes.
    ///
    /// # Errors
    /// [`PoisonError`] with the guard where a holder died or panicked.
    ///
    /// # Panics
    /// If the calling thread holds the lock already, and as [`lock`](Self::lock).
    ///
    /// # Safety
    /// The memory stays mapped at this address, and a lock, until the guard has been dropped, or, where
    /// it is leaked, until the process has ended.
    #[inline]
    pub unsafe fn guard(&self) -> Result<LockGuard<'_>, PoisonError<LockGuard<'_>>> {
        // SAFETY: passed on to the caller.
        match unsafe { self.guard_until(Deadline::NEVER) } {
            Ok(guard) => Ok(guard),
            Err(LockTimeoutError::Poisoned(error)) => Err(error),
            Err(LockTimeoutError::TimedOut) => unreachable!("a wait without end timed out"),
        }
    }

    /// Takes the lock, waiting until the deadline.
    ///
    /// # Errors
    /// [`LockTimeoutError::TimedOut`] at the deadline; [`LockTimeoutError::Poisoned`] with the guard
    /// where a holder died or panicked.
    ///
    /// # Panics
    /// As [`guard`](Self::guard).
    ///
    /// # Safety
    /// As [`guard`](Self::guard).
    #[inline]
    pub unsafe fn guard_until(
        &self,
        deadline: Deadline,
    ) -> Result<LockGuard<'_>, LockTimeoutError<LockGuard<'_>>> {
        // SAFETY: passed on to the caller.
        match unsafe { self.lock_until(deadline, Until::ProcessEnds) } {
            Ok(held) => Ok(LockGuard::new(self, held)?),
            Err(NotTaken::TimedOut) => Err(LockTimeoutError::TimedOut),
            Err(error @ NotTaken::WouldDeadlock) => panic!("{error}"),
        }
    }

    /// Takes the lock without a guard, also where it is poisoned: [`told`](Self::told) says so. `false` at the
    /// deadline. It is held until [`unlock`](Self::unlock), or until the process has ended.
    ///
    /// # Panics
    /// As [`guard`](Self::guard).
    ///
    /// # Safety
    /// The memory stays mapped at this address, and a lock, until it is unlocked or the process has ended.
    #[inline]
    pub unsafe fn hold_until(&self, deadline: Deadline) -> bool {
        // SAFETY: passed on to the caller.
        match unsafe { self.lock_until(deadline, Until::ProcessEnds) } {
            Ok(_) => true,
            Err(NotTaken::TimedOut) => false,
            Err(error @ NotTaken::WouldDeadlock) => panic!("{error}"),
        }
    }

    /// As [`hold_until`](Self::hold_until), if nobody holds it.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Safety
    /// As [`hold_until`](Self::hold_until).
    #[inline]
    pub unsafe fn try_hold(&self) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { self.try_lock_until(Until::ProcessEnds) }.is_some()
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where it is held, if only by this thread;
    /// [`TryLockError::Poisoned`] with the guard where a holder died or panicked.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Safety
    /// As [`guard`](Self::guard).
    #[inline]
    pub unsafe fn try_guard(&self) -> Result<LockGuard<'_>, TryLockError<LockGuard<'_>>> {
        // SAFETY: passed on to the caller.
        match unsafe { self.try_lock_until(Until::ProcessEnds) } {
            Some(held) => Ok(LockGuard::new(self, held)?),
            None => Err(TryLockError::WouldBlock),
        }
    }
}

impl<'a> LockGuard<'a> {
    #[inline]
    fn new(lock: &'a LockWord, held: Held) -> Result<LockGuard<'a>, PoisonError<LockGuard<'a>>> {
        held.with(LockGuard {
            lock,
            panicking: thread::panicking(),
            thread: PhantomData,
        })
    }

    /// Releases the lock under the guard, until [`retake`](Self::retake). Dropped in between, the guard
    /// does nothing.
    ///
    /// # Safety
    /// As [`LockWord::unlock`].
    pub unsafe fn release(&mut self) {
        // SAFETY: passed on to the caller.
        unsafe { self.lock.unlock() };
    }

    /// Takes the lock that was [released](Self::release), however long it takes. Says what is said to its
    /// taker.
    ///
    /// # Panics
    /// As [`LockWord::guard`].
    ///
    /// # Safety
    /// As [`LockWord::guard`].
    pub unsafe fn retake(&mut self) -> Held {
        // SAFETY: passed on to the caller.
        match unsafe { self.lock.lock_until(Deadline::NEVER, Until::ProcessEnds) } {
            Ok(held) => held,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A forked child has its parent's guards, but not its locks.
        if !self.panicking && thread::panicking() && self.lock.is_mine() {
            self.lock.poison();
        }
        // SAFETY: what the guard gave access to is borrowed from it, and it ends here.
        unsafe { self.lock.unlock() };
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
