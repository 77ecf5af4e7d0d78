//! Reader-writer locks: a value that many processes see at a time, or one changes.
//!
//! The permits of a writer that is killed pass on when its thread is gone. Other threads of its process, lent
//! the value by that one, run for some microseconds more. So a writer leaves a note of its process, as the holder
//! of an array does (`tenure.rs`), and who finds one waits until that process is over.
//!
//! # Invariants
//!
//! 1. `writer` names a process from before a write guard exists in it until after the guard was dropped, or
//!    until the process is over.
//! 2. A guard is given out, under its permits, when `writer` was 0 or its process was found to be over.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::Duration;

use bytemuck::Pod;
use multiproc_sync::{
    Deadline, LockTimeoutError, Permits, PoisonError, Taken, TryLockError, Until,
};
use multiproc_sys::identity::Identity;
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
/// `()` it is a lock for whatever its users agree on. A `Mutex` is several times as fast where reading is
/// short.
///
/// # When a process dies
///
/// The permit of a reader that is killed passes on when its thread is gone. Other threads of its process, if that
/// one has lent them the value, may for some microseconds, until they are gone too, read what the next writer changes; what
/// they make of it ends with them. The next after a writer waits until that one's whole process is over. A writer that is killed or panics leaves the lock poisoned:
/// readers and writers get `Err(PoisonError)` with the guard in it until
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
    writer: AtomicU64,
    value: UnsafeCell<T>,
}

// SAFETY: `Permits` and the note are atomics only, and new as zeroes, the permits being added by `RwLock::new`; of a
// `Pod` any bytes are a value, and in the cell, accessed by who has permits only, others may change it.
unsafe impl<T: Pod> Primitive for RwCell<T> {
    const KIND: u32 = 23;

    fn sweep(&self, process: u32) {
        self.permits.sweep(process);
    }
}

impl<T> RwCell<T> {
    /// Waits, under permits just taken, until no thread of a writer that was killed runs any more. At the
    /// deadline gives the permits back; `false`.
    fn succeed(&self, count: u32, taken: Taken, deadline: Deadline) -> bool {
        // Acquire: pairs with the Release below, by another reader who has seen the writer's end.
        let note = self.writer.load(Acquire);
        let Some(predecessor) = Identity::from_bits(note) else {
            return true;
        };
        if predecessor != Identity::own() && predecessor.wait_until_over(deadline) {
            // Fails where another reader was first: while there are readers nobody leaves a new note.
            let _first = self.writer.compare_exchange(note, 0, Release, Relaxed);
            return true;
        }
        let all = (count == ALL).then_some(taken);
        // SAFETY: nobody got access.
        unsafe { self.permits.give_back(count, all) };
        false
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
    pub fn read(&self) -> Result<RwLockReadGuard<'_, T>, PoisonError<RwLockReadGuard<'_, T>>> {
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
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError<RwLockReadGuard<'_, T>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.permits.try_take(1, false, Until::ProcessEnds) } {
            Some(taken) if self.0.succeed(1, taken, Deadline::now()) => {
                Ok(RwLockReadGuard::new(&self.0, taken)?)
            }
            _ => Err(TryLockError::WouldBlock),
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
    pub fn write(&self) -> Result<RwLockWriteGuard<'_, T>, PoisonError<RwLockWriteGuard<'_, T>>> {
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
    pub fn try_write(
        &self,
    ) -> Result<RwLockWriteGuard<'_, T>, TryLockError<RwLockWriteGuard<'_, T>>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        match unsafe { self.0.permits.try_take(ALL, true, Until::ProcessEnds) } {
            Some(taken) if self.0.succeed(ALL, taken, Deadline::now()) => {
                Ok(RwLockWriteGuard::new(&self.0, taken)?)
            }
            _ => Err(TryLockError::WouldBlock),
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
        match self.writer(Deadline::after(timeout)) {
            Some(taken) => Ok(taken?),
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

    fn reader(
        &self,
        deadline: Deadline,
    ) -> Option<Result<RwLockReadGuard<'_, T>, PoisonError<RwLockReadGuard<'_, T>>>> {
        self.refuse_a_second();
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        let taken = unsafe { self.0.permits.take(1, false, Until::ProcessEnds, deadline) }?;
        let succeeds = self.0.succeed(1, taken, deadline);
        succeeds.then(|| RwLockReadGuard::new(&self.0, taken))
    }

    fn writer(
        &self,
        deadline: Deadline,
    ) -> Option<Result<RwLockWriteGuard<'_, T>, PoisonError<RwLockWriteGuard<'_, T>>>> {
        self.refuse_a_second();
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        let taken = unsafe { self.0.permits.take(ALL, true, Until::ProcessEnds, deadline) }?;
        let succeeds = self.0.succeed(ALL, taken, deadline);
        succeeds.then(|| RwLockWriteGuard::new(&self.0, taken))
    }

    fn refuse_a_second(&self) {
        assert!(
            self.0.permits.mine() == 0,
            "this thread has the lock already and might wait for itself"
        );
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
    fn new(cell: &'a RwCell<T>, taken: Taken) -> Result<Self, PoisonError<Self>> {
        // Relaxed: read under permits, which order it; here and in `drop`.
        cell.writer.store(Identity::own().to_bits(), Relaxed);
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
    fn drop(&mut self) {
        if !self.panicking && thread::panicking() {
            self.cell.permits.poison(self.taken);
        }
        // Not in a forked child, which has a copy of its parent's guards.
        if self.cell.permits.mine() != 0 {
            self.cell.writer.store(0, Relaxed);
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn nobody_is_let_in_while_a_noted_writer_runs() {
        let lock = RwLock::new(5_u64).unwrap();
        let mut writer = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        // Its permits have passed on, its process is not over.
        lock.0.writer.store(u64::from(writer.id()), Relaxed);
        let moment = Duration::from_millis(1);
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        assert!(matches!(
            lock.read_timeout(moment),
            Err(LockTimeoutError::TimedOut)
        ));
        assert!(matches!(
            lock.write_timeout(moment),
            Err(LockTimeoutError::TimedOut)
        ));
        drop(writer.stdin.take());
        writer.wait().unwrap();
        assert_eq!(*lock.read().unwrap(), 5);
        *lock.write().unwrap() += 1;
        assert_eq!(*lock.try_read().unwrap(), 6);
    }
}
