//! Single values that several processes see.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;
use multiproc_sync::{LockTimeoutError, PoisonError, TryLockError};
use serde::{Deserialize, Serialize};

use crate::array::{ArrayGuard, SharedArray};

/// A value in shared memory, with a lock: a [`SharedArray`] of one element.
///
/// ```
/// use multiproc_shm::SharedValue;
///
/// let counter = SharedValue::new(5)?;
/// *counter.lock().unwrap() += 1;
/// assert_eq!(counter.get()?, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "multiprocessing.Value")]
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct SharedValue<T>(SharedArray<T>);

impl<T: Pod> SharedValue<T> {
    /// A shared value that begins as `value`.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new(value: T) -> io::Result<SharedValue<T>> {
        SharedArray::from_slice(&[value]).map(SharedValue)
    }

    /// Waits until nobody holds the lock, and takes it.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a process died or panicked while it held the lock.
    ///
    /// # Panics
    /// As [`SharedArray::lock`].
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, PoisonError<ValueGuard<'_, T>>> {
        self.0
            .lock()
            .map(ValueGuard)
            .map_err(|error| error.map(ValueGuard))
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// As [`SharedArray::try_lock`].
    ///
    /// # Panics
    /// As [`SharedArray::try_lock`].
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>, TryLockError<ValueGuard<'_, T>>> {
        self.0
            .try_lock()
            .map(ValueGuard)
            .map_err(|error| match error {
                TryLockError::Poisoned(error) => error.map(ValueGuard).into(),
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
    ) -> Result<ValueGuard<'_, T>, LockTimeoutError<ValueGuard<'_, T>>> {
        self.0
            .lock_timeout(timeout)
            .map(ValueGuard)
            .map_err(|error| match error {
                LockTimeoutError::Poisoned(error) => error.map(ValueGuard).into(),
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

    /// Declares the value sound again; best done by who holds the lock and has repaired it.
    pub fn clear_poison(&self) {
        self.0.clear_poison();
    }
}

impl<T> Clone for SharedValue<T> {
    /// One more handle to the same value.
    fn clone(&self) -> SharedValue<T> {
        SharedValue(self.0.clone())
    }
}

impl<T> fmt::Debug for SharedValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedValue")
            .field("type", &std::any::type_name::<T>())
            .finish_non_exhaustive()
    }
}

/// A [`SharedValue`], until dropped nobody else's.
#[must_use = "the lock is released when this is dropped"]
pub struct ValueGuard<'a, T>(ArrayGuard<'a, T>);

impl<T: Pod> Deref for ValueGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T: Pod> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0[0]
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
