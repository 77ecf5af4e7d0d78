//! An array lent out in pieces, for several processes to change at once.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::slice;
use std::thread;
use std::time::Duration;

use bytemuck::Pod;
use multiproc_sync::{Deadline, PoisonError};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::array::{ArrayGuard, SharedArray};
use crate::lending::{PieceError, PieceUse};
use crate::tenure::{NEVER, Tenure};

impl<'a, T: Pod> ArrayGuard<'a, T> {
    /// Lends the elements out in pieces of `length`, the last of which may be shorter. The array stays
    /// locked meanwhile; threads and processes that get one of the [pieces](ArrayLoan::pieces) change it.
    ///
    /// ```
    /// use multiproc_shm::SharedArray;
    ///
    /// let array = SharedArray::from_slice(&[1, 2, 3, 4, 5])?;
    /// let loan = array.lock().unwrap().lend(2);
    /// let pieces = loan.pieces(); // travels
    /// std::thread::spawn(move || pieces.take(1).unwrap()[0] = 30).join().unwrap();
    /// let elements = loan.finish().unwrap();
    /// assert_eq!(*elements, [1, 2, 30, 4, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If `length` is 0.
    pub fn lend(self, length: usize) -> ArrayLoan<'a, T> {
        assert!(length > 0, "a piece of an array has an element at least");
        let (array, tenure) = self.into_parts();
        let chunk = length as u64;
        let lending = tenure.segment().lending().begin(chunk);
        ArrayLoan {
            array,
            tenure: Some(tenure),
            lending,
            chunk,
        }
    }
}

/// A locked array that is lent out in pieces.
///
/// Dropped, it waits until no piece is in use, and unlocks the array. Dropped or [finished](Self::finish) by a
/// thread that uses a piece itself, which would wait for ever, it panics and leaves the array locked.
///
/// # When somebody dies
///
/// When who uses a piece is killed or panics, the array is poisoned, and the piece can be taken by another;
/// [`finish`](Self::finish) says so. When the lender dies, the next to lock the array is told so, after each
/// piece is free; none can be taken any more.
#[must_use = "the array is locked until this is dropped"]
pub struct ArrayLoan<'a, T> {
    array: &'a SharedArray<T>,
    /// Taken by `finish` only.
    tenure: Option<Tenure<'a>>,
    lending: u64,
    chunk: u64,
}

impl<'a, T> ArrayLoan<'a, T> {
    /// The pieces, as a handle that travels.
    #[must_use]
    pub fn pieces(&self) -> ArrayPieces<T> {
        ArrayPieces {
            array: self.array.clone(),
            lending: self.lending,
            chunk: self.chunk,
        }
    }

    /// Waits until no piece is in use, and gives the elements back. No piece can be taken any more.
    ///
    /// # Errors
    /// [`PoisonError`], with the guard in it, where who used a piece died or panicked, or the array was
    /// poisoned before and its poison not cleared.
    ///
    /// # Panics
    /// If the calling thread uses a piece, or one that has ended has leaked the guard of one.
    pub fn finish(mut self) -> Result<ArrayGuard<'a, T>, PoisonError<ArrayGuard<'a, T>>> {
        self.end(Deadline::NEVER);
        self.give_back()
    }

    /// As [`finish`](Self::finish), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// The loan itself where a piece is still in use; none can be taken any more all the same.
    pub fn finish_timeout(
        mut self,
        timeout: Duration,
    ) -> Result<Result<ArrayGuard<'a, T>, PoisonError<ArrayGuard<'a, T>>>, Self> {
        if self.end(Deadline::after(timeout)) {
            Ok(self.give_back())
        } else {
            Err(self)
        }
    }

    fn end(&mut self, deadline: Deadline) -> bool {
        let ended = self.array.segment().lending().end(deadline);
        assert!(ended || deadline != Deadline::NEVER, "{NEVER}");
        ended
    }

    fn give_back(mut self) -> Result<ArrayGuard<'a, T>, PoisonError<ArrayGuard<'a, T>>> {
        let tenure = self.tenure.take().expect("a loan is finished once");
        tenure.held().with(ArrayGuard::new(self.array, tenure))
    }
}

impl<T> Drop for ArrayLoan<'_, T> {
    fn drop(&mut self) {
        let Some(tenure) = self.tenure.take() else {
            return;
        };
        if !tenure.segment().lending().end(Deadline::NEVER) {
            // Locked for good.
            #[expect(clippy::mem_forget, reason = "nobody else may have the elements")]
            std::mem::forget(tenure);
            assert!(thread::panicking(), "{NEVER}");
        }
    }
}

impl<T> fmt::Debug for ArrayLoan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayLoan")
            .field("piece", &self.chunk)
            .finish_non_exhaustive()
    }
}

/// The pieces of an array that is lent out: a handle that travels, for whoever is to take some of them.
///
/// Sent once, it gives access to every piece by its number.
#[derive(Serialize)]
#[serde(bound = "")]
pub struct ArrayPieces<T> {
    array: SharedArray<T>,
    lending: u64,
    chunk: u64,
}

impl<T> ArrayPieces<T> {
    /// How many pieces there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.array.len().div_ceil(self.chunk())
    }

    /// Whether there are none, for the array is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
    }

    /// Which elements of the array piece `index` has.
    ///
    /// # Panics
    /// If there is no such piece.
    #[must_use]
    pub fn range(&self, index: usize) -> Range<usize> {
        assert!(
            index < self.len(),
            "there are {} pieces, and none of number {index}",
            self.len()
        );
        let start = index * self.chunk();
        start..start.saturating_add(self.chunk()).min(self.array.len())
    }

    /// One of the pieces, as a handle of its own.
    ///
    /// # Panics
    /// If there is no such piece.
    #[must_use]
    pub fn get(&self, index: usize) -> ArrayPiece<T> {
        let _range = self.range(index);
        ArrayPiece {
            pieces: self.clone(),
            index: index as u64,
        }
    }

    /// All of the pieces, as handles of their own.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ArrayPiece<T>> {
        (0..self.len()).map(|index| self.get(index))
    }

    fn chunk(&self) -> usize {
        usize::try_from(self.chunk).unwrap_or(usize::MAX)
    }
}

impl<T: Pod> ArrayPieces<T> {
    /// Takes piece `index`, for the calling thread alone.
    ///
    /// # Errors
    /// [`PieceError::Ended`] where the array is not lent out any more; [`PieceError::InUse`] where the piece is
    /// used by somebody; [`PieceError::TooMany`] where too many others are. A piece whose user was killed is
    /// free again as soon as that process has stopped running, which is waited for.
    ///
    /// # Panics
    /// If there is no such piece, or the thread holds 1,024 locks shared by processes.
    pub fn take(&self, index: usize) -> Result<PieceGuard<'_, T>, PieceError> {
        let range = self.range(index);
        let segment = self.array.segment();
        let lending = segment.lending();
        let in_use = lending.take(self.lending, self.chunk, index as u64)?;
        Ok(PieceGuard {
            first: segment.base().cast::<T>().wrapping_add(range.start),
            length: range.len(),
            _in_use: in_use,
            elements: PhantomData,
        })
    }
}

impl<T> Clone for ArrayPieces<T> {
    /// One more handle to the same pieces.
    fn clone(&self) -> ArrayPieces<T> {
        ArrayPieces {
            array: self.array.clone(),
            lending: self.lending,
            chunk: self.chunk,
        }
    }
}

impl<T> fmt::Debug for ArrayPieces<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayPieces")
            .field("array", &self.array)
            .field("piece", &self.chunk)
            .finish_non_exhaustive()
    }
}

impl<'de, T> Deserialize<'de> for ArrayPieces<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "")]
        struct Received<T> {
            array: SharedArray<T>,
            lending: u64,
            chunk: u64,
        }
        let Received {
            array,
            lending,
            chunk,
        } = Received::deserialize(deserializer)?;
        if chunk == 0 {
            return Err(de::Error::custom("the received pieces have no elements"));
        }
        Ok(ArrayPieces {
            array,
            lending,
            chunk,
        })
    }
}

/// One piece of an array that is lent out: a handle that travels.
///
/// Whoever has one may [take](Self::take) it, one at a time.
#[derive(Serialize)]
#[serde(bound = "")]
pub struct ArrayPiece<T> {
    pieces: ArrayPieces<T>,
    index: u64,
}

impl<T> ArrayPiece<T> {
    /// Its number among the pieces.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::try_from(self.index).unwrap_or(usize::MAX)
    }

    /// Which elements of the array it has.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.pieces.range(self.index())
    }
}

impl<T: Pod> ArrayPiece<T> {
    /// Takes the piece, for the calling thread alone.
    ///
    /// # Errors
    /// As [`ArrayPieces::take`].
    ///
    /// # Panics
    /// If the thread holds 1,024 locks shared by processes.
    pub fn take(&self) -> Result<PieceGuard<'_, T>, PieceError> {
        self.pieces.take(self.index())
    }
}

impl<T> fmt::Debug for ArrayPiece<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayPiece")
            .field("pieces", &self.pieces)
            .field("index", &self.index)
            .finish()
    }
}

impl<'de, T> Deserialize<'de> for ArrayPiece<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (pieces, index) = <(ArrayPieces<T>, u64)>::deserialize(deserializer)?;
        let piece = ArrayPiece { pieces, index };
        if piece.index() >= piece.pieces.len() {
            return Err(de::Error::custom(
                "there is no piece of the received number",
            ));
        }
        Ok(piece)
    }
}

/// The elements of a piece, until dropped nobody else's.
#[must_use = "the piece is given back when this is dropped"]
pub struct PieceGuard<'a, T> {
    first: *mut T,
    length: usize,
    /// Held for its drop.
    _in_use: PieceUse<'a>,
    elements: PhantomData<&'a mut [T]>,
}

// SAFETY: shared access gives `&[T]` only, which may be shared where `T: Sync`; the rest is atomics. It is
// not `Send`, for the use is not.
unsafe impl<T: Sync> Sync for PieceGuard<'_, T> {}

impl<T: Pod> Deref for PieceGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `first` is aligned and followed by `length` elements inside the mapping, which is there
        // as long as the guard; any bytes are values (`Pod`); and who uses a piece is alone with it.
        unsafe { slice::from_raw_parts(self.first, self.length) }
    }
}

impl<T: Pod> DerefMut for PieceGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the guard is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.first, self.length) }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for PieceGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
