//! Carries out what the scheduler decides: moves records, starts workers, notices deaths.
//!
//! - [`core`]: all state, behind one lock, and the pump that moves everything that can be moved
//! - [`worker`]: one worker, as its parent holds it
//! - [`wait`]: who waits, and who of those that wait drives
//! - [`watcher`]: the pool's own thread
//! - [`callbacks`]: what is called with results
//!
//! The protocol between them is in README.md of this crate.

mod callbacks;
mod core;
mod wait;
mod watcher;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use multiproc_process::function::Function;
use multiproc_shm::Bells;
use multiproc_shm::bulk::LENDER;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_sys::process::own_id;
use multiproc_wire::Handoff;
use multiproc_wire::handoff::{Gone, Lender};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, TaskError};
use crate::job::{Callback, Job, State};
use crate::policy::{Chunks, Policy};
use crate::protocol::BELLS;
use crate::scheduler::JobId;
use crate::settings::Settings;
use crate::task::MapTask;
use crate::view::recorder::Looks;
use callbacks::Callbacks;
pub(crate) use core::{Core, Phase};
use worker::Worker;
#[cfg(any(test, fuzzing))]
pub(crate) use worker::{Heard, understand};

/// What an iterator claims to have is believed up to here.
const MOST_RESERVED: usize = 1 << 20;

/// How a job is sent.
pub(crate) struct Call {
    pub(crate) policy: Policy,
    /// What its tasks have in common, and what is handed over with that.
    pub(crate) state: Option<(State, Handoff)>,
}

/// A pool, shared by its handle, its tasks' handles and its own thread.
pub(crate) struct Driver {
    core: Mutex<Core>,
    /// Told when a job is done or the driver leaves, for those who wait without driving.
    changed: Condvar,
    bells: Bells,
    /// Counts what the pool's own thread is to look at. Not shared with workers.
    attention: AtomicU32,
    functions: Mutex<BTreeMap<(usize, usize), u32>>,
    watcher: Mutex<Option<JoinHandle<()>>>,
    /// Something that some worker remembers is gone.
    gone: AtomicBool,
    /// This value, for what outlives a call.
    this: Weak<Driver>,
    settings: Arc<Settings>,
    callbacks: Callbacks,
    /// The process whose pool this is: one that it forks without exec has none.
    owner: u32,
}

/// A job that is abandoned where this is dropped, by a panic of a waker.
struct Abandoned<'a>(Option<(&'a Driver, JobId)>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some((driver, job)) = self.0 {
            driver.abandon(job);
        }
    }
}

impl Driver {
    /// Starts `workers` workers and the pool's own thread.
    pub(crate) fn start(workers: usize, settings: Settings) -> Result<Arc<Driver>, Error> {
        let settings = Arc::new(settings);
        let bells = Bells::create(BELLS)?;
        let driver = Arc::new_cyclic(|this| Driver {
            core: Mutex::new(Core::new(workers, Arc::clone(&settings))),
            changed: Condvar::new(),
            bells,
            attention: AtomicU32::new(0),
            functions: Mutex::default(),
            watcher: Mutex::new(None),
            gone: AtomicBool::new(false),
            this: this.clone(),
            settings,
            callbacks: Callbacks::default(),
            owner: own_id(),
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
        let number = self.lock().add_function(&reference, Looks::of::<A, R>())?;
        functions.insert(key, number);
        Ok(number)
    }

    /// Has `function` run on every item.
    pub(crate) fn send<A, R, I>(
        self: &Arc<Driver>,
        function: Function<A, R>,
        items: I,
        call: Call,
    ) -> Result<MapTask<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        I: IntoIterator,
        I::Item: Serialize,
    {
        let (job, handed_over) = self.prepare(function, items, call)?;
        let (mut core, id) = self.submit_job(job)?;
        self.rearm(&mut core);
        drop(core);
        handed_over.into_iter().for_each(Handoff::sent);
        Ok(MapTask::new(Arc::clone(self), id))
    }

    /// Has `function` run on every item, and waits until all are settled: as [`send`](Self::send), without letting go of the
    /// lock in between.
    pub(crate) fn run<A, R, I>(
        &self,
        function: Function<A, R>,
        items: I,
        call: Call,
    ) -> Result<Box<Job>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        I: IntoIterator,
        I::Item: Serialize,
    {
        let (job, handed_over) = self.prepare(function, items, call)?;
        let (mut core, id) = self.submit_job(job)?;
        let mut abandoned = Abandoned(Some((self, id)));
        if !handed_over.is_empty() || core.driven {
            self.rearm(&mut core);
        }
        if !handed_over.is_empty() {
            // What is told of that is somebody else's code.
            drop(core);
            handed_over.into_iter().for_each(Handoff::sent);
            core = self.lock();
        }
        let (mut core, _) = self.wait_on(core, Deadline::NEVER, |core| core.is_done(id));
        abandoned.0 = None;
        core.take(id).ok_or(TaskError::Taken)
    }

    /// A call as a job, and what it hands over.
    fn prepare<A, R, I>(
        &self,
        function: Function<A, R>,
        items: I,
        call: Call,
    ) -> Result<(Box<Job>, Vec<Handoff>), TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
        I: IntoIterator,
        I::Item: Serialize,
    {
        self.refuse_fork()?;
        let number = self.number_of(function)?;
        let items = items.into_iter();
        let Call { policy, state } = call;
        let mut job = Job::new(number, policy);
        job.lend(self.lender());
        job.reserve(items.size_hint().0.min(MOST_RESERVED));
        let mut handed_over = Vec::new();
        for item in items {
            if let Some(handoff) = job.add(&item)? {
                handed_over.push(handoff);
            }
        }
        let chunk = match policy.chunks {
            Chunks::Single => 1,
            chunks => chunks.size(job.added(), self.workers())?,
        };
        job.complete(chunk);
        if let Some((state, handoff)) = state {
            job.state = Some(state);
            handed_over.push(handoff);
        }
        Ok((job, handed_over))
    }

    /// Has `function` run once by each worker.
    pub(crate) fn send_to_each<A, R>(
        self: &Arc<Driver>,
        function: Function<A, R>,
        argument: &impl Serialize,
        policy: Policy,
    ) -> Result<MapTask<R>, TaskError>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        self.refuse_fork()?;
        let number = self.number_of(function)?;
        let mut job = Job::new(number, policy);
        job.lend(self.lender());
        let handed_over = job.add(argument)?;
        let (mut core, job) = self.submit(policy, self.workers(), |core| {
            core.submit_to_each(|workers| {
                job.repeat(workers);
                job.complete(1);
                job
            })
        })?;
        self.rearm(&mut core);
        drop(core);
        handed_over.into_iter().for_each(Handoff::sent);
        Ok(MapTask::new(Arc::clone(self), job))
    }

    fn submit_job(&self, job: Box<Job>) -> Result<(MutexGuard<'_, Core>, JobId), TaskError> {
        self.submit(job.policy, job.items(), |core| core.submit(job))
    }

    /// Takes in a job of so many items when there is room for it, and sends what can be sent of it. Gives the lock with it:
    /// who does not wait at once is to [`rearm`](Self::rearm).
    fn submit(
        &self,
        policy: Policy,
        items: usize,
        submit: impl FnOnce(&mut Core) -> Result<JobId, TaskError>,
    ) -> Result<(MutexGuard<'_, Core>, JobId), TaskError> {
        if self.settings.threads && policy.timeout.is_some() {
            let what = "a task_timeout";
            return Err(TaskError::NotForThreads { what });
        }
        let mut core = match self.settings.max_pending {
            None => self.lock(),
            Some(limit) => {
                let until = match policy.refuse_when_full {
                    true => Deadline::now(),
                    false => Deadline::NEVER,
                };
                // A pool that takes no more says so below.
                let open = |core: &Core| core.phase() == Phase::Open;
                let (core, room) =
                    self.wait(until, |core| core.has_room_for(items) || !open(core))?;
                if !room {
                    return Err(TaskError::Full { limit });
                }
                core
            }
        };
        let id = submit(&mut core)?;
        Ok((self.pump(core), id))
    }

    /// By which arguments are lent to workers. Threads are given a copy: nothing stays mapped for them between tasks.
    fn lender(&self) -> Option<&'static Lender> {
        (!self.settings.threads).then_some(&LENDER)
    }

    /// A number for what the tasks of a call have in common.
    pub(crate) fn new_key(&self) -> u32 {
        self.lock().new_key()
    }

    /// That this process is the one that made the pool: a copy of it that was forked shares its memory with the
    /// workers and must not touch it.
    pub(crate) fn refuse_fork(&self) -> Result<(), TaskError> {
        match self.is_own() {
            true => Ok(()),
            false => Err(TaskError::Forked),
        }
    }

    /// Has `callback` called with a job when it is done.
    pub(crate) fn call_when_done(&self, id: JobId, callback: Callback) -> io::Result<()> {
        self.refuse_fork().map_err(io::Error::other)?;
        self.callbacks.start()?;
        let mut core = self.lock();
        if core.call_when_done(id, callback) {
            drop(self.alert(core));
        } else {
            drop(core);
            // It is to look at results from now on.
            self.attract_attention();
        }
        Ok(())
    }

    /// Whether this is the thread that callbacks are called on.
    pub(crate) fn is_in_callback(&self) -> bool {
        self.callbacks.is_here()
    }

    /// Has so many workers from now on.
    pub(crate) fn resize(&self, workers: usize) -> Result<(), TaskError> {
        self.refuse_fork()?;
        let mut core = self.lock();
        core.resize(workers)?;
        drop(self.alert(core));
        self.attract_attention();
        Ok(())
    }

    /// Whether a job is done; if not, has `waker` woken when it is, which is never in a forked copy.
    pub(crate) fn poll(&self, id: JobId, waker: &Waker) -> bool {
        let Ok((mut core, done)) = self.wait(Deadline::now(), |core| core.is_done(id)) else {
            return false;
        };
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
        if !self.is_own() {
            return;
        }
        self.lock().abandon(id);
    }

    /// Whether something that some worker remembers is gone since this was asked last.
    fn has_lost_something(&self) -> bool {
        // Acquire: pairs with Release in `gone`.
        self.gone.load(Ordering::Relaxed) && self.gone.swap(false, Ordering::Acquire)
    }

    /// Has the pool's own thread look at everything.
    pub(crate) fn attract_attention(&self) {
        // Release: what there is to see is seen by who sees the count; pairs with Acquire in `watch`.
        self.attention.fetch_add(1, Ordering::Release);
        futex::wake(&self.attention, 1);
    }

    /// How many workers there are to be.
    pub(crate) fn workers(&self) -> usize {
        self.lock().workers_wanted()
    }

    /// The numbers of the workers' processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().workers().map(Worker::pid).collect()
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
        if !self.is_own() {
            return;
        }
        let mut core = self.lock();
        core.cancel(id, running);
        drop(self.alert(core));
        self.attract_attention();
    }

    /// Cancels what of all jobs is not started.
    pub(crate) fn cancel_not_started(&self) {
        if !self.is_own() {
            return;
        }
        let mut core = self.lock();
        core.cancel_not_started();
        drop(self.alert(core));
        self.attract_attention();
    }

    /// Waits for the pool's own thread, which ends when no worker is left, and for that of the callbacks, unless
    /// this is it.
    pub(crate) fn join_threads(&self) {
        let thread = self
            .watcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It ended by a panic of this crate's if it did not end well: nothing is left to do.
            let _ended = thread.join();
        }
        if !self.is_in_callback() {
            self.callbacks.finish();
        }
    }

    /// Whether this process is the one that made the pool.
    pub(crate) fn is_own(&self) -> bool {
        self.owner == own_id()
    }

    /// How long a worker that is asked to end may take.
    pub(crate) fn grace(&self) -> Duration {
        self.settings.grace
    }

    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase()
    }
}

impl Gone for Driver {
    fn gone(&self) {
        // Release: that it is gone is seen by who sees this; pairs with Acquire in `has_lost_something`.
        self.gone.store(true, Ordering::Release);
        self.attract_attention();
    }
}

#[cfg(test)]
mod tests;
