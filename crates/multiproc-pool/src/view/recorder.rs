//! What a pool keeps for its timeline: the last tasks and workers, and the slowest tasks.
//!
//! Memory is bounded: what comes when there is no room takes the place of the oldest.
//!
//! # What a worker says
//!
//! When a task began and ended is for the worker to know, and is checked: not before what that worker said last, nor
//! before it was started, nor later than now. What cannot be is left out and counted; the task's result is
//! another matter.

use std::collections::VecDeque;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use serde::de::DeserializeOwned;

use super::describe::{describe, describe_behind_key};
use super::stats::SlowTask;
use super::timeline::{TaskOutcome, TaskSpan, Timeline, WorkerSpan};

/// When a task began and ended, as its worker says: nanoseconds since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamps {
    pub(crate) started: u64,
    pub(crate) ended: u64,
}

/// How many bytes [`Stamps`] are in an answer.
pub(crate) const STAMPS: usize = 16;

impl Stamps {
    pub(crate) fn to_bytes(self) -> [u8; STAMPS] {
        let both = u128::from(self.started) | u128::from(self.ended) << 64;
        both.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; STAMPS]) -> Stamps {
        let [a, b, c, d, e, f, g, h, ended @ ..] = bytes;
        Stamps {
            started: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            ended: u64::from_le_bytes(ended),
        }
    }
}

/// How a function and its argument are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looks {
    pub(crate) types: &'static str,
    /// What turns an encoded argument into text.
    pub(crate) describe: fn(&[u8]) -> Option<String>,
}

impl Looks {
    pub(crate) fn of<A: DeserializeOwned, R>() -> Looks {
        Looks {
            types: std::any::type_name::<fn(A) -> R>(),
            describe: describe::<A>,
        }
    }

    /// Of a function that has a state, whose argument is sent behind that's key: one `A`, or some.
    pub(crate) fn stated<S, A, Sent: DeserializeOwned, R>() -> Looks {
        Looks {
            types: std::any::type_name::<fn(&mut S, A) -> R>(),
            describe: describe_behind_key::<Sent>,
        }
    }
}

/// Which task it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called {
    pub(crate) call: u64,
    /// The first of its items, and how many there are.
    pub(crate) item: usize,
    pub(crate) items: usize,
    pub(crate) looks: Looks,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Recorder {
    begun: u64,
    capacity: usize,
    tasks: VecDeque<Task>,
    workers: VecDeque<Worker>,
    /// The number of the first of them.
    first_worker: u64,
    slowest: Vec<Slow>,
    /// Tasks whose workers are being ended for their sake: their jobs may be gone when those have.
    condemned: Vec<(u64, Called)>,
    forgotten: u64,
    implausible: u64,
}

#[derive(Debug)]
struct Task {
    worker: u64,
    call: u64,
    item: usize,
    items: usize,
    function: &'static str,
    stamps: Stamps,
    outcome: TaskOutcome,
}

#[derive(Debug)]
struct Worker {
    seat: usize,
    pid: u32,
    started: u64,
    ready: Option<u64>,
    ended: Option<u64>,
    /// The last that it said of a task.
    last: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) called: Called,
    pub(crate) pid: u32,
    pub(crate) took: Duration,
    /// Encoded; `None` where it is too long to keep.
    pub(crate) argument: Option<Vec<u8>>,
}

impl Slow {
    pub(crate) fn told(self) -> SlowTask {
        let Called {
            call, item, looks, ..
        } = self.called;
        SlowTask {
            call,
            item,
            took: self.took,
            pid: self.pid,
            function: looks.types,
            argument: self.argument.and_then(|bytes| (looks.describe)(&bytes)),
        }
    }
}

/// So many of the slowest tasks are kept.
const SLOWEST: usize = 10;
/// An argument that is longer is not kept for them.
const LONGEST_ARGUMENT: usize = 4096;
/// So many workers are kept at least; as many as there are seats, and some that ended.
const WORKERS: usize = 1024;

impl Recorder {
    pub(crate) fn new(capacity: usize) -> Recorder {
        Recorder {
            begun: Deadline::now().nanos(),
            capacity: capacity.max(1),
            tasks: VecDeque::new(),
            workers: VecDeque::new(),
            first_worker: 0,
            slowest: Vec::new(),
            condemned: Vec::new(),
            forgotten: 0,
            implausible: 0,
        }
    }

    /// A worker was started: the number by which it is known here.
    pub(crate) fn started(
        &mut self,
        seat: usize,
        pid: u32,
        started: Deadline,
        seats: usize,
    ) -> u64 {
        while self.workers.len() >= WORKERS.max(2 * seats) {
            self.workers.pop_front();
            self.first_worker += 1;
        }
        self.workers.push_back(Worker {
            seat,
            pid,
            started: started.nanos(),
            ready: None,
            ended: None,
            last: started.nanos(),
        });
        self.first_worker + (self.workers.len() - 1) as u64
    }

    pub(crate) fn ready(&mut self, worker: u64) {
        let now = Deadline::now().nanos();
        if let Some(worker) = self.worker(worker) {
            worker.ready.get_or_insert(now);
        }
    }

    pub(crate) fn ended(&mut self, worker: u64) {
        let now = Deadline::now().nanos();
        self.condemned.retain(|(condemned, _)| *condemned != worker);
        if let Some(worker) = self.worker(worker) {
            worker.ended = Some(now);
        }
    }

    /// A worker is being ended for the sake of this task.
    pub(crate) fn condemned(&mut self, worker: u64, called: Called) {
        self.condemned.push((worker, called));
    }

    /// A worker has answered.
    pub(crate) fn task(
        &mut self,
        worker: u64,
        called: Called,
        stamps: Stamps,
        outcome: TaskOutcome,
        argument: impl FnOnce() -> Vec<u8>,
    ) {
        let now = Deadline::now().nanos();
        let Some(known) = self.worker(worker) else {
            self.forgotten += 1;
            return;
        };
        if stamps.started < known.last || stamps.ended < stamps.started || stamps.ended > now {
            self.implausible += 1;
            return;
        }
        known.last = stamps.ended;
        let pid = known.pid;
        self.add(worker, called, stamps, outcome);
        let took = Duration::from_nanos(stamps.ended - stamps.started);
        self.note_if_slow(called, pid, took, argument);
    }

    /// A task was lost with its worker: which one, as far as its job is still there.
    pub(crate) fn lost(&mut self, worker: u64, called: Option<Called>, since: Deadline) {
        let ended = Deadline::now().nanos();
        let condemned = self
            .condemned
            .iter()
            .find(|(condemned, _)| *condemned == worker);
        let Some(called) = called.or(condemned.map(|(_, called)| *called)) else {
            return;
        };
        let Some(known) = self.worker(worker) else {
            return;
        };
        let started = since.nanos().max(known.last).min(ended);
        self.add(worker, called, Stamps { started, ended }, TaskOutcome::Lost);
    }

    fn add(&mut self, worker: u64, called: Called, stamps: Stamps, outcome: TaskOutcome) {
        if self.tasks.len() >= self.capacity {
            self.tasks.pop_front();
            self.forgotten += 1;
        }
        self.tasks.push_back(Task {
            worker,
            call: called.call,
            item: called.item,
            items: called.items,
            function: called.looks.types,
            stamps,
            outcome,
        });
    }

    fn note_if_slow(
        &mut self,
        called: Called,
        pid: u32,
        took: Duration,
        argument: impl FnOnce() -> Vec<u8>,
    ) {
        let full = self.slowest.len() >= SLOWEST;
        if full && self.slowest.last().is_some_and(|last| last.took >= took) {
            return;
        }
        if full {
            self.slowest.pop();
        }
        let argument = Some(argument()).filter(|bytes| bytes.len() <= LONGEST_ARGUMENT);
        let place = self.slowest.partition_point(|other| other.took >= took);
        let slow = Slow {
            called,
            pid,
            took,
            argument,
        };
        self.slowest.insert(place, slow);
    }

    fn worker(&mut self, number: u64) -> Option<&mut Worker> {
        let place = usize::try_from(number.checked_sub(self.first_worker)?).ok()?;
        self.workers.get_mut(place)
    }

    pub(crate) fn slowest(&self) -> Vec<Slow> {
        self.slowest.clone()
    }

    /// All of it, with the tasks that run: who has them, what they are, and since when at the earliest.
    pub(crate) fn timeline(&self, running: &[(u64, Called, Deadline)]) -> Timeline {
        let since = |nanos: u64| Duration::from_nanos(nanos.saturating_sub(self.begun));
        let until = Deadline::now().nanos();
        let workers = self.workers.iter().map(|worker| WorkerSpan {
            seat: worker.seat,
            pid: worker.pid,
            started: since(worker.started),
            ready: worker.ready.map(since),
            ended: worker.ended.map(since),
        });
        let place = |number: u64| {
            let place = number.checked_sub(self.first_worker)?;
            usize::try_from(place)
                .ok()
                .filter(|place| *place < self.workers.len())
        };
        let tasks = self.tasks.iter().filter_map(|task| {
            Some(TaskSpan {
                worker: place(task.worker)?,
                call: task.call,
                item: task.item,
                items: task.items,
                function: task.function,
                started: since(task.stamps.started),
                ended: since(task.stamps.ended),
                outcome: task.outcome,
            })
        });
        let running = running.iter().filter_map(|(worker, called, began)| {
            let worker = place(*worker)?;
            let started = began.nanos().max(self.workers[worker].last).min(until);
            Some(TaskSpan {
                worker,
                call: called.call,
                item: called.item,
                items: called.items,
                function: called.looks.types,
                started: since(started),
                ended: since(until),
                outcome: TaskOutcome::Running,
            })
        });
        let mut tasks: Vec<_> = tasks.collect();
        // Those whose worker is not known any more.
        let orphaned = (self.tasks.len() - tasks.len()) as u64;
        tasks.extend(running);
        Timeline {
            until: since(until),
            pid: std::process::id(),
            workers: workers.collect(),
            tasks,
            forgotten: self.forgotten + orphaned,
            implausible: self.implausible,
        }
    }
}

#[cfg(test)]
mod tests;
