//! All state of a pool, behind one lock, and the pump that moves everything that can be moved.
//!
//! - [`jobs`]: what there is to do, and who waits for it
//! - [`sending`]: tasks out, and back
//! - [`hearing`]: results in
//! - [`deaths`]: what a worker's death means for its tasks
//! - [`seats`]: who is started when
//! - [`restless`]: who is to be looked at
//! - [`cancelling`], [`limits`]: tasks that are ended
//! - [`ending`]: the end of the pool
//! - [`seeing`]: what is told of all that

mod cancelling;
mod deaths;
mod ending;
mod hearing;
mod jobs;
mod limits;
mod restless;
mod seats;
mod seeing;
mod sending;

use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread;

use multiproc_process::function::FunctionRef;
use multiproc_shm::ring::Spin;
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Handoff, encode};

use super::Driver;
use super::worker::{Corpse, Mark};
use crate::error::TaskError;
use crate::job::Job;
use crate::scheduler::{JobId, Scheduler, TaskId};
use crate::settings::Settings;
use crate::view::recorder::{Looks, Recorder};
pub(super) use jobs::Call;
use restless::Restless;
use seats::Seat;
use seeing::Tally;

/// Whether a pool takes tasks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// It does.
    Open,
    /// It does not, and ends when it has none left.
    Closed,
    /// It does not, and has dropped those it had.
    Terminated,
    /// It has given up.
    Broken(TaskError),
}

/// See the module's documentation.
pub(crate) struct Core {
    scheduler: Scheduler<Mark>,
    jobs: Vec<Option<(JobId, Box<Job>)>>,
    seats: Vec<Seat>,
    /// Those whose workers have something to do or to say, or are to be told something. Of the others nothing is expected
    /// but their death, to which the pool's own thread sees.
    restless: Restless,
    /// Workers that are dead or dying, until they are reaped.
    corpses: Vec<Corpse>,
    functions: Vec<Vec<u8>>,
    phase: Phase,
    /// How many workers were ever started.
    started: u64,
    /// How many in a row ended before they were ready.
    failed_starts: u32,
    /// Somebody sleeps, or looks, for everybody; until then at the latest.
    pub(super) driven: bool,
    pub(super) driven_until: Deadline,
    /// How many wait without driving.
    pub(super) followers: usize,
    /// For whoever drives.
    spin: Spin,
    /// The pool's own thread sleeps, until then at the latest.
    pub(super) watching: bool,
    /// Its bell says so: workers that have nothing wake it.
    pub(super) armed: bool,
    pub(super) alarm: Deadline,
    settings: Arc<Settings>,
    /// How many workers there are to be.
    target: usize,
    /// Some task has a limit in time, or some worker.
    timed: bool,
    next_key: u32,
    /// A job is done of which those who wait for it have not been told.
    concluded: bool,
    /// What the first finalizer that went wrong has said.
    finalizer_failed: Option<String>,
    /// What is to be called with jobs that are done.
    to_call: Vec<Call>,
    /// Those who awaited jobs that are done.
    to_wake: Vec<Waker>,
    /// Tasks whose worker is being ended for their sake, and what is to be said of them.
    condemned: Vec<(TaskId, TaskError)>,
    /// How functions are shown, by their numbers.
    looks: Vec<Looks>,
    /// What became of the tasks of jobs that were taken out.
    tally: Tally,
    /// How many jobs there ever were.
    calls: u64,
    /// Where a timeline is kept.
    recorder: Option<Box<Recorder>>,
}

impl Core {
    pub(super) fn new(workers: usize, settings: Arc<Settings>) -> Core {
        Core {
            scheduler: Scheduler::new(workers),
            jobs: Vec::new(),
            seats: (0..workers)
                .map(|_| Core::empty(settings.on_demand))
                .collect(),
            restless: Restless::default(),
            corpses: Vec::new(),
            functions: Vec::new(),
            phase: Phase::Open,
            started: 0,
            failed_starts: 0,
            driven: false,
            driven_until: Deadline::NEVER,
            followers: 0,
            spin: Spin::new(),
            watching: false,
            armed: false,
            alarm: Deadline::NEVER,
            looks: Vec::new(),
            tally: Tally::default(),
            calls: 0,
            recorder: settings
                .timeline
                .map(|tasks| Box::new(Recorder::new(tasks))),
            target: workers,
            timed: settings.idle_timeout.is_some(),
            settings,
            next_key: 0,
            concluded: false,
            finalizer_failed: None,
            to_call: Vec::new(),
            to_wake: Vec::new(),
            condemned: Vec::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.clone()
    }

    /// Whether what there is to do is to be done.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closed)
    }

    /// A number for what the tasks of a call have in common.
    pub(super) fn new_key(&mut self) -> u32 {
        self.next_key = self.next_key.wrapping_add(1);
        self.next_key
    }

    pub(super) fn add_function(
        &mut self,
        reference: &FunctionRef,
        looks: Looks,
    ) -> Result<u32, TaskError> {
        let number = u32::try_from(self.functions.len())
            .map_err(|_| TaskError::Function("there are too many functions".to_string()))?;
        let mut body = number.to_le_bytes().to_vec();
        let _no_handles: Handoff = encode(reference, &mut body).map_err(TaskError::Encode)?;
        self.functions.push(body);
        self.looks.push(looks);
        Ok(number)
    }

    /// When the pool's own thread is to look again, whatever happens.
    pub(super) fn next_alarm(&mut self) -> Deadline {
        self.next_start()
            .or(self.next_ready())
            .or(self.next_limit())
    }

    /// Moves everything that can be moved: results in, deaths seen to, tasks out. Says whether a job was
    /// done by it.
    pub(super) fn pump(&mut self, driver: &Driver) -> bool {
        let mut from = 0;
        while let Some(seat) = self.restless.next_from(from) {
            from = seat + 1;
            self.hear(seat);
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && worker.ready_by().has_passed()
            {
                worker.distrust("it had not begun in time");
            }
            if self.is_dead(seat) {
                self.see_to_death(seat);
                // Starting another is the pool's own thread's to do.
                driver.attract_attention();
            }
        }
        if driver.has_lost_something() {
            for (seat, place) in self.seats.iter_mut().enumerate() {
                if let Seat::Taken(worker) = place {
                    worker.forget_gone();
                    // It is told where it is settled down.
                    self.restless.insert(seat);
                }
            }
        }
        self.enforce();
        self.dismiss_retired();
        self.relieve();
        self.scheduler.try_again();
        self.dispatch();
        self.level();
        let finished = self.phase == Phase::Closed && self.is_idle();
        if finished || self.settings.threads && !self.goes_on() {
            self.dismiss();
        }
        self.settle_down();
        if self.summon() {
            driver.attract_attention();
        }
        if self.timed && self.watching && self.next_limit() < self.alarm {
            driver.attract_attention();
        }
        std::mem::take(&mut self.concluded)
    }

    /// As [`pump`](Self::pump), of all workers, the dead among them.
    pub(super) fn pump_all(&mut self, driver: &Driver) -> bool {
        for (seat, place) in self.seats.iter().enumerate() {
            if matches!(place, Seat::Taken(_)) {
                self.restless.insert(seat);
            }
        }
        self.pump(driver)
    }

    /// Shows workers what was pushed, and finds out who is at rest.
    fn settle_down(&mut self) {
        let mut from = 0;
        while let Some(seat) = self.restless.next_from(from) {
            from = seat + 1;
            let at_rest = match &mut self.seats[seat] {
                Seat::Taken(worker) => {
                    worker.publish();
                    // By itself a worker says only that it takes too much memory.
                    let says_nothing = self.settings.max_memory.is_none();
                    says_nothing && worker.is_at_rest() && self.scheduler.is_at_rest(seat)
                }
                _ => true,
            };
            if at_rest {
                self.restless.remove(seat);
            }
        }
    }

    /// Whether the pool's own thread is to hear of workers that have nothing, while nobody drives: not where there is nothing
    /// to be done, which spares a wake-up after each call.
    pub(super) fn wants_watching(&self) -> bool {
        !self.restless.is_empty() || self.scheduler.has_unsent() || self.phase != Phase::Open
    }

    /// Looks for something to move for as long as that has paid off lately. Whether there is. Where workers that have enough to
    /// do want all processors, whoever looks takes one from them: then it is looked once.
    pub(super) fn look_for_news(&mut self) -> bool {
        if self.target >= processors() && self.scheduler.is_laden() {
            return self.has_news();
        }
        let mut spin = std::mem::take(&mut self.spin);
        let found = spin.until(|| self.has_news());
        self.spin = spin;
        found
    }

    /// Whether there may be something for the pump to move. Looks without taking anything.
    pub(super) fn has_news(&self) -> bool {
        self.restless.iter().any(|seat| match &self.seats[seat] {
            Seat::Taken(worker) => worker.has_news() || worker.is_dead(),
            _ => false,
        })
    }
}

/// How many threads can run at once.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
