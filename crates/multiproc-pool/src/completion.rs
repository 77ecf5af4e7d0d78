//! Waiting for some of many tasks: the first, the first that fails, all, or each as it comes.
//!
//! Tasks of one pool are waited for as any call does, driving the pool. Those of several have a waker each, which
//! unparks the thread that waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use serde::de::DeserializeOwned;

use crate::driver::{Core, Driver};
use crate::error::TaskError;
use crate::scheduler::JobId;
use crate::task::{MapTask, Task};

/// What [`wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReturnWhen {
    /// One of the tasks is settled.
    #[doc(alias = "FIRST_COMPLETED")]
    FirstCompleted,
    /// One has an error, unless it is that it was cancelled; or all are settled.
    #[doc(alias = "FIRST_EXCEPTION")]
    FirstError,
    /// All are settled.
    #[doc(alias = "ALL_COMPLETED")]
    AllCompleted,
}

/// What [`wait`] found: tasks by their places among those it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Those that are settled, in the order of the tasks.
    pub done: Vec<usize>,
    /// The others, likewise.
    pub not_done: Vec<usize>,
}

/// What [`wait`] can wait for: a [`Task`] or a [`MapTask`], of whatever pool.
pub trait Waitable: sealed::Sealed {}

impl<R> Waitable for Task<R> {}
impl<R> Waitable for MapTask<R> {}

mod sealed {
    //! What there is to wait for is this crate's to say.

    use super::{MapTask, Place, Task};

    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {
        /// Where the task is to be found; `None` where its result was given.
        fn place(&self) -> Option<Place<'_>>;
    }

    impl<R> Sealed for Task<R> {
        fn place(&self) -> Option<Place<'_>> {
            self.inner().place()
        }
    }

    impl<R> Sealed for MapTask<R> {
        fn place(&self) -> Option<Place<'_>> {
            let (driver, job) = self.driver_and_job();
            job.map(|job| Place { driver, job })
        }
    }
}

/// Where a task is to be found.
#[derive(Clone, Copy)]
#[expect(
    missing_debug_implementations,
    unnameable_types,
    reason = "nobody but this crate has one"
)]
pub struct Place<'a> {
    driver: &'a Arc<Driver>,
    job: JobId,
}

/// Waits for some tasks, of one pool or of several, for no longer than `timeout` if there is one. That it has passed
/// is no error: what is not done is told.
///
/// A task whose result was given before is settled.
///
/// ```
/// use std::time::Duration;
/// use multiproc_pool::{Executor, ReturnWhen, wait};
///
/// let executor = Executor::new(2)?;
/// let tasks = [executor.submit(|n: u32| n + 1, 1)?, executor.submit(|n: u32| n + 1, 2)?];
/// let waited = wait(&tasks, ReturnWhen::AllCompleted, Duration::from_secs(60));
/// assert_eq!(waited.done, [0, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Differences from Python
/// Tasks are told by their places among those that were given, since they are no keys of a set. A result that cannot
/// be decoded is found out when it is asked for, and no error here.
#[doc(alias = "concurrent.futures.wait")]
pub fn wait<'a, T: Waitable + ?Sized + 'a>(
    tasks: impl IntoIterator<Item = &'a T>,
    when: ReturnWhen,
    timeout: impl Into<Option<Duration>>,
) -> Waited {
    let deadline = Deadline::after_option(timeout.into());
    let mut waited = Waited {
        done: Vec::new(),
        not_done: Vec::new(),
    };
    let mut open = Vec::new();
    for (index, task) in tasks.into_iter().enumerate() {
        match task.place() {
            Some(place) => open.push((index, place)),
            None => waited.done.push(index),
        }
    }
    let mut failed = false;
    let enough = |done: &[usize], failed| match when {
        ReturnWhen::FirstCompleted => !done.is_empty(),
        ReturnWhen::FirstError => failed,
        ReturnWhen::AllCompleted => false,
    };
    while !open.is_empty() && !enough(&waited.done, failed) {
        let settled = settled(&mut open, deadline, |core, job| {
            failed |= core.has_error(job)
        });
        if settled.is_empty() {
            break;
        }
        waited.done.extend(settled);
    }
    waited.done.sort_unstable();
    waited.not_done = open.into_iter().map(|(index, _)| index).collect();
    waited
}

/// Waits until some of the tasks are settled, and takes those out, calling `look` with each. None where the deadline
/// passes first, and in a forked copy.
fn settled(
    open: &mut Vec<(usize, Place<'_>)>,
    deadline: Deadline,
    mut look: impl FnMut(&Core, JobId),
) -> Vec<usize> {
    let Some((_, first)) = open.first() else {
        return Vec::new();
    };
    let first = first.driver;
    let mut found = Vec::new();
    if open
        .iter()
        .all(|(_, place)| Arc::ptr_eq(first, place.driver))
    {
        let waited = first.wait(deadline, |core| {
            found.extend(take_settled(open, first, core, &mut look));
            !found.is_empty()
        });
        drop(waited);
        return found;
    }
    let parked = Waker::from(Arc::new(Parked(thread::current())));
    loop {
        let mut drivers: Vec<&Arc<Driver>> = Vec::new();
        for (_, place) in open.iter() {
            if !drivers
                .iter()
                .any(|driver| Arc::ptr_eq(driver, place.driver))
            {
                drivers.push(place.driver);
            }
        }
        for driver in drivers {
            let waited = driver.wait(Deadline::now(), |core| {
                found.extend(take_settled(open, driver, core, &mut look));
                true
            });
            drop(waited);
        }
        // A forked copy waits for nothing, since nothing comes.
        if !found.is_empty() || deadline.has_passed() || !first.is_own() {
            return found;
        }
        // One that is settled by now is found by the next look.
        let asked = open
            .iter()
            .map(|(_, place)| place.driver.poll(place.job, &parked));
        if asked.fold(false, |any, done| any | done) {
            continue;
        }
        match deadline.remaining() {
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}

fn take_settled(
    open: &mut Vec<(usize, Place<'_>)>,
    driver: &Arc<Driver>,
    core: &Core,
    look: &mut impl FnMut(&Core, JobId),
) -> Vec<usize> {
    let is_settled =
        |place: &Place<'_>| Arc::ptr_eq(place.driver, driver) && core.is_done(place.job);
    let settled = open.extract_if(.., |(_, place)| is_settled(place));
    let settled = settled.inspect(|(_, place)| look(core, place.job));
    settled.map(|(index, _)| index).collect()
}

/// Wakes the thread that waits for tasks of several pools.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The results of some tasks, of one pool or of several, as they come: each with the place of its task among those given.
///
/// ```
/// use multiproc_pool::{Executor, as_completed};
///
/// let executor = Executor::new(2)?;
/// let tasks = ["one", "three"].map(|word| executor.submit(|word: String| word.len(), word.to_string()));
/// let tasks: Vec<_> = tasks.into_iter().collect::<Result<_, _>>()?;
/// let mut lengths: Vec<_> = as_completed(tasks).collect();
/// lengths.sort_by_key(|(index, _)| *index);
/// assert_eq!(lengths, [(0, Ok(3)), (1, Ok(5))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Differences from Python
/// What comes is the result and not the task, which has nothing else to say by then.
#[doc(alias = "concurrent.futures.as_completed")]
pub fn as_completed<R>(tasks: impl IntoIterator<Item = Task<R>>) -> AsCompleted<R> {
    let tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    let is_taken = |(_, task): &(usize, &Option<Task<R>>)| {
        task.as_ref().is_some_and(|task| task.id().is_none())
    };
    let taken = tasks.iter().enumerate().filter(is_taken);
    AsCompleted {
        settled: taken.map(|(index, _)| index).collect(),
        tasks,
        deadline: Deadline::NEVER,
        told: 0,
    }
}

/// What [`as_completed`] gives.
#[must_use = "it is an iterator, and waits for nothing by itself"]
pub struct AsCompleted<R> {
    tasks: Vec<Option<Task<R>>>,
    /// Places of tasks that are settled and not told of.
    settled: VecDeque<usize>,
    deadline: Deadline,
    /// Once the deadline has passed, every task before this place was told of.
    told: usize,
}

impl<R> AsCompleted<R> {
    /// For no longer than this from now. After that, each task that is not settled is told of once, as
    /// [`TaskError::NotReady`]; it goes on, and is among what is [left](Self::into_unfinished).
    ///
    /// # Differences from Python
    /// Each task that had no result in time is named, and not only how many they are.
    pub fn timeout(mut self, timeout: Duration) -> AsCompleted<R> {
        self.deadline = Deadline::after(timeout);
        self
    }

    /// The tasks whose results were not given, with their places.
    #[must_use]
    pub fn into_unfinished(self) -> Vec<(usize, Task<R>)> {
        let tasks = self.tasks.into_iter().enumerate();
        tasks
            .filter_map(|(index, task)| Some((index, task?)))
            .collect()
    }
}

impl<R: DeserializeOwned> Iterator for AsCompleted<R> {
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.settled.is_empty() && self.told == 0 {
            let mut open: Vec<_> = (self.tasks.iter().enumerate())
                .filter_map(|(index, task)| Some((index, sealed::Sealed::place(task.as_ref()?)?)))
                .collect();
            self.settled
                .extend(settled(&mut open, self.deadline, |_, _| {}));
        }
        if let Some(index) = self.settled.pop_front() {
            let task = self.tasks[index].take()?;
            return Some((index, task.get()));
        }
        let late = (self.tasks.iter().enumerate().skip(self.told)).find(|(_, task)| task.is_some());
        let (index, _) = late?;
        self.told = index + 1;
        Some((index, Err(TaskError::NotReady)))
    }
}

impl<R> fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("unfinished", &self.tasks.iter().flatten().count())
            .finish_non_exhaustive()
    }
}
