//! How calls are made: what may be said of a pool as a whole, and otherwise of one call.

use std::time::Duration;

use crate::error::TaskError;

/// How the tasks of a call are run. What is not said is as the pool was built.
///
/// A pool is built with one ([`Builder`](crate::Builder) has the same methods), and calls with another are made
/// through [`Pool::with`](crate::Pool::with):
///
/// ```
/// use std::time::Duration;
/// use multiproc_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let careful = pool.with(|policy| policy.task_timeout(Duration::from_secs(60)).retries(2));
/// assert_eq!(careful.apply(|n: u32| n + 1, 1)?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a policy is nothing by itself"]
pub struct Policy {
    pub(crate) timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) retry_signals: bool,
    pub(crate) chunks: Chunks,
    pub(crate) refuse_when_full: bool,
}

/// How many items are sent as one task: in one record, claimed, answered and lost together.
///
/// Where items are sent one by one, a death costs one item, and short ones still travel many in a record. So chunks spare next to
/// nothing of time: a million squares of `u64`, two workers on two cores, took 45 ns each one by one, 42 in Python's chunks. A
/// function that itself takes a `Vec` of items and returns one gains much more (11 ns an item), and most with `Bulk`, which
/// travels as the bytes that it is (1 ns), since its items are neither settled nor decoded one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chunks {
    /// Items go one by one, as many at a time as their pace allows. The default.
    #[default]
    Single,
    /// So many items each, but for the last.
    Of(usize),
    /// As many as make so many chunks for each worker; 4 is Python's default for `map`. Where the
    /// length is not known before, it is when all items are taken.
    PerWorker(usize),
}

impl From<usize> for Chunks {
    fn from(items: usize) -> Chunks {
        Chunks::Of(items)
    }
}

impl Chunks {
    /// The number of items in a chunk.
    pub(crate) fn size(self, items: usize, workers: usize) -> Result<usize, TaskError> {
        match self {
            Chunks::Single => Ok(1),
            Chunks::Of(0) | Chunks::PerWorker(0) => Err(TaskError::NoChunk),
            Chunks::Of(size) => Ok(size),
            Chunks::PerWorker(chunks) => {
                Ok(items.div_ceil(workers.saturating_mul(chunks).max(1)).max(1))
            }
        }
    }
}

impl Policy {
    pub(crate) const DEFAULT: Policy = Policy {
        timeout: None,
        soft_timeout: None,
        retries: 0,
        retry_signals: false,
        chunks: Chunks::Single,
        refuse_when_full: false,
    };

    /// How long a task may run. One that runs for longer is ended with its worker (`SIGTERM`, and `SIGKILL`
    /// after the [grace](crate::Builder::grace)), which is replaced:
    /// [`TaskError::TimedOut`](crate::TaskError::TimedOut). No other task is affected. As long as they like,
    /// where it is not said or `None`.
    ///
    /// # Differences from Python
    /// Python has no such limit.
    pub fn task_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Policy {
        self.timeout = timeout.into();
        self
    }

    /// How long a task may run before it is asked to stop: [`cancelled`](crate::cancelled) is then true in
    /// it. What it makes of that is its own affair.
    pub fn soft_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Policy {
        self.soft_timeout = timeout.into();
        self
    }

    /// How often a task is started again that has panicked, or whose worker has ended by `exit` or `abort`:
    /// never, where it is not said, since a task that was started may have had effects. One whose worker was ended
    /// by another signal is not, unless [`retry_signals`](Self::retry_signals) says so; one that was cancelled or ran
    /// for too long never is.
    pub fn retries(mut self, retries: u32) -> Policy {
        self.retries = retries;
        self
    }

    /// Whether [`retries`](Self::retries) are also for tasks whose worker was ended by a signal that it did not
    /// send itself: killed for want of memory, say, or by a wild access of its own. `false` where it is not said.
    pub fn retry_signals(mut self, retry: bool) -> Policy {
        self.retry_signals = retry;
        self
    }

    /// How many items go as one task: a number, or [`Chunks`]. It is for maps of very short tasks. Items go one by
    /// one all the same where a task has a limit in time or retries, or handles in its arguments: what is
    /// said of a task is then said of an item.
    ///
    /// # Differences from Python
    /// The default is one by one, of which many are under way at a time. A panic in a chunk
    /// is the error of its item, and the others of the chunk are run.
    pub fn chunksize(mut self, chunks: impl Into<Chunks>) -> Policy {
        self.chunks = chunks.into();
        self
    }

    /// Whether a call that finds the pool [full](crate::Builder::max_pending) is an error,
    /// [`TaskError::Full`](crate::TaskError::Full), and does not wait. `false` where it is not said.
    pub fn refuse_when_full(mut self, refuse: bool) -> Policy {
        self.refuse_when_full = refuse;
        self
    }

    /// The same, with each item a task of its own.
    pub(crate) fn one_by_one(self) -> Policy {
        self.chunksize(Chunks::Single)
    }

    /// Whether tasks have a limit in time.
    pub(crate) fn is_timed(&self) -> bool {
        self.timeout.is_some() || self.soft_timeout.is_some()
    }

    /// Whether what is said of tasks is to be said of each item.
    pub(crate) fn is_by_item(&self) -> bool {
        self.retries > 0 || self.is_timed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_pythons_where_four_for_each_worker_are_asked_for() {
        // `divmod(len, 4 * workers)`, one more where something is left.
        for (items, workers, size) in [(1, 4, 1), (16, 4, 1), (17, 4, 2), (100, 4, 7), (0, 4, 1)] {
            assert_eq!(Chunks::PerWorker(4).size(items, workers), Ok(size));
        }
        assert_eq!(Chunks::Of(20).size(3, 1), Ok(20));
        assert_eq!(Chunks::from(0).size(3, 1), Err(TaskError::NoChunk));
    }
}
