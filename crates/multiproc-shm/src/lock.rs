//! A lock without data, which any process may release.

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::thread;
use std::time::Duration;

use multiproc_sync::{
    Deadline, Held, LockTimeoutError, Permits, PoisonError, Taken, TryLockError, Until,
};
use serde::{Deserialize, Serialize};

use crate::condition::{Guard, Release, nothing};
use crate::home::{Primitive, Shared};

/// A lock shared by processes, that protects whatever its users agree on.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// lock. Where it protects plain data, [`Mutex`](crate::Mutex) and
/// [`SharedArray`](crate::SharedArray) have a lock of their own.
///
/// ```
/// use multiproc_shm::Lock;
///
/// let lock = Lock::new()?;
/// let held = lock.lock().unwrap();
/// assert!(lock.try_lock().is_err());
/// drop(held);
///
/// lock.lock().unwrap().keep(); // until somebody, in whichever process, releases it
/// lock.release()?;
/// assert!(lock.release().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When the holder dies
///
/// The lock is the holding thread's until it is released. When that thread ends, is killed with its
/// process, or panics, the next to take the lock gets `Err(PoisonError)` with the guard in it: what the
/// lock protects may be half changed. It is told once; the one after it gets a plain guard.
///
/// # Differences from Python
///
/// Python's lock stays locked when its holder is killed. A thread that ends releases what it has kept.
/// Releasing what nobody holds is an error here as there.
#[doc(alias = "multiprocessing.Lock")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lock(Shared<LockPermit>);

/// One permit: who has it has the lock.
#[repr(transparent)]
pub(crate) struct LockPermit(Permits);

// SAFETY: `Permits` is atomics only, and new as zeroes; the one permit is added by `Lock::new`.
unsafe impl Primitive for LockPermit {
    const KIND: u32 = 16;

    fn sweep(&self, process: u32) {
        self.0.sweep(process);
    }
}

/// A release of what is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody holds what was to be released")
    }
}

impl Error for NotHeld {}

impl Lock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<Lock> {
        let lock = Lock(Shared::create()?);
        lock.0.0.give(1, 1);
        Ok(lock)
    }

    /// Waits until nobody holds the lock, and takes it. Who waits is served in the order of arrival.
    ///
    /// A thread that holds the lock waits too, until another releases it.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where the last holder died or panicked.
    ///
    /// # Panics
    /// If the thread holds a thousand locks already.
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, PoisonError<LockGuard<'_>>> {
        match self.take(Deadline::NEVER) {
            Some(taken) => LockGuard::new(&self.0.0, taken),
            None => unreachable!("a wait without end timed out"),
        }
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where somebody does; [`TryLockError::Poisoned`], with the guard in it,
    /// where the last holder died or panicked.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<LockGuard<'_>, TryLockError<LockGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.0.try_take(1, true, Until::ThreadEnds) } {
            Some(taken) => Ok(LockGuard::new(&self.0.0, taken)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// As [`lock`](Self::lock), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// [`LockTimeoutError::TimedOut`] where somebody held it all the time;
    /// [`LockTimeoutError::Poisoned`], with the guard in it, where the last holder died or panicked.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<LockGuard<'_>, LockTimeoutError<LockGuard<'_>>> {
        match self.take(Deadline::after(timeout)) {
            Some(taken) => Ok(LockGuard::new(&self.0.0, taken)?),
            None => Err(LockTimeoutError::TimedOut),
        }
    }

    /// Releases the lock, whichever thread of whichever process holds it. A guard of it that is left
    /// does nothing when dropped.
    ///
    /// # Errors
    /// [`NotHeld`] where nobody holds it.
    pub fn release(&self) -> Result<(), NotHeld> {
        self.0.0.take_back_all().then_some(()).ok_or(NotHeld)
    }

    /// Whether somebody holds the lock at this moment.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.0.free() == 0
    }

    /// What a guard is made of, which is made where it stays: handed up through several results, it would cost
    /// more than the lock.
    #[inline]
    fn take(&self, deadline: Deadline) -> Option<Taken> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        unsafe { self.0.0.take(1, true, Until::ThreadEnds, deadline) }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

/// A held [`Lock`]: dropping it releases it.
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard<'a> {
    permits: &'a Permits,
    taken: Taken,
    /// Whether a panic was already under way.
    panicking: bool,
    /// Not `Send`: the lock is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> LockGuard<'a> {
    #[inline]
    fn new(
        permits: &'a Permits,
        taken: Taken,
    ) -> Result<LockGuard<'a>, PoisonError<LockGuard<'a>>> {
        told(permits, taken).with(LockGuard {
            permits,
            taken,
            panicking: thread::panicking(),
            thread: PhantomData,
        })
    }

    /// Leaves the lock held: until [`Lock::release`], or until this thread ends.
    pub fn keep(self) {
        #[expect(clippy::mem_forget, reason = "nothing but the release is in it")]
        std::mem::forget(self);
    }
}

/// What is said to the taker: of a death, once. Killed before this, the next is told of this process.
#[inline]
fn told(permits: &Permits, taken: Taken) -> Held {
    let held = taken.held();
    if held != Held::Sound {
        permits.clear_poison();
    }
    held
}

impl Release for LockGuard<'_> {
    fn release(&mut self) {
        // SAFETY: the lock protects nothing that this crate knows of.
        unsafe { self.permits.give_back(1, Some(self.taken)) };
    }

    fn retake(&mut self) -> Held {
        // SAFETY: as in `Lock::take`.
        let taken = unsafe {
            self.permits
                .take(1, true, Until::ThreadEnds, Deadline::NEVER)
        };
        self.taken = taken.expect("a wait without end timed out");
        told(self.permits, self.taken)
    }
}

impl Guard for LockGuard<'_> {
    type Data = ();

    fn data(&mut self) -> &mut () {
        nothing()
    }
}

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.permits.poison(self.taken);
        }
        // SAFETY: who holds the guard is done.
        unsafe { self.permits.give_back(1, Some(self.taken)) };
    }
}

impl fmt::Debug for LockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").finish_non_exhaustive()
    }
}
