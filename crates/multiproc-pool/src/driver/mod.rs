//! Carries out what the scheduler decides: moves records, starts workers, notices deaths.
//!
//! - [`core`]: all state, behind one lock, and the pump that moves everything that can be moved
//! - [`worker`]: one worker, as its parent holds it
//! - [`wait`]: who waits, and who of those that wait drives
//! - [`watcher`]: the pool's own thread
//!
//! The protocol between them is in README.md of this crate.

mod core;
mod wait;
mod watcher;
mod worker;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::thread::JoinHandle;

use multiproc_process::function::Function;
use multiproc_shm::Bells;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_wire::Handoff;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::error::{Error, TaskError};
use crate::job::{Arguments, Job};
use crate::protocol::BELLS;
use crate::scheduler::JobId;
use crate::task::MapTask;
use crate::worker::Initializer;
pub(crate) use core::{Core, Limits, Phase};
use worker::Worker;

/// What an iterator claims to have is believed up to here.
const MOST_RESERVED: usize = 1 << 20;

/// A pool, shared by its handle, its tasks' handles and its own thread.
pub(crate) struct Driver {
    core: Mutex<Core>,
    /// Told when a job is done or the driver leaves, for those who wait without driving.
    changed: Condvar,
    bells: Bells,
    /// Counts what the pool's own thread is to look at. Not shared with workers.
    attention: AtomicU32,
    functions: Mutex<HashMap<(usize, usize), u32>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    /// This value, for what outlives a call.
    this: Weak<Driver>,
    initializer: Option<Initializer>,
    /// The process whose pool this is: one that it forks without exec has none.
    owner: u32,
}

impl Driver {
    /// Starts `workers` workers and the pool's own thread.
    pub(crate) fn start(
        workers: usize,
        name: String,
        limits: Limits,
        initializer: Option<Initializer>,
    ) -> Result<Arc<Driver>, Error> {
        let bells = Bells::create(BELLS)?;
        let driver = Arc::new_cyclic(|this| Driver {
            core: Mutex::new(Core::new(workers, name, limits)),
            changed: Condvar::new(),
            bells,
            attention: AtomicU32::new(0),
            functions: Mutex::default(),
            watcher: Mutex::new(None),
            this: this.clone(),
            initializer,
            owner: std::process::id(),
        });
        let started = driver.start_first_workers();
        if let Err(error) = started.and_then(|()| Ok(driver.start_watcher()?)) {
            // Where the fourth cannot be started, the first three are ended; whoever reaps the others
            // reaps them.
            driver.lock().end_all();
            return Err(error);
        }
        Ok(driver)
    }

    fn start_first_workers(&self) -> Result<(), Error> {
        let due = self.lock().due();
        for (seat, name) in due {
            let worker = Worker::start(self, name)?;
            self.lock().seat(seat, Ok(worker));
        }
        Ok(())
    }

    /// Starts the workers that are missing and due. Not under the lock, since a start takes longer than
    /// everything that is done under it.
    fn start_due_workers(&self) {
        let due = self.lock().due();
        for (seat, name) in due {
            let started = Worker::start(self, name);
            self.lock().seat(seat, started);
        }
    }

    fn start_watcher(self: &Arc<Driver>) -> io::Result<()> {
        let driver = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("multiproc-pool".to_string())
            .stack_size(256 << 10)
            .spawn(move || driver.watch())?;
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic while the lock is held would be a defect of this crate; what is behind it is then
        // as good as it gets.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a function in this pool.
    fn number_of<A, R>(&self, function: Function<A, R>) -> Result<u32, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = function.key();
        if let Some(number) = functions.get(&key) {
            return Ok(*number);
        }
        let lost = |error: &dyn std::error::Error| TaskError::Function(error.to_string());
        let reference = function.reference().map_err(|error| lost(&error))?;
        let number = self.lock().add_function(&reference)?;
        functions.insert(key, number);
        Ok(number)
    }

    /// Has `function` run on every item. Says whether the caller then waits for the results at once.
    pub(crate) fn send<A, R, I>(
        self: &Arc<Driver>,
        function: Function<A, R>,
        items: I,
        waits: bool,
    ) -> Result<MapTask<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let number = self.number_of(function)?;
        let items = items.into_iter();
        let mut arguments = Arguments::with_capacity(items.size_hint().0.min(MOST_RESERVED));
        let mut handed_over = Vec::new();
        for item in items {
            handed_over.extend(arguments.add(&item)?);
        }
        let job = self.submit(number, arguments, waits)?;
        handed_over.into_iter().for_each(Handoff::sent);
        Ok(MapTask::new(Arc::clone(self), job))
    }

    /// Takes in a job, and sends what can be sent of it.
    fn submit(&self, function: u32, arguments: Arguments, waits: bool) -> Result<JobId, TaskError> {
        let mut core = self.lock();
        let id = core.submit(Job::new(function, arguments))?;
        if core.pump(self) {
            core = self.alert(core);
        }
        if !waits || core.driven {
            self.rearm(&mut core);
        }
        Ok(id)
    }

    /// Whether a job is done; if not, has `waker` woken when it is.
    pub(crate) fn poll(&self, id: JobId, waker: &Waker) -> bool {
        let (mut core, done) = self.wait(Deadline::now(), |core| core.is_done(id));
        if !done {
            core.wake_when_done(id, waker);
            drop(core);
            // It is to look at results from now on.
            self.attract_attention();
        }
        done
    }

    /// Gives up on a job: its results are dropped as they come.
    pub(crate) fn abandon(&self, id: JobId) {
        self.lock().abandon(id);
    }

    /// Has the pool's own thread look at everything.
    pub(crate) fn attract_attention(&self) {
        // Release: what there is to see is seen by who sees the count; pairs with Acquire in `watch`.
        self.attention.fetch_add(1, Ordering::Release);
        futex::wake(&self.attention, 1);
    }

    /// How many workers there are to be.
    pub(crate) fn workers(&self) -> usize {
        self.lock().seats()
    }

    /// Drops all jobs, and asks workers to end, or ends them.
    pub(crate) fn terminate(&self, kill: bool) {
        let mut core = self.lock();
        if kill {
            core.end_all();
        } else {
            core.terminate();
            core.ask_to_end();
        }
        drop(self.alert(core));
        self.attract_attention();
    }

    /// Cancels what of a job is not started, and, if so asked, ends what of it is.
    pub(crate) fn cancel(&self, id: JobId, running: bool) {
        let mut core = self.lock();
        core.cancel(id, running);
        drop(self.alert(core));
        self.attract_attention();
    }

    /// Cancels what of all jobs is not started.
    pub(crate) fn cancel_not_started(&self) {
        let mut core = self.lock();
        core.cancel_not_started();
        drop(self.alert(core));
        self.attract_attention();
    }

    /// Waits for the pool's own thread, which ends when no worker is left. Not from that thread.
    pub(crate) fn join_watcher(&self) {
        let thread = self
            .watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It ended by a panic of this crate's if it did not end well: nothing is left to do.
            let _ended = thread.join();
        }
    }

    /// Whether this process is the one that made the pool.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == std::process::id()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase()
    }
}
