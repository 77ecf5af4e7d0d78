//! Many items made into one value.

use multiproc_process::function::{Function, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::error::TaskError;
use crate::policy::{Chunks, Policy};
use crate::pool::Pool;
use crate::task::all;
use crate::view::recorder::Looks;
use crate::worker::state;

impl Pool {
    /// Makes one value of many items: the workers fold some of them each into a copy of `start`, by `fold`, and
    /// those are then merged here, in the order of the items. So `start` is to be what changes nothing, as 0 in a sum,
    /// and it must not matter how items are grouped.
    ///
    /// Items go in chunks of the [policy's](crate::Policy::chunksize) size; four for each worker where it says one by one.
    /// A chunk is one task: it is what an error costs, and a limit in time is for.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let sum = pool.fold(0, |sum: &mut u64, n: u64| *sum += n * n, |sum, more| *sum += more, 1..=1000)?;
    /// assert_eq!(sum, 333_833_500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map).
    ///
    /// # Differences from Python
    /// Python has no such call; it is what `functools.reduce` over a `map` does, with the sums made in the
    /// workers.
    pub fn fold<T, A, I>(
        &self,
        start: T,
        fold: fn(&mut T, A),
        mut merge: impl FnMut(&mut T, T),
        items: I,
    ) -> Result<T, TaskError>
    where
        T: Serialize + DeserializeOwned + Clone + 'static,
        A: DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let items: Vec<I::Item> = items.into_iter().collect();
        let chunks = match self.policy().chunks {
            Chunks::Single => Chunks::PerWorker(4),
            chunks => chunks,
        };
        let size = chunks.size(items.len(), self.workers())?;
        let each = self.with(Policy::one_by_one);
        let looks = Looks::stated::<T, A, Vec<A>, ()>();
        let (key, call) = each.stated(&start, Method::new(fold), looks)?;
        let chunks = items.chunks(size).map(|chunk| (key, chunk));
        let job = (self.driver()).run(Function::new(state::fold::<T, A>), chunks, call)?;
        let mut sum = start;
        for part in all(job)? {
            merge(&mut sum, part);
        }
        Ok(sum)
    }

    /// Runs `map` on every item, and makes one value of the results with `reduce`, which is called here, with the
    /// results in the order of their items, as they come: no more of them than a few for each worker are kept.
    /// `None` where there are no items. To reduce in the workers too, see [`fold`](Self::fold).
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let longest = pool.map_reduce(|word: String| word.len(), usize::max, ["a", "abc", "ab"])?;
    /// assert_eq!(longest, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first that an item has, in their order, at once: the rest is cancelled.
    pub fn map_reduce<A, R, I>(
        &self,
        map: fn(A) -> R,
        mut reduce: impl FnMut(R, R) -> R,
        items: I,
    ) -> Result<Option<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let mut reduced = None;
        for result in self.imap(map, items) {
            let result = result?;
            reduced = Some(match reduced {
                None => result,
                Some(before) => reduce(before, result),
            });
        }
        Ok(reduced)
    }
}
