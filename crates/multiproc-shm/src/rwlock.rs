//! Reader-writer locks: a value that many processes see at a time, or one changes.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::thread;
use std::time::Duration;

use bytemuck::Pod;
use multiproc_sync::{
    Deadline, LockTimeoutError, Permits, PoisonError, Taken, TryLockError, Until,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::home::{Primitive, Shared};

/// How many permits a writer takes; a reader takes one.
const ALL: u32 = i32::MAX.cast_unsigned();

/// A value in shared memory that many may read at a time, or one change, of whichever process: the standard
/// library's reader-writer lock, between processes.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// lock and the same data. Readers and writers are served in the order of arrival, so neither starve.
///
/// ```
/// use multiproc_shm::RwLock;
///
/// let limits = RwLock::new([10, 20])?;
/// let (one, two) = (limits.read().unwrap(), limits.try_read().unwrap());
/// assert_eq!((one[1], two[0]), (20, 10));
/// assert!(limits.try_write().is_err());
/// drop((one, two));
/// limits.write().unwrap()[1] = 30;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What can be in it
///
/// As in a [`Mutex`](crate::Mutex): types without padding, of which every pattern of bytes is a value. With
/// `()` it is a lock for whatever its users agree on. It is as fast as a `Mutex` for who is alone with it; beside
/// other readers it takes several times as long, which is won back where they read for more than that.
///
/// # When a process dies
///
/// What a reader or writer that is killed had passes on when its whole process is over, some microseconds later: until
/// then other threads of it may use what that one has lent them. A writer that is killed or panics leaves the lock
/// poisoned: readers and writers get `Err(PoisonError)` with the guard in it until
/// [`clear_poison`](Self::clear_poison). A reader that panics leaves no poison.
///
/// # Differences from Python
///
/// `multiprocessing` has no such lock. No more than 126 threads read at a time; the next waits.
pub struct RwLock<T>(Shared<RwCell<T>>);

/// A permit for each reader, all for a writer; and what they are permits for.
#[repr(C)]
pub(crate) struct RwCell<T> {
    permits: Permits,
    value: UnsafeCell<T>,
}

// SAFETY: `Permits` is atomics only, and new as zeroes, the permits being added by `RwLock::new`; of a `Pod` any bytes
// are a value, and in the cell, accessed by who has permits only, others may change it.
unsafe impl<T: Pod> Primitive for RwCell<T> {
    const KIND: u32 = 23;

    fn sweep(&self, process: u32) {
        self.permits.sweep(process);
    }
}

impl<T: Pod> RwLock<T> {
    /// A lock that nobody has, with `value` in it.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new(value: T) -> io::Result<RwLock<T>> {
        let lock: Shared<RwCell<T>> = Shared::create()?;
        // SAFETY: inside the segment, which is fresh and nobody else's yet.
        unsafe { lock.value.get().write(value) };
        lock.permits.give(ALL, ALL);
        Ok(RwLock(lock))
    }

    /// Waits until nobody has the lock to write, nor waited for that before, and takes it to read.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a writer died or panicked.
    ///
    /// # Panics
    /// If the calling thread has the lock already, and might wait for itself; or if it holds a thousand
    /// others.
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, PoisonError<RwLockReadGuard<'_, T>>> {
        match self.take(1, false, Deadline::NEVER) {
            Some(taken) => RwLockReadGuard::new(&self.0, taken),
            None => unreachable!("a wait without end timed out"),
        }
    }

    /// Takes the lock to read if nobody has it to write.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where somebody does; [`TryLockError::Poisoned`], with the guard in it,
    /// where a writer died or panicked.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError<RwLockReadGuard<'_, T>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.permits.try_take(1, false, Until::ProcessEnds) } {
            Some(taken) => Ok(RwLockReadGuard::new(&self.0, taken)?),
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
    ) -> Result<RwLockReadGuard<'_, T>, LockTimeoutError<RwLockReadGuard<'_, T>>> {
        match self.take(1, false, Deadline::after(timeout)) {
            Some(taken) => Ok(RwLockReadGuard::new(&self.0, taken)?),
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
    #[inline]
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, PoisonError<RwLockWriteGuard<'_, T>>> {
        match self.take(ALL, true, Deadline::NEVER) {
            Some(taken) => RwLockWriteGuard::new(&self.0, taken),
            None => unreachable!("a wait without end timed out"),
        }
    }

    /// Takes the lock to write if nobody has it.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read).
    ///
    /// # Panics
    /// As [`try_read`](Self::try_read).
    pub fn try_write(
        &self,
    ) -> Result<RwLockWriteGuard<'_, T>, TryLockError<RwLockWriteGuard<'_, T>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.permits.try_take(ALL, true, Until::ProcessEnds) } {
            Some(taken) => Ok(RwLockWriteGuard::new(&self.0, taken)?),
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
    ) -> Result<RwLockWriteGuard<'_, T>, LockTimeoutError<RwLockWriteGuard<'_, T>>> {
        match self.take(ALL, true, Deadline::after(timeout)) {
            Some(taken) => Ok(RwLockWriteGuard::new(&self.0, taken)?),
            None => Err(LockTimeoutError::TimedOut),
        }
    }

    /// Whether a writer died or panicked, and the poison was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.permits.is_poisoned()
    }

    /// Declares what the lock protects sound again; best done by a writer that has repaired it.
    pub fn clear_poison(&self) {
        self.0.permits.clear_poison();
    }

    /// What a guard is made of, which is made where it stays: handed up through several results, it would cost
    /// more than the lock.
    #[inline]
    fn take(&self, count: u32, all: bool, deadline: Deadline) -> Option<Taken> {
        let (permits, until) = (&self.0.permits, Until::ProcessEnds);
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        if let Some(taken) = unsafe { permits.take_alone(count, all, until) } {
            return Some(taken);
        }
        assert!(
            permits.mine() == 0,
            "this thread has the lock already and might wait for itself"
        );
        // SAFETY: as above.
        unsafe { permits.take(count, all, until, deadline) }
    }
}

impl<T> Clone for RwLock<T> {
    /// One more handle to the same lock.
    fn clone(&self) -> RwLock<T> {
        RwLock(self.0.clone())
    }
}

impl<T> Serialize for RwLock<T> {
    /// One more handle, for the receiver of the message. An error in any other format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for RwLock<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shared::deserialize(deserializer).map(RwLock)
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("type", &std::any::type_name::<T>())
            .finish_non_exhaustive()
    }
}

/// What is in an [`RwLock`], to read, until dropped changed by nobody.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockReadGuard<'a, T> {
    cell: &'a RwCell<T>,
    /// Not `Send`: the permit is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

// SAFETY: shared access gives `&T` only, which may be shared where `T: Sync`. It is not `Send`.
unsafe impl<T: Sync> Sync for RwLockReadGuard<'_, T> {}

impl<'a, T> RwLockReadGuard<'a, T> {
    #[inline]
    fn new(cell: &'a RwCell<T>, taken: Taken) -> Result<Self, PoisonError<Self>> {
        let thread = PhantomData;
        taken.held().with(RwLockReadGuard { cell, thread })
    }
}

impl<T: Pod> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped as long as the guard; any bytes are a `T`; and nobody writes while the guard has a
        // permit.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: what the guard gave access to is borrowed from it, and it ends here.
        unsafe { self.cell.permits.give_back(1, None) };
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// What is in an [`RwLock`], until dropped nobody else's.
#[must_use = "the lock is released when this is dropped"]
pub struct RwLockWriteGuard<'a, T> {
    cell: &'a RwCell<T>,
    taken: Taken,
    /// Whether a panic was already under way.
    panicking: bool,
    /// Not `Send`: the permits are the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

// SAFETY: shared access gives `&T` only, which may be shared where `T: Sync`. It is not `Send`.
unsafe impl<T: Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T> RwLockWriteGuard<'a, T> {
    #[inline]
    fn new(cell: &'a RwCell<T>, taken: Taken) -> Result<Self, PoisonError<Self>> {
        taken.held().with(RwLockWriteGuard {
            cell,
            taken,
            panicking: thread::panicking(),
            thread: PhantomData,
        })
    }
}

impl<T: Pod> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: mapped as long as the guard; any bytes are a `T`; and who has all permits is alone.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T: Pod> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.cell.permits.poison(self.taken);
        }
        // SAFETY: as in the reader's.
        unsafe { self.cell.permits.give_back(ALL, Some(self.taken)) };
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
