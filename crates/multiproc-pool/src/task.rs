//! Tasks that were sent, as whoever waits for them holds them.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::map;
use serde::de::DeserializeOwned;

use crate::driver::Driver;
use crate::error::{Error, TaskError};
use crate::job::Job;
use crate::scheduler::JobId;

/// The tasks of a [`map_async`](crate::Pool::map_async).
///
/// It is a future too, on any executor. Dropped, they run all the same, and their results are dropped as they
/// come.
#[doc(alias = "multiprocessing.pool.AsyncResult")]
#[must_use = "without it the results are never known"]
pub struct MapTask<R> {
    driver: Arc<Driver>,
    job: Option<JobId>,
    result: PhantomData<fn() -> R>,
}

impl<R> MapTask<R> {
    pub(crate) fn new(driver: Arc<Driver>, job: JobId) -> MapTask<R> {
        MapTask {
            driver,
            job: Some(job),
            result: PhantomData,
        }
    }

    /// Whether every task is settled.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.is_done_by(Deadline::now())
    }

    /// Waits until every task is settled; `false` after `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_done_by(Deadline::after(timeout))
    }

    /// Waits until every task is settled.
    #[doc(alias = "multiprocessing.pool.AsyncResult.wait")]
    pub fn wait(&self) {
        self.is_done_by(Deadline::NEVER);
    }

    /// Whether every task has a result and none an error; `None` before every task is settled.
    ///
    /// # Differences from Python
    /// It is no error to ask before.
    #[must_use]
    #[doc(alias = "multiprocessing.pool.AsyncResult.successful")]
    pub fn successful(&self) -> Option<bool> {
        let job = self.job?;
        let waited = self.driver.wait(Deadline::now(), |core| core.is_done(job));
        let (core, done) = waited.ok()?;
        done.then(|| core.is_successful(job))
    }

    /// Has `callback` called with what [`get`](Self::get) would give, as soon as that is there: at once where it
    /// is. It is called on a thread of the pool's, one callback after the other, and may do there what it likes, but join
    /// its own pool. A panic in it is printed and harms nothing.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let (told, sums) = mpsc::channel();
    /// let task = pool.apply_async(|(a, b): (u8, u8)| a + b, (1, 2))?;
    /// task.callback(move |sum| told.send(sum).unwrap())?;
    /// assert_eq!(sums.recv()?, Ok(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Where the thread cannot be started.
    ///
    /// # Differences from Python
    /// One callback is told of results and of errors.
    #[doc(alias = "error_callback")]
    #[doc(alias = "concurrent.futures.Future.add_done_callback")]
    pub fn callback(
        mut self,
        callback: impl FnOnce(Result<Vec<R>, TaskError>) + Send + 'static,
    ) -> Result<(), Error>
    where
        R: DeserializeOwned + 'static,
    {
        self.call_when_done(move |job| callback(all(job)))
    }

    fn call_when_done(
        &mut self,
        callback: impl FnOnce(Box<Job>) + Send + 'static,
    ) -> Result<(), Error> {
        let Some(job) = self.job else { return Ok(()) };
        self.driver.call_when_done(job, Box::new(callback))?;
        self.job = None;
        Ok(())
    }

    /// Waits until every task is settled, and gives all results in the order of the items.
    ///
    /// # Errors
    /// The first item's, in their order, that has one; [`TaskError::Taken`] where they were given before.
    pub fn get(mut self) -> Result<Vec<R>, TaskError>
    where
        R: DeserializeOwned,
    {
        all(self.take(Deadline::NEVER)?)
    }

    /// As [`get`](Self::get), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// Those of `get`, and [`TaskError::NotReady`]: the tasks go on, and can be waited for again.
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<Vec<R>, TaskError>
    where
        R: DeserializeOwned,
    {
        all(self.take(Deadline::after(timeout))?)
    }

    /// Cancels the tasks that are not settled: those not started never will be, and those that run are
    /// ended with their workers (`SIGTERM`, and `SIGKILL` after the pool's grace), which are replaced. All
    /// of them are then [`TaskError::Cancelled`].
    ///
    /// # Differences from Python
    /// A running task is cancelled too.
    #[doc(alias = "concurrent.futures.Future.cancel")]
    pub fn cancel(&self) {
        if let Some(job) = self.job {
            self.driver.cancel(job, true);
        }
    }

    /// As [`get`](Self::get), with a result or an error for every item.
    ///
    /// # Errors
    /// [`TaskError::Taken`] where they were given before.
    pub fn get_results(mut self) -> Result<Vec<Result<R, TaskError>>, TaskError>
    where
        R: DeserializeOwned,
    {
        Ok(each(self.take(Deadline::NEVER)?))
    }

    pub(crate) fn driver_and_job(&self) -> (&Arc<Driver>, Option<JobId>) {
        (&self.driver, self.job)
    }

    fn is_done_by(&self, deadline: Deadline) -> bool {
        let Some(job) = self.job else { return true };
        let waited = self.driver.wait(deadline, |core| core.is_done(job));
        waited.is_ok_and(|(_, done)| done)
    }

    fn poll_job(&mut self, context: &Context<'_>) -> Poll<Result<Box<Job>, TaskError>> {
        if let Err(forked) = self.driver.refuse_fork() {
            return Poll::Ready(Err(forked));
        }
        if self
            .job
            .is_some_and(|job| !self.driver.poll(job, context.waker()))
        {
            return Poll::Pending;
        }
        Poll::Ready(self.take(Deadline::now()))
    }

    fn take(&mut self, deadline: Deadline) -> Result<Box<Job>, TaskError> {
        let job = self.job.ok_or(TaskError::Taken)?;
        let (mut core, done) = self.driver.wait(deadline, |core| core.is_done(job))?;
        if !done {
            return Err(TaskError::NotReady);
        }
        self.job = None;
        core.take(job).ok_or(TaskError::Taken)
    }
}

impl<R: DeserializeOwned> Future for MapTask<R> {
    /// What [`get`](MapTask::get) gives.
    type Output = Result<Vec<R>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.poll_job(context));
        Poll::Ready(result.and_then(all))
    }
}

impl<R> Drop for MapTask<R> {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            self.driver.abandon(job);
        }
    }
}

impl<R> fmt::Debug for MapTask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapTask")
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

/// All results, or the first error. A `collect` would not know how many there are.
pub(crate) fn all<R: DeserializeOwned>(mut job: Box<Job>) -> Result<Vec<R>, TaskError> {
    let results = job.results();
    let mut all = Vec::new();
    map::reserve(&mut all, results.len());
    for result in results {
        all.push(result?);
    }
    job.recycle();
    Ok(all)
}

/// All results, each or its error.
pub(crate) fn each<R: DeserializeOwned>(mut job: Box<Job>) -> Vec<Result<R, TaskError>> {
    let each = job.results().collect();
    job.recycle();
    each
}

/// The task of an [`apply_async`](crate::Pool::apply_async).
///
/// It is a future too, on any executor. Dropped, it runs all the same, and its result is dropped when it
/// comes.
#[doc(alias = "multiprocessing.pool.AsyncResult")]
#[must_use = "without it the result is never known"]
pub struct Task<R>(MapTask<R>);

impl<R> Task<R> {
    pub(crate) fn new(task: MapTask<R>) -> Task<R> {
        Task(task)
    }

    /// Whether the task is settled.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.ready()
    }

    /// Waits until the task is settled; `false` after `timeout`.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.0.wait_timeout(timeout)
    }

    /// Cancels the task if it is not settled: not started, it never will be; running, it is ended with its
    /// worker (`SIGTERM`, and `SIGKILL` after the pool's grace), which is replaced. It is then
    /// [`TaskError::Cancelled`].
    ///
    /// # Differences from Python
    /// A running task is cancelled too.
    #[doc(alias = "concurrent.futures.Future.cancel")]
    pub fn cancel(&self) {
        self.0.cancel();
    }

    pub(crate) fn inner(&self) -> &MapTask<R> {
        &self.0
    }

    /// Waits until the task is settled.
    #[doc(alias = "multiprocessing.pool.AsyncResult.wait")]
    pub fn wait(&self) {
        self.0.wait();
    }

    /// Whether the task has a result and no error; `None` before it is settled.
    ///
    /// # Differences from Python
    /// It is no error to ask before.
    #[must_use]
    #[doc(alias = "multiprocessing.pool.AsyncResult.successful")]
    pub fn successful(&self) -> Option<bool> {
        self.0.successful()
    }

    /// Has `callback` called with what [`get`](Self::get) would give, as [`MapTask::callback`] does.
    ///
    /// # Errors
    /// Where the thread for that cannot be started.
    #[doc(alias = "error_callback")]
    #[doc(alias = "concurrent.futures.Future.add_done_callback")]
    pub fn callback(
        mut self,
        callback: impl FnOnce(Result<R, TaskError>) + Send + 'static,
    ) -> Result<(), Error>
    where
        R: DeserializeOwned + 'static,
    {
        self.0.call_when_done(move |job| callback(only(job)))
    }

    pub(crate) fn id(&self) -> Option<JobId> {
        self.0.job
    }

    pub(crate) fn cancel_if_not_started(&self) {
        if let Some(job) = self.0.job {
            self.0.driver.cancel(job, false);
        }
    }

    /// Waits for the task's result.
    ///
    /// # Errors
    /// [`TaskError`]; [`TaskError::Taken`] where the result was given before.
    pub fn get(mut self) -> Result<R, TaskError>
    where
        R: DeserializeOwned,
    {
        only(self.0.take(Deadline::NEVER)?)
    }

    /// As [`get`](Self::get), waiting for no longer than `timeout`.
    ///
    /// # Errors
    /// Those of `get`, and [`TaskError::NotReady`]: the task goes on, and can be waited for again.
    pub fn get_timeout(&mut self, timeout: Duration) -> Result<R, TaskError>
    where
        R: DeserializeOwned,
    {
        only(self.0.take(Deadline::after(timeout))?)
    }
}

impl<R: DeserializeOwned> Future for Task<R> {
    /// What [`get`](Task::get) gives.
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.0.poll_job(context));
        Poll::Ready(result.and_then(only))
    }
}

pub(crate) fn only<R: DeserializeOwned>(mut job: Box<Job>) -> Result<R, TaskError> {
    let only = job.results().next().unwrap_or(Err(TaskError::Taken));
    job.recycle();
    only
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("job", &self.0.job)
            .finish_non_exhaustive()
    }
}
