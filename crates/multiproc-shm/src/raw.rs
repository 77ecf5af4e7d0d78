//! Arrays and values without a lock.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::element::Atomic;
use crate::racing;
use crate::segment::{Contents, Received, Segment};

/// What a segment with such an array in it says it is.
const KIND: u32 = 2;

/// An array in shared memory, without a lock: elements are read and written one by one while others do the
/// same, or as [atomics](Self::as_atomics).
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// elements. The memory has no name; nothing is left behind when every process is killed.
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
/// use multiproc_shm::RawArray;
///
/// let counts = RawArray::<u64>::zeroed(3)?;
/// counts.as_atomics()[1].fetch_add(5, Relaxed);
/// counts.set(2, 7);
/// assert_eq!(counts.to_vec(), [0, 5, 7]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # What others see
///
/// An element that is as long as it is aligned (integers and floats of up to eight bytes) is seen as it was
/// or as it is. Of a longer one, such as a structure or an array, a part may be seen as it was and the rest as
/// it is; where that matters, a [`SharedArray`](crate::SharedArray) has a lock. Nothing is said about the order
/// in which changes of different elements are seen, unless the atomics say it.
///
/// There are no slices of the elements, for others may change them at any time.
///
/// # Differences from Python
///
/// Types take the place of type codes. A negative index is none, and one past the end panics.
#[doc(alias = "multiprocessing.RawArray")]
#[doc(alias = "multiprocessing.sharedctypes.RawArray")]
pub struct RawArray<T> {
    segment: Arc<Segment>,
    element: PhantomData<fn() -> T>,
}

impl<T: Zeroable> RawArray<T> {
    /// `length` elements of which all bytes are zero.
    ///
    /// # Errors
    /// As [`SharedArray::zeroed`](crate::SharedArray::zeroed).
    ///
    /// # Panics
    /// If an element has no size.
    pub fn zeroed(length: usize) -> io::Result<RawArray<T>> {
        const { assert!(size_of::<T>() > 0, "elements of a shared array have a size") };
        let segment = Segment::create(Contents::of::<T>(KIND, length))?;
        Ok(RawArray {
            segment,
            element: PhantomData,
        })
    }
}

impl<T> RawArray<T> {
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

    /// The place of `count` elements from `start` on.
    #[track_caller]
    fn place(&self, start: usize, count: usize) -> *mut T {
        let length = self.len();
        assert!(
            start <= length && count <= length - start,
            "elements {start} to {} of an array of {length}",
            start.saturating_add(count)
        );
        self.segment.base().cast::<T>().wrapping_add(start)
    }
}

impl<T: Pod> RawArray<T> {
    /// A copy of `elements`.
    ///
    /// # Errors
    /// As [`zeroed`](Self::zeroed).
    ///
    /// # Panics
    /// If an element has no size.
    pub fn from_slice(elements: &[T]) -> io::Result<RawArray<T>> {
        let array = RawArray::zeroed(elements.len())?;
        array.copy_from_slice(0, elements);
        Ok(array)
    }

    /// The element as it is at this moment.
    ///
    /// # Panics
    /// If there is none of that index.
    #[must_use]
    #[track_caller]
    pub fn get(&self, index: usize) -> T {
        let mut element = [T::zeroed()];
        self.copy_to_slice(index, &mut element);
        element[0]
    }

    /// Replaces the element.
    ///
    /// # Panics
    /// If there is none of that index.
    #[track_caller]
    pub fn set(&self, index: usize, element: T) {
        self.copy_from_slice(index, &[element]);
    }

    /// Copies the elements from `start` on into `target`, as they are when it is each one's turn.
    ///
    /// # Panics
    /// If there are not that many.
    #[track_caller]
    pub fn copy_to_slice(&self, start: usize, target: &mut [T]) {
        let source = self.place(start, target.len());
        // SAFETY: inside the mapping and aligned, and every access to the elements of a segment of this kind
        // is atomic, in parts that follow from the element's type; the target is borrowed mutably.
        unsafe { racing::copy_out(source, target.as_mut_ptr(), target.len()) };
    }

    /// Replaces the elements from `start` on by those of `source`, one by one.
    ///
    /// # Panics
    /// If there are not that many.
    #[track_caller]
    pub fn copy_from_slice(&self, start: usize, source: &[T]) {
        let target = self.place(start, source.len());
        // SAFETY: as in `copy_to_slice`.
        unsafe { racing::copy_in(source, target) };
    }

    /// The elements, each as it is when it is its turn.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        let length = self.len();
        let mut elements = Vec::with_capacity(length);
        // SAFETY: as in `copy_to_slice`; the target is as many elements of capacity.
        unsafe { racing::copy_out(self.place(0, length), elements.as_mut_ptr(), length) };
        // SAFETY: written above.
        unsafe { elements.set_len(length) };
        elements
    }
}

impl<T: Atomic> RawArray<T> {
    /// The elements as atomics.
    #[must_use]
    pub fn as_atomics(&self) -> &[T::Atomic] {
        const { T::ALIKE };
        // SAFETY: inside the mapping, which is there while `self` is borrowed; the atomic is as long as the
        // element and as aligned (`ALIKE`), so that every access to it is atomic and of the same size, also
        // that of `racing`; and any bytes are values.
        unsafe { slice::from_raw_parts(self.segment.base().cast(), self.len()) }
    }
}

impl<T> Clone for RawArray<T> {
    /// One more handle to the same elements.
    fn clone(&self) -> RawArray<T> {
        RawArray {
            segment: Arc::clone(&self.segment),
            element: PhantomData,
        }
    }
}

impl<T> fmt::Debug for RawArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawArray")
            .field("element", &std::any::type_name::<T>())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T> Serialize for RawArray<T> {
    /// One more handle, for the receiver of the message. An error in any other format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment.sent().serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for RawArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let received = Received::deserialize(deserializer)?;
        let segment = received.open(Contents::of::<T>(KIND, 0))?;
        Ok(RawArray {
            segment,
            element: PhantomData,
        })
    }
}

/// A value in shared memory, without a lock: a [`RawArray`] of one element.
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
/// use multiproc_shm::RawValue;
///
/// let counter = RawValue::new(5_u32)?;
/// counter.as_atomic().fetch_add(1, Relaxed);
/// assert_eq!(counter.get(), 6);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "multiprocessing.RawValue")]
#[doc(alias = "multiprocessing.sharedctypes.RawValue")]
#[derive(Serialize)]
#[serde(transparent, bound = "")]
pub struct RawValue<T>(RawArray<T>);

impl<T: Pod> RawValue<T> {
    /// A shared value that begins as `value`.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new(value: T) -> io::Result<RawValue<T>> {
        RawArray::from_slice(&[value]).map(RawValue)
    }

    /// The value as it is at this moment.
    #[must_use]
    pub fn get(&self) -> T {
        self.0.get(0)
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        self.0.set(0, value);
    }
}

impl<T: Atomic> RawValue<T> {
    /// The value as an atomic.
    #[must_use]
    pub fn as_atomic(&self) -> &T::Atomic {
        &self.0.as_atomics()[0]
    }
}

impl<T> Clone for RawValue<T> {
    /// One more handle to the same value.
    fn clone(&self) -> RawValue<T> {
        RawValue(self.0.clone())
    }
}

impl<T> fmt::Debug for RawValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawValue")
            .field("type", &std::any::type_name::<T>())
            .finish_non_exhaustive()
    }
}

impl<'de, T> Deserialize<'de> for RawValue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let array = RawArray::deserialize(deserializer)?;
        if array.len() != 1 {
            return Err(de::Error::custom(
                "the received array is not of one element, as a value is",
            ));
        }
        Ok(RawValue(array))
    }
}
