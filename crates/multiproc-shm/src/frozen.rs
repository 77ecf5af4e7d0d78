//! Arrays that nobody changes any more.

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use bytemuck::Pod;
use multiproc_sync::PoisonError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::array::{KIND, SharedArray};
use crate::segment::{Contents, FrozenSegment, Received};
use crate::shape::Shape;

/// An array in shared memory that nobody changes any more: a slice, without a lock, in every process.
///
/// A value of this type is a handle, as that of a [`SharedArray`]: what is to be read by many workers is
/// sent to each and copied to none.
///
/// ```
/// use multiproc_shm::{FrozenArray, SharedArray};
///
/// let table = FrozenArray::from_slice(&[1.0, 0.5, 0.25])?;
/// assert_eq!(table[1], 0.5);
///
/// let array = SharedArray::from_slice(&[3, 4])?;
/// array.lock().unwrap()[0] = 7;
/// assert_eq!(*array.freeze()?, [7, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// That nobody changes it is no agreement: the kernel refuses to write to the memory, to whichever process
/// and whatever way, and a handle that arrives is asked for that before it is mapped.
pub struct FrozenArray<T> {
    segment: Arc<FrozenSegment>,
    shape: Shape,
    element: PhantomData<fn() -> T>,
}

impl<T: Pod> FrozenArray<T> {
    /// A copy of `elements`.
    ///
    /// # Errors
    /// As [`SharedArray::zeroed`].
    ///
    /// # Panics
    /// If an element has no size.
    pub fn from_slice(elements: &[T]) -> io::Result<FrozenArray<T>> {
        let array = SharedArray::from_slice(elements)?;
        array.freeze().map_err(|error| error.why.into_io())
    }
}

impl<T> FrozenArray<T> {
    /// The lengths of the dimensions, as those of the array that was frozen.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.shape.dimensions()
    }

    /// Whether a process had died or panicked with the array's lock, in the moment before it was frozen.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.segment.is_poisoned()
    }
}

impl<T: Pod> SharedArray<T> {
    /// The elements, which nobody changes any more.
    ///
    /// Waits for the lock. Where no other handle to the array is mapped, here or in another process, the same
    /// memory goes on; a handle that is still in a message then arrives as an error. Where one is, that goes
    /// on to be an array with a lock, and the elements are copied. (A pool's worker that was sent the array keeps it
    /// mapped for the next task that is, for as long as there is a handle here.)
    ///
    /// # Errors
    /// [`FreezeError`], with the array in it, where it is poisoned, or there is no memory for a copy.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn freeze(self) -> Result<FrozenArray<T>, FreezeError<T>> {
        // What is copied is copied under the lock, taken again: in between, others may have it.
        let sound = self.lock().map(drop).map_err(|error| error.map(drop));
        if let Err(poisoned) = sound {
            let why = Why::Poisoned(poisoned);
            return Err(FreezeError {
                array: Some(self),
                why,
            });
        }
        let (segment, shape) = self.into_parts();
        let segment = segment.freeze().map_err(|(segment, error)| FreezeError {
            array: segment.map(SharedArray::of),
            why: Why::Memory(error),
        })?;
        Ok(FrozenArray {
            segment,
            shape,
            element: PhantomData,
        })
    }
}

/// An array was not frozen.
pub struct FreezeError<T> {
    array: Option<SharedArray<T>>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Poisoned(PoisonError<()>),
    Memory(io::Error),
}

impl Why {
    fn into_io(self) -> io::Error {
        match self {
            Why::Poisoned(error) => io::Error::other(error),
            Why::Memory(error) => error,
        }
    }
}

impl<T> FreezeError<T> {
    /// The array as it was, in one dimension. `None` in one case: its memory was frozen, and could not be mapped again.
    #[must_use]
    pub fn into_array(self) -> Option<SharedArray<T>> {
        self.array
    }

    /// Whether it was because a process died or panicked with the array's lock; its poison may be
    /// [cleared](SharedArray::clear_poison).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self.why, Why::Poisoned(_))
    }
}

impl<T> fmt::Debug for FreezeError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreezeError")
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for FreezeError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Poisoned(_) => "a poisoned array is not frozen",
            Why::Memory(_) => "an array could not be frozen",
        })
    }
}

impl<T> Error for FreezeError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match &self.why {
            Why::Poisoned(error) => error,
            Why::Memory(error) => error,
        })
    }
}

impl<T: Pod> Deref for FrozenArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(self.segment.bytes())
    }
}

impl<T> Clone for FrozenArray<T> {
    /// One more handle to the same elements.
    fn clone(&self) -> FrozenArray<T> {
        FrozenArray {
            segment: Arc::clone(&self.segment),
            shape: self.shape.clone(),
            element: PhantomData,
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for FrozenArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T> Serialize for FrozenArray<T> {
    /// One more handle, for the receiver of the message. An error in any other format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.segment.sent(), self.shape.sent()).serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for FrozenArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (segment, shape) = <(Received, Option<Vec<usize>>)>::deserialize(deserializer)?;
        let segment = segment.open_frozen(Contents::of::<T>(KIND, 0))?;
        let length = segment.contents().length;
        Ok(FrozenArray {
            segment,
            shape: Shape::received(shape, length).map_err(de::Error::custom)?,
            element: PhantomData,
        })
    }
}
