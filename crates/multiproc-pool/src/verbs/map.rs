//! One function over many items, all of which are there.

use multiproc_process::function::Function;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::error::TaskError;
use crate::pool::Pool;
use crate::task::{MapTask, all, each};

impl Pool {
    /// Runs `function` on every item and waits for all results, which come in the order of the items.
    ///
    /// Items may be borrowed: `pool.map(|word: String| word.len(), words.iter())` and
    /// `pool.map(|word: String| word.len(), ["a", "b"])` encode them from where they are.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// assert_eq!(pool.map(|n: u64| n * n, 1..=4)?, [1, 4, 9, 16]);
    /// assert_eq!(pool.map(|word: String| word.len(), ["one", "three"])?, [3, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The error of the first item, in their order, that has none but an error for a result, after all
    /// items are settled; or that of the first item that cannot be encoded, before any is sent.
    ///
    /// A panic of the iterator is the caller's own: nothing was sent then, and the pool goes on.
    ///
    /// # Differences from Python
    /// Items are sent one by one, unless [`Policy::chunksize`](crate::Policy::chunksize) asks for more, and an error
    /// costs one item.
    #[doc(alias = "multiprocessing.pool.Pool.map")]
    pub fn map<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let job = (self.driver()).run(Function::new(function), items, self.call())?;
        all(job)
    }

    /// As [`map`](Self::map), with a result or an error for every item.
    ///
    /// # Errors
    /// Where the items cannot be sent: one cannot be encoded, the pool is closed or broken.
    pub fn map_results<A, R, I>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> Result<Vec<Result<R, TaskError>>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let job = (self.driver()).run(Function::new(function), items, self.call())?;
        Ok(each(job))
    }

    /// Has `function` run on every item, and returns at once.
    ///
    /// # Errors
    /// Where the items cannot be sent: one cannot be encoded, the pool is closed or broken.
    #[doc(alias = "multiprocessing.pool.Pool.map_async")]
    pub fn map_async<A, R, I>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> Result<MapTask<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        self.driver()
            .send(Function::new(function), items, self.call())
    }

    /// [`map`](Self::map) under the name it has in Python where an item is several arguments: a function takes those as
    /// a tuple in any case.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let powers = pool.starmap(|(base, exponent): (u64, u32)| base.pow(exponent), [(2, 3), (3, 2)])?;
    /// assert_eq!(powers, [8, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map).
    #[doc(alias = "multiprocessing.pool.Pool.starmap")]
    pub fn starmap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        self.map(function, items)
    }

    /// As [`map_async`](Self::map_async), for [`starmap`](Self::starmap).
    ///
    /// # Errors
    /// As [`map_async`](Self::map_async).
    #[doc(alias = "multiprocessing.pool.Pool.starmap_async")]
    pub fn starmap_async<A, R, I>(
        &self,
        function: fn(A) -> R,
        items: I,
    ) -> Result<MapTask<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        self.map_async(function, items)
    }
}
