//! A pool to be made.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use multiproc_process::function::Function;
use multiproc_process::{Resource, StartMethod};
use multiproc_wire::{Descriptor, Failure, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, TaskError};
use crate::policy::{Chunks, Policy};
use crate::pool::Pool;
use crate::settings::{FailureMode, Settings};
use crate::worker::Hook;

/// A pool to be made. Made by [`Pool::builder`].
#[derive(Debug)]
#[must_use = "nothing is started before `build`"]
pub struct Builder {
    workers: Option<usize>,
    policy: Policy,
    settings: Settings,
    /// The first thing that is wrong with what was asked.
    wrong: Option<Kind>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            workers: None,
            policy: Policy::DEFAULT,
            settings: Settings::default(),
            wrong: None,
        }
    }

    /// How many workers; as many as the program may use processors where it is not said.
    #[doc(alias = "processes")]
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = Some(workers);
        self
    }

    /// How the names of the workers begin; a number follows.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.settings.name = name.into();
        self
    }

    /// In which way workers come to be; as [`set_start_method`](multiproc_process::set_start_method) says where it is
    /// not said.
    ///
    /// A pool has a thread of its own, which replaces workers that have died: by
    /// [`StartMethod::Fork`] it can do that only if the promise is that of
    /// [`among_threads`](multiproc_process::ForkPromise::among_threads).
    ///
    /// ```
    /// use multiproc_pool::{Pool, StartMethod};
    ///
    /// let pool = Pool::builder().workers(2).start_method(StartMethod::ForkServer).build()?;
    /// assert_eq!(pool.map(|n: u64| n * n, 1..=3)?, [1, 4, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mp_context")]
    pub fn start_method(mut self, method: StartMethod) -> Builder {
        self.settings.start_method = Some(method);
        self
    }

    /// Has each worker call `function(argument)` once, before its first task. A worker in which that panics or
    /// returns an error ends; where too many in a row do, the pool gives up, and its tasks' errors say what went
    /// wrong ([`start_limit`](Self::start_limit)).
    ///
    /// ```
    /// use multiproc_pool::{Failure, Pool};
    ///
    /// fn connect(port: u16) -> Result<(), Failure> {
    ///     // … or an error, by `?`
    ///     assert!(port > 0);
    ///     Ok(())
    /// }
    /// let pool = Pool::builder().workers(2).initializer(connect, 8080).build()?;
    /// assert_eq!(pool.apply(|n: u8| n, 1)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from Python
    /// One that fails does not start workers for ever.
    #[doc(alias = "initargs")]
    pub fn initializer<A, R>(mut self, function: fn(A) -> R, argument: A) -> Builder
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Verdict,
    {
        match hook(function, &argument) {
            Ok(hook) => self.settings.initializer = Some(hook),
            Err(error) => self.refuse(Kind::Initializer(error)),
        }
        self
    }

    /// Has each worker call `function(argument)` when it ends because it is no longer needed: because the pool was
    /// closed, or made smaller, or the worker has had its number of tasks. One that is killed does not. What goes wrong
    /// there is the error of [`Pool::join`].
    pub fn finalizer<A, R>(mut self, function: fn(A) -> R, argument: A) -> Builder
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Verdict,
    {
        match hook(function, &argument) {
            Ok(hook) => self.settings.finalizer = Some(hook),
            Err(error) => self.refuse(Kind::Finalizer(error.to_string())),
        }
        self
    }

    /// How long a worker that is asked to end may take, before it is killed: one second where it is not said.
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.settings.grace = grace;
        self
    }

    /// Whether workers are started only when there is something for them to do and all others are busy, and not
    /// with the pool. `false` where it is not said.
    pub fn on_demand(mut self, on_demand: bool) -> Builder {
        self.settings.on_demand = on_demand;
        self
    }

    /// How long a worker without a task is kept. After that it ends, and another is started when it is needed. For
    /// as long as the pool, where it is not said.
    pub fn idle_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.idle_timeout = Some(timeout);
        self
    }

    /// How many tasks a worker runs before it is replaced. At least 1; any number, where it is not said.
    #[doc(alias = "maxtasksperchild")]
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Builder {
        if tasks == 0 {
            self.refuse(Kind::NoTasks);
        }
        self.settings.max_tasks = Some(tasks);
        self
    }

    /// How many bytes of memory a worker may have in use after a task before it is replaced. It is looked at every
    /// few milliseconds. Any number, where it is not said.
    pub fn max_memory_per_worker(mut self, bytes: u64) -> Builder {
        self.settings.max_memory = Some(bytes);
        self
    }

    /// How many tasks there may be that are not settled. A call that would make them more waits until there
    /// are few enough, or none: one map of more than that is taken when there is nothing else. See also
    /// [`Policy::refuse_when_full`]. At least 1; any number, where it is not said.
    pub fn max_pending(mut self, tasks: usize) -> Builder {
        if tasks == 0 {
            self.refuse(Kind::NoRoom);
        }
        self.settings.max_pending = Some(tasks);
        self
    }

    /// How many workers in a row may end before they are ready, while there is no other, until the pool
    /// gives up: 10 where it is not said. There is a pause before each start after one that failed: 50 ms, twice
    /// as long each time, up to a second.
    pub fn start_limit(mut self, starts: u32) -> Builder {
        self.settings.start_limit = starts.max(1);
        self
    }

    /// So much of a resource and no more, for each worker
    /// ([`process::Builder::limit`](multiproc_process::Builder::limit)).
    #[doc(alias = "resource.setrlimit")]
    pub fn limit(mut self, resource: Resource, most: u64) -> Builder {
        self.settings.limits.push((resource, most));
        self
    }

    /// Caps each worker's memory at so many bytes of address space: an allocation beyond it fails, and where the task
    /// does not expect that, the worker aborts, which costs that task
    /// ([`process::Builder::limit`](multiproc_process::Builder::limit)).
    pub fn memory_limit(self, bytes: u64) -> Builder {
        self.limit(Resource::AddressSpace, bytes)
    }

    /// Keeps the last bytes, so many at most, of what each worker writes to standard error, and has them in the errors of the
    /// tasks that it is lost with: what an aborting library says last, say. They are not passed on to this process's
    /// standard error, where they go otherwise. It costs a pipe a worker, and one thread for all.
    pub fn stderr_tail(mut self, bytes: usize) -> Builder {
        self.settings.stderr_tail = Some(bytes);
        self
    }

    /// How much other processes go before the workers: from -20 to 19
    /// ([`process::Builder::niceness`](multiproc_process::Builder::niceness)).
    #[doc(alias = "os.nice")]
    pub fn niceness(mut self, niceness: i32) -> Builder {
        self.settings.niceness = Some(niceness);
        self
    }

    /// The processors that the workers run on
    /// ([`process::Builder::affinity`](multiproc_process::Builder::affinity)).
    #[doc(alias = "os.sched_setaffinity")]
    pub fn affinity(mut self, cpus: impl IntoIterator<Item = usize>) -> Builder {
        self.settings.affinity = Some(cpus.into_iter().collect());
        self
    }

    /// What becomes of the pool when a worker is lost with a task.
    pub fn failure_mode(mut self, mode: FailureMode) -> Builder {
        self.settings.failure_mode = mode;
        self
    }

    /// Whether workers are threads of this process and not processes: see [`Pool::threads`]. `false` where it is not said.
    #[doc(alias = "multiprocessing.pool.ThreadPool")]
    pub fn threads(mut self, threads: bool) -> Builder {
        self.settings.threads = threads;
        self
    }

    /// Keeps which worker ran which task when, for [`Pool::timeline`] and the slowest tasks in [`Pool::stats`]: of
    /// the last so many tasks, which take about 100 bytes each. The workers then look at the clock before and after
    /// each task. Nothing is kept where it is not said, and no clock looked at.
    pub fn timeline(mut self, tasks: usize) -> Builder {
        self.settings.timeline = Some(tasks);
        self
    }

    /// [`Policy::task_timeout`], for all calls that do not say otherwise.
    pub fn task_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder {
        self.policy = self.policy.task_timeout(timeout);
        self
    }

    /// [`Policy::soft_timeout`], for all calls that do not say otherwise.
    pub fn soft_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder {
        self.policy = self.policy.soft_timeout(timeout);
        self
    }

    /// [`Policy::retries`], for all calls that do not say otherwise.
    pub fn retries(mut self, retries: u32) -> Builder {
        self.policy = self.policy.retries(retries);
        self
    }

    /// [`Policy::retry_signals`], for all calls that do not say otherwise.
    pub fn retry_signals(mut self, retry: bool) -> Builder {
        self.policy = self.policy.retry_signals(retry);
        self
    }

    /// [`Policy::chunksize`], for all calls that do not say otherwise.
    pub fn chunksize(mut self, chunks: impl Into<Chunks>) -> Builder {
        self.policy = self.policy.chunksize(chunks);
        self
    }

    /// [`Policy::refuse_when_full`], for all calls that do not say otherwise.
    pub fn refuse_when_full(mut self, refuse: bool) -> Builder {
        self.policy = self.policy.refuse_when_full(refuse);
        self
    }

    fn refuse(&mut self, why: Kind) {
        self.wrong.get_or_insert(why);
    }

    /// What was asked that only a process can do.
    fn only_of_processes(&self) -> Option<&'static str> {
        let Settings {
            start_method,
            max_memory,
            limits,
            niceness,
            affinity,
            ..
        } = &self.settings;
        let asked = [
            (self.policy.timeout.is_some(), "a task_timeout"),
            (start_method.is_some(), "a start_method"),
            (max_memory.is_some(), "a max_memory_per_worker"),
            (!limits.is_empty(), "a limit"),
            (niceness.is_some(), "a niceness"),
            (affinity.is_some(), "an affinity"),
        ];
        asked
            .into_iter()
            .find(|(asked, _)| *asked)
            .map(|(_, what)| what)
    }

    /// Makes the pool: starts the workers, and returns without waiting until they are ready.
    ///
    /// # Errors
    /// As [`Pool::new`], and where something was asked that cannot be.
    pub fn build(self) -> Result<Pool, Error> {
        if self.settings.threads
            && let Some(what) = self.only_of_processes()
        {
            return Err(Error::new(Kind::NotForThreads(what)));
        }
        if let Some(wrong) = self.wrong {
            return Err(Error::new(wrong));
        }
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        Pool::start(
            self.workers.unwrap_or_else(processors),
            self.policy,
            self.settings,
        )
    }
}

mod sealed {
    //! What the worker expects is this crate's to say.

    #[expect(unnameable_types, reason = "that is what seals it")]
    pub trait Sealed {}
}

/// What an initializer or finalizer may return: nothing, or a `Result` that says whether it went well.
pub trait Verdict: sealed::Sealed + Serialize + DeserializeOwned + 'static {}

impl sealed::Sealed for () {}
impl Verdict for () {}
impl sealed::Sealed for Result<(), Failure> {}
impl Verdict for Result<(), Failure> {}

fn hook<A, R>(function: fn(A) -> R, argument: &A) -> Result<Hook, TaskError>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Verdict,
{
    let function = Function::new(function).reference();
    let function = function.map_err(|error| TaskError::Function(error.to_string()))?;
    let mut bytes = Vec::new();
    let handoff = encode(argument, &mut bytes).map_err(TaskError::Encode)?;
    let handles = handoff
        .handles()
        .iter()
        .cloned()
        .map(Descriptor::shared)
        .collect();
    handoff.sent();
    Ok(Hook {
        function,
        argument: bytes,
        handles,
    })
}
