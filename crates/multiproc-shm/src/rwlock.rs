//! Reader-writer locks without data.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::thread;
use std::time::Duration;

use multiproc_sync::{Deadline, Held, LockTimeoutError, Permits, PoisonError, Taken, TryLockError};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};

/// How many permits a writer takes; a reader takes one.
const ALL: u32 = i32::MAX.cast_unsigned();

/// A lock shared by processes that many may have to read, or one to write, whatever its users agree on.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// lock. Readers and writers are served in the order of arrival, so neither starve.
///
/// ```
/// use multiproc_shm::RwLock;
///
/// let lock = RwLock::new()?;
/// let (one, two) = (lock.read().unwrap(), lock.try_read().unwrap());
/// assert!(lock.try_write().is_err());
/// drop((one, two));
/// let alone = lock.write().unwrap();
/// assert!(lock.try_read().is_err());
/// # drop(alone);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
///
/// A reader that is killed no longer reads. A writer that is killed or panics leaves the lock poisoned:
/// readers and writers get `Err(PoisonError)` with the guard in it until
/// [`clear_poison`](Self::clear_poison). A thread that ends gives back what it has.
///
/// # Differences from Python
///
/// `multiprocessing` has no such lock. No more than 126 threads read at a time; the next waits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RwLock(Shared<RwPermits>);

/// A permit for each reader, all for a writer.
#[repr(transparent)]
pub(crate) struct RwPermits(Permits);

// SAFETY: atomics only, and new as zeroes; the permits are added by `RwLock::new`.
unsafe impl Primitive for RwPermits {
    const KIND: u32 = 23;

    fn is_used_by_this_process(&self) -> bool {
        self.0.is_used_by_this_process()
    }
}

impl RwLock {
    /// A lock that nobody has.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<RwLock> {
        let lock = RwLock(Shared::create()?);
        lock.0.0.give(ALL, ALL);
        Ok(lock)
    }

    /// Waits until nobody has the lock to write, nor waited for that before, and takes it to read.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a writer died or panicked.
    ///
    /// # Panics
    /// If the calling thread has the lock already, and might wait for itself; or if it holds a thousand
    /// others.
    pub fn read(&self) -> Result<ReadGuard<'_>, PoisonError<ReadGuard<'_>>> {
        self.reader(Deadline::NEVER)
            .expect("a wait without end timed out")
    }

    /// Takes the lock to read if nobody has it to write.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where somebody does; [`TryLockError::Poisoned`], with the guard in it,
    /// where a writer died or panicked.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn try_read(&self) -> Result<ReadGuard<'_>, TryLockError<ReadGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.0.try_take(1, false) } {
            Some(taken) => Ok(ReadGuard::new(&self.0.0, taken)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// As [`read`](Self::read), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// [`LockTimeoutError::TimedOut`] where it did not come to that; [`LockTimeoutError::Poisoned`], with
    /// the guard in it, where a writer died or panicked.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn read_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ReadGuard<'_>, LockTimeoutError<ReadGuard<'_>>> {
        match self.reader(Deadline::after(timeout)) {
            Some(taken) => Ok(taken?),
            None => Err(LockTimeoutError::TimedOut),
        }
    }

    /// Waits until nobody has the lock, and takes it to write.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn write(&self) -> Result<WriteGuard<'_>, PoisonError<WriteGuard<'_>>> {
        self.writer(Deadline::NEVER)
            .expect("a wait without end timed out")
    }

    /// Takes the lock to write if nobody has it.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    ///
    /// # Panics
    /// As [`try_read`](Self::try_read).
    pub fn try_write(&self) -> Result<WriteGuard<'_>, TryLockError<WriteGuard<'_>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.0.try_take(ALL, true) } {
            Some(taken) => Ok(WriteGuard::new(&self.0.0, taken)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// As [`write`](Self::write), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// As [`read_timeout`](Self::read_timeout).
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn write_timeout(
        &self,
        timeout: Duration,
    ) -> Result<WriteGuard<'_>, LockTimeoutError<WriteGuard<'_>>> {
        match self.writer(Deadline::after(timeout)) {
            Some(taken) => Ok(taken?),
            None => Err(LockTimeoutError::TimedOut),
        }
    }

    /// Whether a writer died or panicked, and the poison was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.0.is_poisoned()
    }

    /// Declares what the lock protects sound again; best done by a writer that has repaired it.
    pub fn clear_poison(&self) {
        self.0.0.clear_poison();
    }

    fn reader(
        &self,
        deadline: Deadline,
    ) -> Option<Result<ReadGuard<'_>, PoisonError<ReadGuard<'_>>>> {
        self.refuse_a_second();
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        let taken = unsafe { self.0.0.take(1, false, deadline) }?;
        Some(ReadGuard::new(&self.0.0, taken))
    }

    fn writer(
        &self,
        deadline: Deadline,
    ) -> Option<Result<WriteGuard<'_>, PoisonError<WriteGuard<'_>>>> {
        self.refuse_a_second();
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        let taken = unsafe { self.0.0.take(ALL, true, deadline) }?;
        Some(WriteGuard::new(&self.0.0, taken))
    }

    fn refuse_a_second(&self) {
        assert!(
            self.0.0.mine() == 0,
            "this thread has the lock already and might wait for itself"
        );
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

fn told<G>(guard: G, taken: Taken) -> Result<G, PoisonError<G>> {
    match taken.held() {
        Held::Sound => Ok(guard),
        Held::Poisoned { owner } => Err(PoisonError::new(guard, owner)),
    }
}

/// An [`RwLock`] held to read, until dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct ReadGuard<'a> {
    permits: &'a Permits,
    /// Not `Send`: the permit is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> ReadGuard<'a> {
    fn new(
        permits: &'a Permits,
        taken: Taken,
    ) -> Result<ReadGuard<'a>, PoisonError<ReadGuard<'a>>> {
        let thread = PhantomData;
        told(ReadGuard { permits, thread }, taken)
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: who holds the guard is done.
        unsafe { self.permits.give_back(1, None) };
    }
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").finish_non_exhaustive()
    }
}

/// An [`RwLock`] held to write, until dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct WriteGuard<'a> {
    permits: &'a Permits,
    taken: Taken,
    /// Whether a panic was already under way.
    panicking: bool,
    /// Not `Send`: the permits are the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> WriteGuard<'a> {
    fn new(
        permits: &'a Permits,
        taken: Taken,
    ) -> Result<WriteGuard<'a>, PoisonError<WriteGuard<'a>>> {
        let guard = WriteGuard {
            permits,
            taken,
            panicking: thread::panicking(),
            thread: PhantomData,
        };
        told(guard, taken)
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.permits.poison(self.taken);
        }
        // SAFETY: who holds the guard is done.
        unsafe { self.permits.give_back(ALL, Some(self.taken)) };
    }
}

impl fmt::Debug for WriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteGuard").finish_non_exhaustive()
    }
}
