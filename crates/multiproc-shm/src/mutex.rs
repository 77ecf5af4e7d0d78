//! Mutexes: a value that several processes see, one at a time.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;
use multiproc_sync::{Held, LockTimeoutError, PoisonError, TryLockError};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::array::{ArrayGuard, SharedArray};
use crate::condition::{Guard, Release};
use crate::tenure::Tenure;

/// A value in shared memory that one thread at a time has, of whichever process: the standard library's
/// mutex, between processes. [`SharedValue`] is its name for those who come from Python.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// lock and the same data. The memory is there until the last handle is gone; it has no name.
///
/// ```
/// use multiproc_shm::Mutex;
///
/// let counter = Mutex::new(5)?;
/// *counter.lock().unwrap() += 1;
/// assert_eq!(counter.get()?, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What can be in it
///
/// As in a [`SharedArray`], of which this is one of a single element: types without padding, of which every
/// pattern of bytes is a value ([`bytemuck::Pod`] can be derived). That is what makes it sound: the value
/// is at another address in each process, which leaves out pointers; no destructor runs, for nobody is the
/// last to have it; and a process gone wild can write any bytes there. What is more than that, a `String`
/// or a map, belongs in one process and is asked for through a channel.
///
/// # When the holder dies
///
/// When a process is killed or panics while it holds the lock, the next taker gets `Err(PoisonError)` with
/// the guard in it, as does every one after that until [`clear_poison`](Self::clear_poison).
/// [`get`](Self::get) and [`set`](Self::set) do what they are asked to and say so in the same way.
/// They take the lock, and so panic in a thread that has a guard of the same mutex, as a second `lock`
/// does. A guard that is leaked has the lock for as long as its process lives, also when its thread has
/// ended: what it gave access to may be in use.
///
/// # Differences from Python
///
/// `Value` has a lock that its holder may take again, and lets it be gone around; the data is reached
/// through this one only, and `+=` on the guard is a change that nobody comes between. Types take the
/// place of type codes.
#[doc(alias = "multiprocessing.Value")]
#[derive(Serialize)]
#[serde(transparent, bound = "")]
pub struct Mutex<T>(SharedArray<T>);

/// A shared value with a lock: [`Mutex`], by the name of what is in it.
///
/// ```
/// use multiproc_shm::SharedValue;
///
/// let counter = SharedValue::new(5)?;
/// counter.set(7)?;
/// assert_eq!(counter.get()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.Value")]
pub type SharedValue<T> = Mutex<T>;

impl<T: Pod> Mutex<T> {
    /// A mutex that nobody holds, with `value` in it.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new(value: T) -> io::Result<Mutex<T>> {
        SharedArray::from_slice(&[value]).map(Mutex)
    }

    /// Waits until nobody holds the lock, and takes it.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a process died or panicked while it held the lock.
    ///
    /// # Panics
    /// As [`SharedArray::lock`].
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
        let tenure = Tenure::take(self.0.segment());
        tenure
            .held()
            .with(MutexGuard(ArrayGuard::new(&self.0, tenure)))
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// As [`SharedArray::try_lock`].
    ///
    /// # Panics
    /// As [`SharedArray::try_lock`].
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError<MutexGuard<'_, T>>> {
        self.0
            .try_lock()
            .map(MutexGuard)
            .map_err(|error| match error {
                TryLockError::Poisoned(error) => error.map(MutexGuard).into(),
                TryLockError::WouldBlock => TryLockError::WouldBlock,
            })
    }

    /// As [`lock`](Self::lock), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// As [`SharedArray::lock_timeout`].
    ///
    /// # Panics
    /// As [`SharedArray::lock`].
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<MutexGuard<'_, T>, LockTimeoutError<MutexGuard<'_, T>>> {
        self.0
            .lock_timeout(timeout)
            .map(MutexGuard)
            .map_err(|error| match error {
                LockTimeoutError::Poisoned(error) => error.map(MutexGuard).into(),
                LockTimeoutError::TimedOut => LockTimeoutError::TimedOut,
            })
    }

    /// The value as it is, read under the lock.
    ///
    /// # Errors
    /// [`PoisonError`], with the value in it, where a process died or panicked while it held the lock.
    ///
    /// # Panics
    /// As [`SharedArray::lock`].
    pub fn get(&self) -> Result<T, PoisonError<T>> {
        self.lock()
            .map(|value| *value)
            .map_err(|error| error.map(|value| *value))
    }

    /// Replaces the value, under the lock, also where it is poisoned.
    ///
    /// # Errors
    /// [`PoisonError`] where a process died or panicked while it held the lock; the value is set.
    ///
    /// # Panics
    /// As [`SharedArray::lock`].
    pub fn set(&self, value: T) -> Result<(), PoisonError<()>> {
        self.lock()
            .map(|mut held| *held = value)
            .map_err(|error| error.map(|mut held| *held = value))
    }

    /// Whether a process died or panicked while it held the lock, and the poison was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.is_poisoned()
    }

    /// Declares what is in it sound again; best done by who holds the lock and has repaired it.
    pub fn clear_poison(&self) {
        self.0.clear_poison();
    }
}

impl<T> Clone for Mutex<T> {
    /// One more handle to the same mutex.
    fn clone(&self) -> Mutex<T> {
        Mutex(self.0.clone())
    }
}

impl<'de, T> Deserialize<'de> for Mutex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let array = SharedArray::deserialize(deserializer)?;
        if array.len() != 1 {
            return Err(de::Error::custom(
                "the received array is not of one element, as a mutex is",
            ));
        }
        Ok(Mutex(array))
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("type", &std::any::type_name::<T>())
            .finish_non_exhaustive()
    }
}

/// What is in a [`Mutex`], until dropped nobody else's.
#[must_use = "the lock is released when this is dropped"]
pub struct MutexGuard<'a, T>(ArrayGuard<'a, T>);

impl<T: Pod> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T: Pod> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0[0]
    }
}

impl<T> Release for MutexGuard<'_, T> {
    fn release(&mut self) {
        self.0.release();
    }

    fn retake(&mut self) -> Held {
        self.0.retake()
    }
}

impl<T: Pod> Guard for MutexGuard<'_, T> {
    type Data = T;

    fn data(&mut self) -> &mut T {
        self
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
