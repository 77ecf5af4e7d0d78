//! The pool as its user holds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use multiproc_process::function::Function;
use multiproc_sys::clock::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::builder::Builder;
use crate::driver::{Driver, Limits, Phase};
use crate::error::{Error, Kind, TaskError};
use crate::imap::Imap;
use crate::task::{MapTask, Task};
use crate::worker::Initializer;

/// A number of worker processes that run tasks.
///
/// Dropping a pool ends it as [`terminate`](Pool::terminate) does, without asking the workers first.
///
/// # Differences from Python
/// A worker's death fails the task it ran, and no other; the pool goes on.
#[doc(alias = "multiprocessing.Pool")]
#[doc(alias = "multiprocessing.pool.Pool")]
pub struct Pool {
    driver: Arc<Driver>,
    grace: Duration,
}

/// More than any machine has processors, and than its limits on open files allow.
const MAX_WORKERS: usize = 1 << 16;
/// How long workers that are killed may take, which is the kernel's doing alone.
const REAP: Duration = Duration::from_secs(10);

impl Pool {
    /// A pool of so many workers.
    ///
    /// # Errors
    /// For no workers, or more than 65,536; where a process cannot be started; where there are too many open files, or no memory.
    /// Nothing is left behind then.
    pub fn new(workers: usize) -> Result<Pool, Error> {
        Pool::builder().workers(workers).build()
    }

    /// A pool to be made otherwise.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn start(
        workers: usize,
        name: String,
        limits: Limits,
        initializer: Option<Initializer>,
    ) -> Result<Pool, Error> {
        if workers == 0 {
            return Err(Error::new(Kind::NoWorkers));
        }
        if workers > MAX_WORKERS {
            return Err(Error::new(Kind::TooManyWorkers(workers)));
        }
        let grace = limits.grace;
        Driver::start(workers, name, limits, initializer).map(|driver| Pool { driver, grace })
    }

    /// Runs `function(argument)` in a worker and waits for its result.
    ///
    /// # Errors
    /// [`TaskError`].
    #[doc(alias = "multiprocessing.pool.Pool.apply")]
    pub fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        Task::new(
            self.driver
                .send(Function::new(function), [argument], true)?,
        )
        .get()
    }

    /// Has `function(argument)` run in a worker, and returns at once.
    ///
    /// # Errors
    /// Where the task cannot be sent: its argument cannot be encoded, the pool is closed or broken.
    #[doc(alias = "multiprocessing.pool.Pool.apply_async")]
    pub fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Task<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.map_async(function, [argument]).map(Task::new)
    }

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
    /// # Differences from Python
    /// Items are sent one by one, so there is no `chunksize`, and one error costs one item.
    #[doc(alias = "multiprocessing.pool.Pool.map")]
    #[doc(alias = "multiprocessing.pool.Pool.starmap")]
    pub fn map<A, R, I>(&self, function: fn(A) -> R, items: I) -> Result<Vec<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        self.driver
            .send(Function::new(function), items, true)?
            .get()
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
        self.driver
            .send(Function::new(function), items, true)?
            .get_results()
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
        self.driver.send(Function::new(function), items, false)
    }

    /// Runs `function` on items as they are taken from an iterator, and gives the results in the order of the
    /// items, each as soon as it and those before it are there.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let first = pool.imap(|n: u64| n * n, 1..).find(|square| matches!(square, Ok(n) if *n > 50));
    /// assert_eq!(first, Some(Ok(64)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from Python
    /// The input is taken lazily, so it may be endless. An item's error is that item's alone; the iteration
    /// goes on.
    #[doc(alias = "multiprocessing.pool.Pool.imap")]
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        Imap::new(Arc::clone(&self.driver), function, items.into_iter(), true)
    }

    /// As [`imap`](Self::imap), giving results as they come, in whatever order.
    #[doc(alias = "multiprocessing.pool.Pool.imap_unordered")]
    pub fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        Imap::new(Arc::clone(&self.driver), function, items.into_iter(), false)
    }

    /// Takes no more tasks. Workers end when those there are are done.
    #[doc(alias = "multiprocessing.pool.Pool.close")]
    pub fn close(&self) {
        self.driver.lock().close();
        self.driver.attract_attention();
    }

    /// Cancels all tasks that have not begun: they are [`TaskError::Cancelled`]. Those that run go on.
    pub fn cancel_not_started(&self) {
        if self.driver.is_own() {
            self.driver.cancel_not_started();
        }
    }

    /// Ends the pool: takes no more tasks, settles those there are as [`TaskError::Cancelled`], asks the
    /// workers to end (`SIGTERM`), and kills those who have not after the pool's grace. Returns when all have
    /// ended. Does nothing for a pool that has ended.
    #[doc(alias = "multiprocessing.pool.Pool.terminate")]
    pub fn terminate(&self) {
        self.end(self.grace);
    }

    /// Waits until the pool, which was closed or terminated, has ended.
    ///
    /// # Errors
    /// Where it was neither.
    #[doc(alias = "multiprocessing.pool.Pool.join")]
    pub fn join(&self) -> Result<(), Error> {
        self.join_until(Deadline::NEVER)
    }

    /// As [`join`](Self::join), for no longer than `timeout`.
    ///
    /// # Errors
    /// Where it was neither closed nor terminated; and one for which [`Error::is_timeout`] holds: the pool
    /// goes on, and can be joined again.
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), Error> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&self, deadline: Deadline) -> Result<(), Error> {
        if self.driver.phase() == Phase::Open {
            return Err(Error::new(Kind::StillOpen));
        }
        let (core, gone) = self.driver.wait(deadline, crate::driver::Core::is_gone);
        drop(core);
        if !gone {
            return Err(Error::new(Kind::TimedOut));
        }
        self.driver.join_watcher();
        Ok(())
    }

    fn end(&self, grace: Duration) {
        // A forked child's copy is not its own to end.
        if !self.driver.is_own() {
            return;
        }
        if grace > Duration::ZERO {
            self.driver.terminate(false);
            if self.join_until(Deadline::after(grace)).is_ok() {
                return;
            }
        }
        self.driver.terminate(true);
        // A process that the kernel cannot end within this time is not waited for.
        let _ended = self.join_until(Deadline::after(REAP));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("phase", &self.driver.phase())
            .finish_non_exhaustive()
    }
}
