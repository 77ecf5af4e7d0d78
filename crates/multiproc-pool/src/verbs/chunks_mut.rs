//! Pieces of a shared array that workers change in place.

use bytemuck::Pod;
use multiproc_process::function::{Method, MethodRef};
use multiproc_shm::{ArrayPieces, SharedArray};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::TaskError;
use crate::pool::Pool;

impl Pool {
    /// Calls `function` in the workers with each `chunk` elements of an array, the last of which may be fewer, and the
    /// number of the chunk. They are changed in place: nothing is copied, and no two workers have the same.
    ///
    /// The array is locked from before the first call until nobody uses an element any more.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    /// use multiproc_shm::SharedArray;
    ///
    /// let pool = Pool::new(2)?;
    /// let mut table = SharedArray::<u32>::zeroed(12)?;
    /// pool.for_each_chunk_mut(&mut table, 4, |row, number| row.fill(number as u32))?;
    /// assert_eq!(table.to_vec().unwrap(), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first error that a chunk has, in their order, after all are settled; [`TaskError::NoChunk`] for chunks of no
    /// elements; [`TaskError::Poisoned`] for an array that is poisoned.
    ///
    /// After a panic or a death the array is [poisoned](SharedArray::lock): the chunk that was being changed is as its worker left
    /// it, and that worker has stopped, whatever ended it. Where a chunk is begun again ([`retries`](crate::Policy::retries)), it
    /// is with what the first left, and the array is poisoned all the same.
    ///
    /// # Differences from Python
    /// Python has no such call: there, whatever a `map` does to a shared array is unchecked.
    pub fn for_each_chunk_mut<T: Pod>(
        &self,
        array: &mut SharedArray<T>,
        chunk: usize,
        function: fn(&mut [T], usize),
    ) -> Result<(), TaskError> {
        self.change(array, chunk, Method::new(function), Number)
    }

    /// As [`for_each_chunk_mut`](Self::for_each_chunk_mut), with something that each call needs: it is sent once to each
    /// worker, and cloned for each call.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    /// use multiproc_shm::SharedArray;
    ///
    /// fn scale(row: &mut [f64], (_, factor): (usize, f64)) {
    ///     row.iter_mut().for_each(|number| *number *= factor);
    /// }
    /// let pool = Pool::new(2)?;
    /// let mut numbers = SharedArray::from_slice(&[1.0, 2.0, 3.0])?;
    /// pool.for_each_chunk_mut_with(&mut numbers, 2, 0.5, scale)?;
    /// assert_eq!(numbers.to_vec().unwrap(), [0.5, 1.0, 1.5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`for_each_chunk_mut`](Self::for_each_chunk_mut).
    pub fn for_each_chunk_mut_with<T, C>(
        &self,
        array: &mut SharedArray<T>,
        chunk: usize,
        context: C,
        function: fn(&mut [T], (usize, C)),
    ) -> Result<(), TaskError>
    where
        T: Pod,
        C: Serialize + DeserializeOwned + Clone + 'static,
    {
        self.change(array, chunk, Method::new(function), With(context))
    }

    fn change<T: Pod, B: Besides>(
        &self,
        array: &mut SharedArray<T>,
        chunk: usize,
        method: Method<[T], B::Argument, ()>,
        besides: B,
    ) -> Result<(), TaskError> {
        if chunk == 0 {
            return Err(TaskError::NoChunk);
        }
        let method = method.reference();
        let method = method.map_err(|error| TaskError::Function(error.to_string()))?;
        let elements = array.lock().map_err(|_| TaskError::Poisoned)?;
        let loan = elements.lend(chunk);
        let pieces = loan.pieces();
        let count = pieces.len();
        let changes = Changes {
            pieces,
            besides,
            method,
            function: None,
        };
        let done = self.map_with(&changes, change::<T, B>, 0..count);
        // Nobody changes an element after this, be it that the pool has given up on somebody who did.
        let whole = loan.finish().is_ok();
        match done {
            Ok(_) if whole => Ok(()),
            Ok(_) => Err(TaskError::Poisoned),
            Err(error) => Err(error),
        }
    }
}

type Function<T, A> = fn(&mut [T], A);

/// What a function has besides its elements.
trait Besides: Serialize + DeserializeOwned + 'static {
    type Argument: 'static;

    fn argument(&self, number: usize) -> Self::Argument;
}

/// The number of the chunk.
#[derive(Serialize, Deserialize)]
struct Number;

impl Besides for Number {
    type Argument = usize;

    fn argument(&self, number: usize) -> usize {
        number
    }
}

/// And something more.
#[derive(Serialize, Deserialize)]
struct With<C>(C);

impl<C: Serialize + DeserializeOwned + Clone + 'static> Besides for With<C> {
    type Argument = (usize, C);

    fn argument(&self, number: usize) -> (usize, C) {
        (number, self.0.clone())
    }
}

/// What all calls have in common.
struct Changes<T: 'static, B: Besides> {
    pieces: ArrayPieces<T>,
    besides: B,
    method: MethodRef,
    /// In the worker: what `method` names.
    function: Option<Function<T, B::Argument>>,
}

impl<T, B: Besides> Serialize for Changes<T, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.pieces, &self.besides, &self.method).serialize(serializer)
    }
}

impl<'de, T: 'static, B: Besides> Deserialize<'de> for Changes<T, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (pieces, besides, method) = Deserialize::deserialize(deserializer)?;
        let function = Method::resolve(&method).map_err(D::Error::custom)?;
        Ok(Changes {
            pieces,
            besides,
            method,
            function: Some(function),
        })
    }
}

/// What a worker calls for each chunk.
fn change<T: Pod, B: Besides>(changes: &mut Changes<T, B>, number: usize) {
    let Some(function) = changes.function else {
        unreachable!("it was decoded, and found then");
    };
    let argument = changes.besides.argument(number);
    match changes.pieces.take(number) {
        Ok(mut piece) => function(&mut piece, argument),
        Err(error) => panic!("chunk {number} of the array cannot be had: {error}"),
    }
}
