//! Arrays whose elements several processes see.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use multiproc_sync::{Deadline, Held, LockTimeoutError, PoisonError, TryLockError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::condition::{Guard, Release};
use crate::element::Atomic;
use crate::segment::{Contents, Received, Segment};
use crate::shape::{Shape, ShapeError, product};
use crate::tenure::Tenure;

/// What a segment with an array in it says it is.
pub(crate) const KIND: u32 = 1;

/// An array in shared memory, with a lock.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// elements. The memory is there until the last handle is gone; it has no name, and nothing is left
/// behind when every process is killed. The process that made a large one keeps its memory for the next of the
/// same size, within [limits](crate::release_spare_memory).
///
/// ```
/// use multiproc_shm::SharedArray;
///
/// let array = SharedArray::from_slice(&[2, 3, 4])?;
/// array.lock().unwrap()[0] = 20;
/// assert_eq!(array.to_vec()?, [20, 3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Elements
///
/// Integers, floats, arrays of them, and structures for which [`bytemuck::Pod`] is derived: types without
/// padding, of which every pattern of bytes is a value. An array may be empty.
///
/// # The lock
///
/// [`lock`](Self::lock) gives a guard that is the elements as a slice. When a process is killed or
/// panics while it holds the lock, the array is *poisoned*, until [`clear_poison`](Self::clear_poison): who
/// takes the lock is told so, and gets what it asked for all the same.
///
/// | | nobody has a guard | poisoned | this thread has a guard | another has |
/// |---|---|---|---|---|
/// | [`lock`](Self::lock) | guard | `Err` with the guard | panics | waits |
/// | [`try_lock`](Self::try_lock) | guard | `Err` with the guard | `WouldBlock` | `WouldBlock` |
/// | [`lock_timeout`](Self::lock_timeout) | guard | `Err` with the guard | panics | waits, then `TimedOut` |
/// | [`to_vec`](Self::to_vec) | copy | `Err` with the copy | panics | waits |
/// | [`freeze`](Self::freeze) | frozen | `Err` with the array | panics | waits |
/// | [`len`](Self::len), [`is_poisoned`](Self::is_poisoned), [`clear_poison`](Self::clear_poison) | at once | at once | at once | at once |
///
/// For several to change parts of it at once, a guard [lends](ArrayGuard::lend) the elements out in pieces.
///
/// # Differences from Python
///
/// - Types take the place of type codes. What does not fit the type does not compile; an array that arrives as
///   one of another type is an error.
/// - The elements are reached through the lock only, so that `a[i] += 1` on the guard is a change that nobody
///   comes between. Without a lock (`lock=False`) there is [`RawArray`](crate::RawArray).
/// - Python's lock may be taken again by the thread that has it. Here a second `lock` would be a second
///   `&mut` to the elements, and panics.
/// - A holder that is killed leaves Python's lock locked for ever.
/// - A handle travels in any message, not only to a child that is being started.
/// - Python keeps many arrays in one file in a temporary folder, whose parts it uses again. Here each has
///   memory and a descriptor of its own, and takes a page at least: many small ones are better one array of
///   structures.
/// - An index past the end panics, as that of a slice; negative ones cannot be written, nor negative lengths.
/// - `Array("c", …).value` and `.raw` are the guard's bytes.
///
/// # Fork
///
/// A program that forks by other means than this library, and does not `exec`, has the array in the child as
/// any process that it was sent to. A guard that the fork copied is still the parent's: the child must not
/// use it, and its drop does nothing.
#[doc(alias = "multiprocessing.Array")]
pub struct SharedArray<T> {
    segment: Arc<Segment>,
    shape: Shape,
    element: PhantomData<fn() -> T>,
}

impl<T: Zeroable> SharedArray<T> {
    /// `length` elements of which all bytes are zero.
    ///
    /// # Errors
    /// Where there is no memory for them: more than an object can be long, than the limit on file size
    /// allows, or than the machine or the control group has left; too many open files or mappings.
    ///
    /// # Panics
    /// If an element has no size.
    pub fn zeroed(length: usize) -> io::Result<SharedArray<T>> {
        SharedArray::builder().zeroed(length)
    }

    /// As [`zeroed`](Self::zeroed), with as many elements as the [shape](Self::shape) has.
    ///
    /// # Errors
    /// As [`zeroed`](Self::zeroed); and where there are no dimensions.
    ///
    /// # Panics
    /// If an element has no size.
    pub fn with_shape(shape: &[usize]) -> io::Result<SharedArray<T>> {
        let length = product(shape).ok_or_else(|| {
            let why = format!("no array has the shape {shape:?}");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        let array = SharedArray::zeroed(length)?;
        Ok(SharedArray {
            shape: Shape::new(shape, length).map_err(io::Error::other)?,
            ..array
        })
    }
}

impl<T> SharedArray<T> {
    /// A handle to a segment that holds elements of `T`.
    pub(crate) fn of(segment: Arc<Segment>) -> SharedArray<T> {
        SharedArray {
            shape: Shape::flat(segment.contents().length),
            segment,
            element: PhantomData,
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn into_parts(self) -> (Arc<Segment>, Shape) {
        (self.segment, self.shape)
    }

    /// The lengths of the dimensions in which this handle has the elements, row after row; the last is that
    /// of neighbours in memory. One that is made without has one dimension. The shape travels with the handle,
    /// and is that of the guard.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.shape.dimensions()
    }

    /// The handle with another shape. Other handles to the same elements keep theirs.
    ///
    /// ```
    /// use multiproc_shm::SharedArray;
    ///
    /// let image = SharedArray::<u8>::with_shape(&[480, 640])?;
    /// assert_eq!(image.reshape(&[480 * 640])?.shape(), [307_200]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeError`] where it is that of an array of another length.
    pub fn reshape(self, shape: &[usize]) -> Result<SharedArray<T>, ShapeError> {
        Ok(SharedArray {
            shape: Shape::new(shape, self.len())?,
            ..self
        })
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segment.contents().length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a process died or panicked while it held the lock, and the poison was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.segment.words().lock.is_poisoned()
    }

    /// Declares the elements sound again; best done by who holds the lock and has repaired them.
    pub fn clear_poison(&self) {
        self.segment.words().lock.clear_poison();
    }
}

impl<T: Pod> SharedArray<T> {
    /// A copy of `elements`.
    ///
    /// # Errors
    /// As [`zeroed`](Self::zeroed).
    ///
    /// # Panics
    /// If an element has no size.
    pub fn from_slice(elements: &[T]) -> io::Result<SharedArray<T>> {
        SharedArray::builder().from_slice(elements)
    }

    /// Waits until nobody holds the lock, and takes it.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where a process died or panicked while it held the lock.
    ///
    /// # Panics
    /// If the calling thread holds the lock already, or 1,024 locks shared by processes.
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, PoisonError<ArrayGuard<'_, T>>> {
        let tenure = Tenure::take(&self.segment);
        tenure.held().with(ArrayGuard::new(self, tenure))
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] where somebody does, be it this thread;
    /// [`TryLockError::Poisoned`] as [`lock`](Self::lock).
    ///
    /// # Panics
    /// If the calling thread holds 1,024 locks shared by processes.
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, TryLockError<ArrayGuard<'_, T>>> {
        match Tenure::try_take(&self.segment) {
            Some(tenure) => Ok(tenure.held().with(ArrayGuard::new(self, tenure))?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// As [`lock`](Self::lock), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// [`LockTimeoutError::TimedOut`]; [`LockTimeoutError::Poisoned`] as `lock`.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ArrayGuard<'_, T>, LockTimeoutError<ArrayGuard<'_, T>>> {
        match Tenure::take_until(&self.segment, Deadline::after(timeout)) {
            Some(tenure) => Ok(tenure.held().with(ArrayGuard::new(self, tenure))?),
            None => Err(LockTimeoutError::TimedOut),
        }
    }

    /// The elements as they are, copied under the lock.
    ///
    /// # Errors
    /// [`PoisonError`], with the copy in it, where a process died or panicked while it held the lock.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn to_vec(&self) -> Result<Vec<T>, PoisonError<Vec<T>>> {
        match self.lock() {
            Ok(elements) => Ok(elements.to_vec()),
            Err(poisoned) => Err(poisoned.map(|elements| elements.to_vec())),
        }
    }
}

impl<T> Clone for SharedArray<T> {
    /// One more handle to the same elements.
    fn clone(&self) -> SharedArray<T> {
        SharedArray {
            segment: Arc::clone(&self.segment),
            shape: self.shape.clone(),
            element: PhantomData,
        }
    }
}

impl<T> fmt::Debug for SharedArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedArray")
            .field("element", &std::any::type_name::<T>())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T> Serialize for SharedArray<T> {
    /// One more handle, for the receiver of the message. An error in any other format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.segment.sent(), self.shape.sent()).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for SharedArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (segment, shape) = <(Received, Option<Vec<usize>>)>::deserialize(deserializer)?;
        let segment = segment.open(Contents::of::<T>(KIND, 0))?;
        let length = segment.contents().length;
        Ok(SharedArray {
            segment,
            shape: Shape::received(shape, length).map_err(de::Error::custom)?,
            element: PhantomData,
        })
    }
}

/// The elements of a [`SharedArray`], until dropped nobody else's.
#[must_use = "the lock is released when this is dropped"]
pub struct ArrayGuard<'a, T> {
    array: &'a SharedArray<T>,
    tenure: Tenure<'a>,
    elements: PhantomData<&'a mut [T]>,
}

// SAFETY: shared access gives `&[T]` only, which may be shared where `T: Sync`; the tenure may be shared
// too. It is not `Send`, for the tenure is not.
unsafe impl<T: Sync> Sync for ArrayGuard<'_, T> {}

impl<'a, T> ArrayGuard<'a, T> {
    /// `tenure` is of the array's segment.
    #[inline]
    pub(crate) fn new(array: &'a SharedArray<T>, tenure: Tenure<'a>) -> ArrayGuard<'a, T> {
        ArrayGuard {
            array,
            tenure,
            elements: PhantomData,
        }
    }

    #[inline]
    fn first(&self) -> *mut T {
        self.array.segment.base().cast()
    }

    pub(crate) fn into_parts(self) -> (&'a SharedArray<T>, Tenure<'a>) {
        (self.array, self.tenure)
    }

    /// The [shape](SharedArray::shape) of the handle whose guard this is.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.array.shape()
    }
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// The elements as bytes, in the machine's order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    /// The elements as bytes, to change: every pattern of bytes is an element.
    #[must_use]
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self)
    }
}

impl<T: Atomic> ArrayGuard<'_, T> {
    /// The elements as atomics, for threads of this process to change together while the lock keeps other
    /// processes out. For all to change together, without a lock, there is
    /// [`RawArray`](crate::RawArray::as_atomics).
    #[must_use]
    pub fn as_atomics(&mut self) -> &[T::Atomic] {
        const { T::ALIKE };
        // SAFETY: of the same size and alignment (`ALIKE`), and any bytes are values; nobody else has access
        // while the guard is borrowed mutably, but through what is returned.
        unsafe { slice::from_raw_parts(self.first().cast(), self.array.len()) }
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `first` is aligned and followed by `length` elements inside the mapping, which is there
        // as long as the guard; any bytes are values (`Pod`); and who has the tenure is alone with them.
        unsafe { slice::from_raw_parts(self.first(), self.array.len()) }
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.first(), self.array.len()) }
    }
}

impl<T> Release for ArrayGuard<'_, T> {
    fn release(&mut self) {
        // SAFETY: no slice of the elements is borrowed: `&mut self`.
        unsafe { self.tenure.release() };
    }

    fn retake(&mut self) -> Held {
        self.tenure.retake()
    }
}

impl<T: Pod> Guard for ArrayGuard<'_, T> {
    type Data = [T];

    fn data(&mut self) -> &mut [T] {
        self
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
