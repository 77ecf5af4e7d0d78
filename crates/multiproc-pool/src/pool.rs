//! The pool as its user holds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use multiproc_sys::clock::Deadline;

use crate::builder::Builder;
use crate::driver::{Call, Core, Driver, Phase};
use crate::error::{Error, Kind};
use crate::policy::Policy;
use crate::settings::Settings;
use crate::view::recorder::Slow;
use crate::view::{Stats, Timeline};

/// A number of worker processes that run tasks.
///
/// Dropping a pool ends it as [`terminate`](Pool::terminate) does, without asking the workers first. What
/// [`with`](Pool::with) gives is the same pool, and dropping that ends nothing.
///
/// # Differences from Python
/// - A worker's death fails the task it ran, and no other; the pool goes on. So does one that calls `exit`.
/// - An initializer that always fails does not start workers for ever: the pool gives up, and says why.
/// - `map` takes an error of its input as it takes any item: the input is an iterator, which does not fail but panic,
///   and then nothing was sent.
/// - Tasks that are open when the pool is terminated are settled, as [`TaskError::Cancelled`](crate::TaskError::Cancelled).
/// - Callbacks may take as long as they like, and may panic.
/// - There is no `join` before the end of a scope: a pool that is dropped is terminated, as at the end of Python's `with`.
#[doc(alias = "multiprocessing.Pool")]
#[doc(alias = "multiprocessing.pool.Pool")]
pub struct Pool {
    driver: Arc<Driver>,
    policy: Policy,
    /// It is what was built, with which the pool ends.
    owner: bool,
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

    /// A pool whose workers are threads of this process, for tests, and to compare: all else is the same, and arguments
    /// and results are encoded all the same.
    ///
    /// What needs a process is not to be had. A crash or an `exit` in a task ends the program, and so does a panic
    /// where panics abort. A task that runs cannot be ended: [`cancel`](crate::Task::cancel) settles it and asks it to stop
    /// ([`cancelled`](crate::cancelled)), and its thread is free when it has returned; a pool that is dropped or terminated
    /// waits for that, for ten seconds at most. A [`task_timeout`](Policy::task_timeout) is an error, and what the
    /// builder asks of processes. Statics are the program's own.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::threads(2)?;
    /// assert_eq!(pool.map(|n: u64| n * n, 1..=4)?, [1, 4, 9, 16]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[doc(alias = "multiprocessing.pool.ThreadPool")]
    pub fn threads(workers: usize) -> Result<Pool, Error> {
        Pool::builder().workers(workers).threads(true).build()
    }

    /// A pool to be made otherwise.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn start(workers: usize, policy: Policy, settings: Settings) -> Result<Pool, Error> {
        let driver = Driver::start(checked(workers)?, settings)?;
        Ok(Pool {
            driver,
            policy,
            owner: true,
        })
    }

    /// The same pool, for calls of another policy, which is made from this one's. Dropping what is given ends
    /// nothing; it is also a second handle to the pool, for another thread, say.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let quick = pool.with(|policy| policy.task_timeout(Duration::from_secs(5)));
    /// assert_eq!(quick.map(|n: u8| n * 2, [1, 2])?, [2, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the pool itself keeps its policy"]
    pub fn with(&self, policy: impl FnOnce(Policy) -> Policy) -> Pool {
        Pool {
            driver: Arc::clone(&self.driver),
            policy: policy(self.policy),
            owner: false,
        }
    }

    /// How many workers there are to be.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.driver.workers()
    }

    /// The numbers of the processes that are workers now, in no order that means anything. They may be others at any time.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.driver.pids()
    }

    /// Has so many workers from now on. Those that are too many finish what they have begun, those without a
    /// task go first, and the others keep their processes.
    ///
    /// # Errors
    /// For no workers, or more than 65,536; where the pool is closed or broken.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        let workers = checked(workers)?;
        self.driver
            .resize(workers)
            .map_err(|error| Error::new(Kind::Ended(error)))
    }

    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// A call of this pool's policy.
    pub(crate) fn call(&self) -> Call {
        Call {
            policy: self.policy,
            state: None,
        }
    }

    /// How much the pool has done by now, and each of its workers.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// pool.map(|n: u64| n * n, 0..1000)?;
    /// let stats = pool.stats();
    /// assert_eq!((stats.done, stats.failed, stats.in_flight), (1000, 0, 0));
    /// println!("{stats}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (mut stats, slowest) = self.look(|core| (core.stats(), core.slowest()));
        // Not under the lock, since arguments are decoded for it, by code that is not the pool's.
        stats.slowest = slowest.into_iter().map(Slow::told).collect();
        stats
    }

    /// Which worker ran which task when, where the pool was [built](Builder::timeline) to keep that; else `None`.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::builder().workers(2).timeline(10_000).build()?;
    /// pool.map(|n: u64| n * n, 0..100)?;
    /// let timeline = pool.timeline().expect("it was asked for");
    /// assert_eq!(timeline.tasks.len(), 100);
    /// assert!(timeline.to_svg().starts_with("<svg"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        self.look(Core::timeline)
    }

    /// Takes in what there is to be known, and looks.
    fn look<T>(&self, look: impl FnOnce(&Core) -> T) -> T {
        match self.driver.wait(Deadline::now(), |_| true) {
            Ok((core, _)) => look(&core),
            Err(_forked) => look(&self.driver.lock()),
        }
    }

    /// Takes no more tasks. Workers end when those there are are done.
    #[doc(alias = "multiprocessing.pool.Pool.close")]
    pub fn close(&self) {
        if !self.driver.is_own() {
            return;
        }
        self.driver.lock().close();
        self.driver.attract_attention();
    }

    /// Cancels all tasks that have not begun: they are [`TaskError::Cancelled`](crate::TaskError::Cancelled). Those that run go on.
    pub fn cancel_not_started(&self) {
        if self.driver.is_own() {
            self.driver.cancel_not_started();
        }
    }

    /// Ends the pool: takes no more tasks, settles those there are as [`TaskError::Cancelled`](crate::TaskError::Cancelled), asks the
    /// workers to end (`SIGTERM`), and kills those who have not after the pool's grace. Returns when all have
    /// ended. Does nothing for a pool that has ended.
    #[doc(alias = "multiprocessing.pool.Pool.terminate")]
    pub fn terminate(&self) {
        self.end(self.driver.grace());
    }

    /// Waits until the pool, which was closed or terminated, has ended, and its callbacks have returned.
    ///
    /// # Errors
    /// Where it was neither; in a callback of the pool, which would wait for itself; the first that went wrong in a
    /// [`finalizer`](Builder::finalizer), after all.
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
        if !self.driver.is_own() {
            return Err(Error::new(Kind::Forked));
        }
        if self.driver.phase() == Phase::Open {
            return Err(Error::new(Kind::StillOpen));
        }
        if self.driver.is_in_callback() {
            return Err(Error::new(Kind::InCallback));
        }
        self.wait_until(deadline)
    }

    fn wait_until(&self, deadline: Deadline) -> Result<(), Error> {
        let waited = self.driver.wait(deadline, Core::is_gone);
        let (core, gone) = waited.map_err(|_forked| Error::new(Kind::Forked))?;
        drop(core);
        if !gone {
            return Err(Error::new(Kind::TimedOut));
        }
        self.driver.join_threads();
        match self.driver.lock().finalizer_failed() {
            Some(why) => Err(Error::new(Kind::Finalizer(why.clone()))),
            None => Ok(()),
        }
    }

    fn end(&self, grace: Duration) {
        // A forked child's copy is not its own to end.
        if !self.driver.is_own() {
            return;
        }
        if grace > Duration::ZERO {
            self.driver.terminate(false);
            let ended = self.wait_until(Deadline::after(grace));
            if !ended.is_err_and(|error| error.is_timeout()) {
                return;
            }
        }
        self.driver.terminate(true);
        // A process that the kernel cannot end within this time is not waited for.
        let _ended = self.wait_until(Deadline::after(REAP));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.owner {
            self.end(Duration::ZERO);
        }
    }
}

fn checked(workers: usize) -> Result<usize, Error> {
    match workers {
        0 => Err(Error::new(Kind::NoWorkers)),
        1..=MAX_WORKERS => Ok(workers),
        _ => Err(Error::new(Kind::TooManyWorkers(workers))),
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("phase", &self.driver.phase())
            .finish_non_exhaustive()
    }
}
