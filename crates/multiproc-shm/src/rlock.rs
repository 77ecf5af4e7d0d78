//! A lock without data that its holder may take again.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::thread;
use std::time::Duration;

use multiproc_sync::{Deadline, Held, LockTimeoutError, PoisonError, ReentrantWord, TryLockError};
use serde::{Deserialize, Serialize};

use crate::condition::{Guard, Release, nothing};
use crate::home::{Primitive, Shared};

/// A lock shared by processes that the thread which holds it may take again.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// lock. Others get it once every guard of it is gone.
///
/// ```
/// use multiproc_shm::RLock;
///
/// let lock = RLock::new()?;
/// let outer = lock.lock().unwrap();
/// let inner = lock.lock().unwrap();
/// drop((outer, inner));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When the holder dies
///
/// When the thread ends, is killed with its process, or panics, every later taker gets
/// `Err(PoisonError)` with the guard in it, until [`clear_poison`](Self::clear_poison).
///
/// # Differences from Python
///
/// Python's stays locked when its holder is killed. A release by another thread than the holder is an
/// `AssertionError` there, and cannot be written here: the guard releases.
#[doc(alias = "multiprocessing.RLock")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RLock(Shared<ReentrantWord>);

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for ReentrantWord {
    const KIND: u32 = 17;

    fn sweep(&self, process: u32) {
        self.word().sweep(process);
    }
}

impl RLock {
    /// A lock that nobody holds.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<RLock> {
        Shared::create().map(RLock)
    }

    /// Waits until no other thread holds the lock, and takes it, once more if need be.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a holder died or panicked.
    ///
    /// # Panics
    /// If the thread holds a thousand locks already, or this one four thousand million times.
    #[doc(alias = "acquire")]
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_>, PoisonError<RLockGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process holds it (`home.rs`).
        if !unsafe { self.0.lock(Deadline::NEVER) } {
            unreachable!("a wait without end timed out");
        }
        RLockGuard::new(&self.0)
    }

    /// Takes the lock, once more if need be, if no other thread holds it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where another does; [`TryLockError::Poisoned`], with the guard in it,
    /// where a holder died or panicked.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<RLockGuard<'_>, TryLockError<RLockGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process holds it (`home.rs`).
        if !unsafe { self.0.try_lock() } {
            return Err(TryLockError::WouldBlock);
        }
        Ok(RLockGuard::new(&self.0)?)
    }

    /// As [`lock`](Self::lock), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// [`LockTimeoutError::TimedOut`] where others held it all the time;
    /// [`LockTimeoutError::Poisoned`], with the guard in it, where a holder died or panicked.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<RLockGuard<'_>, LockTimeoutError<RLockGuard<'_>>> {
        // SAFETY: as in `lock`.
        if !unsafe { self.0.lock(Deadline::after(timeout)) } {
            return Err(LockTimeoutError::TimedOut);
        }
        Ok(RLockGuard::new(&self.0)?)
    }

    /// How often the calling thread has the lock.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.0.depth()
    }

    /// Whether a holder died or panicked, and the poison was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.word().is_poisoned()
    }

    /// Declares what the lock protects sound again; best done by who holds it.
    pub fn clear_poison(&self) {
        self.0.word().clear_poison();
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock").finish_non_exhaustive()
    }
}

/// A held [`RLock`]: dropping it releases what it took.
#[must_use = "the lock is released when this is dropped"]
pub struct RLockGuard<'a> {
    lock: &'a ReentrantWord,
    /// How often the lock was taken when it was last released under the guard.
    depth: u32,
    /// Whether a panic was already under way.
    panicking: bool,
    /// Not `Send`: the lock is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> RLockGuard<'a> {
    #[inline]
    fn new(lock: &'a ReentrantWord) -> Result<RLockGuard<'a>, PoisonError<RLockGuard<'a>>> {
        lock.word().told().with(RLockGuard {
            lock,
            panicking: thread::panicking(),
            depth: 1,
            thread: PhantomData,
        })
    }
}

impl Release for RLockGuard<'_> {
    fn release(&mut self) {
        // SAFETY: the lock protects nothing that this crate knows of.
        self.depth = unsafe { self.lock.release() };
    }

    fn retake(&mut self) -> Held {
        // SAFETY: as in `RLock::lock`.
        unsafe { self.lock.retake(self.depth) }
    }
}

impl Guard for RLockGuard<'_> {
    type Data = ();

    fn data(&mut self) -> &mut () {
        nothing()
    }
}

impl Drop for RLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // A forked child has its parent's guards, but not its locks.
        if !self.panicking && thread::panicking() && self.lock.word().is_mine() {
            self.lock.word().poison();
        }
        // SAFETY: who holds the guard is done.
        unsafe { self.lock.unlock() };
    }
}

impl fmt::Debug for RLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLockGuard").finish_non_exhaustive()
    }
}
