//! A pool as Python's `concurrent.futures` has it: submitted to, and shut down.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::error::{Error, TaskError};
use crate::pool::Pool;
use crate::task::Task;
use crate::verbs::Imap;

/// A [`Pool`] that finishes what it was given: dropped, it waits until all its tasks are done, where a pool drops them.
///
/// What [`submit`](Self::submit) gives is a [`Task`]: it can be waited for, awaited, cancelled, and given with others to
/// [`wait`](crate::wait) and [`as_completed`](crate::as_completed).
///
/// ```
/// use multiproc_pool::{Executor, as_completed};
///
/// let executor = Executor::new(2)?;
/// let sum = executor.submit(|(a, b): (u32, u32)| a + b, (1, 2))?;
/// let texts: Vec<_> = (0..3).map(|n| executor.submit(|n: u32| n.to_string(), n)).collect::<Result<_, _>>()?;
/// for (index, text) in as_completed(texts) {
///     assert_eq!(text?, index.to_string());
/// }
/// assert_eq!(sum.get()?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Differences from Python
/// - A worker's death is the error of the task it ran, and the executor goes on; Python's is then broken.
/// - An initializer that fails is tried again, some times; the executor is broken after that, as Python's is at once.
/// - A task is not running before a worker has begun it, so each that has not begun can be cancelled; Python takes a few
///   more than there are workers for running. One that runs can be cancelled too, and its worker is replaced.
/// - [`map`](Self::map) takes its input as results are asked for, so that it may be endless; an item's error does not end
///   the iteration.
/// - A result that cannot be decoded is an error of its task; Python's executor is then broken.
/// - A task cannot wait for one of the same executor, since it has no handle to it; Python's can, and may then wait for ever.
#[doc(alias = "concurrent.futures.Executor")]
#[doc(alias = "concurrent.futures.ProcessPoolExecutor")]
pub struct Executor {
    pool: Pool,
}

impl Executor {
    /// An executor of so many workers. For one of another kind, make it [`from`](Self::from) a pool.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn new(workers: usize) -> Result<Executor, Error> {
        Pool::new(workers).map(Executor::from)
    }

    /// The pool below. Ending that ends the executor: [`terminate`](Pool::terminate) is what Python calls
    /// `terminate_workers` and, with no grace, `kill_workers`.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Has `function(argument)` run in a worker, and returns at once.
    ///
    /// # Errors
    /// Where the task cannot be sent: its argument cannot be encoded, the executor was shut down or is broken.
    #[doc(alias = "concurrent.futures.Executor.submit")]
    pub fn submit<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Task<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.pool.apply_async(function, argument)
    }

    /// Runs `function` on items as they are taken from an iterator, and gives the results in the order of the
    /// items. The first items are taken and sent at once, the others as results are asked for: how many are under way is its
    /// [window](Imap::window), Python's `buffersize`. It may have a [timeout](Imap::timeout).
    #[doc(alias = "concurrent.futures.Executor.map")]
    pub fn map<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        self.pool.imap(function, items).begun()
    }

    /// Takes no more tasks, and finishes those there are; or, with `cancel_futures`, those that have begun, and the
    /// others are [`TaskError::Cancelled`]. With `wait`, returns when all is done and no worker is left. Can be
    /// called again, in whatever way.
    ///
    /// # Errors
    /// With `wait`, as [`Pool::join`].
    ///
    /// # Differences from Python
    /// After a shutdown without `wait`, it is not the program's end that waits for the tasks, but the executor's drop.
    #[doc(alias = "concurrent.futures.Executor.shutdown")]
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> Result<(), Error> {
        self.pool.close();
        if cancel_futures {
            self.pool.cancel_not_started();
        }
        if wait { self.pool.join() } else { Ok(()) }
    }
}

impl From<Pool> for Executor {
    fn from(pool: Pool) -> Executor {
        Executor { pool }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // What went wrong is in the tasks' errors.
        let _ended = self.shutdown(true, false);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("pool", &self.pool)
            .finish()
    }
}
