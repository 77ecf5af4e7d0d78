//! Which task goes to which worker: a state machine that does no I/O.
//!
//! Events come in as calls, decisions go out as return values; the driver carries them out. It names no
//! process, ring or clock.
//!
//! # State
//!
//! A *job* is a number of tasks that were submitted together. Each of its tasks is in one place:
//!
//! | place | leaves it by |
//! |---|---|
//! | not sent, for any worker or for one | [`next`](Scheduler::next) + [`sent`](Scheduler::sent) |
//! | at a worker, in the order sent | [`finished`](Scheduler::finished) (oldest), [`took_back`](Scheduler::took_back) (youngest), [`lost`](Scheduler::lost) (all) |
//! | settled | - |
//!
//! Tasks that went to a worker together, a *run*, follow each other in their job, and are one entry of its list.
//!
//! - `sending`: what goes next, and to whom
//! - `returning`: what is finished, taken back or lost
//! - `job`: what is known of one job
//!
//! # Invariants
//!
//! 1. Only a worker that is ready and not full is sent anything.
//! 2. A worker that has nothing is served before one that has something.
//! 3. A worker never has more than the window of the job whose turn it is.
//! 4. No worker is without a task while another has one that it has not started: [`victim`](Scheduler::victim)
//!    names that other, for as long as the driver finds something to take back there.
//! 5. A worker for which there is a task that is for it alone gets nothing else before.
//!
//! # The window
//!
//! How many tasks of a job may wait at one worker. It begins small, and doubles whenever a worker has run
//! dry while there was more to send, as far as some milliseconds of work: short tasks get long queues,
//! which spare wake-ups, and long tasks short ones, which keep later jobs from waiting behind them. Where
//! tasks turn out to take longer than those before, it shrinks, and what is beyond it is taken back.

mod job;
mod returning;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use job::Job;

/// A job, unlike any other that was or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobId {
    index: u32,
    /// How many jobs were kept under the same index before.
    turn: u32,
}

impl JobId {
    /// Where to keep what belongs to the job: unique among the jobs there are.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// One task: an item of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TaskId {
    pub(crate) job: JobId,
    pub(crate) item: usize,
}

/// What the driver notes of tasks that it has sent together, by the first of them.
pub(crate) trait Mark: Copy {
    /// That of a later one, so many behind.
    fn later(self, tasks: usize) -> Self;
}

/// Tasks at a worker that were sent together and are not finished: how many, from which on, with the driver's mark of
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent<M> {
    pub(crate) task: TaskId,
    pub(crate) count: usize,
    pub(crate) mark: M,
}

impl<M: Mark> Sent<M> {
    /// One of them.
    pub(crate) fn at(self, task: usize) -> Sent<M> {
        Sent {
            count: 1,
            ..self.later(task)
        }
    }

    /// But for the first so many.
    pub(crate) fn later(self, tasks: usize) -> Sent<M> {
        Sent {
            task: TaskId {
                item: self.task.item + tasks,
                ..self.task
            },
            count: self.count - tasks,
            mark: self.mark.later(tasks),
        }
    }
}

/// See the module's documentation. `M` is what the driver notes of tasks that it has sent.
#[derive(Debug)]
pub(crate) struct Scheduler<M> {
    jobs: Vec<Option<Job>>,
    /// The turn of each index of `jobs`.
    turns: Vec<u32>,
    free: Vec<u32>,
    /// Jobs with tasks to send; it is the first one's turn.
    queue: VecDeque<JobId>,
    /// How many tasks the first job has sent in its turn.
    turn: usize,
    workers: Vec<Worker<M>>,
    /// Where to look for a worker first.
    cursor: usize,
    /// Whether there is a worker that is full.
    some_full: bool,
    /// How many tasks are for one worker alone, and not sent.
    owned: usize,
}

#[derive(Debug)]
struct Worker<M> {
    ready: bool,
    full: bool,
    /// Oldest first.
    has: VecDeque<Sent<M>>,
    /// How many tasks those are.
    tasks: usize,
    /// Tasks that are for this worker alone, and not sent.
    own: VecDeque<TaskId>,
}

impl<M> Worker<M> {
    fn new() -> Worker<M> {
        Worker {
            ready: false,
            full: false,
            has: VecDeque::new(),
            tasks: 0,
            own: VecDeque::new(),
        }
    }
}

impl<M: Mark> Scheduler<M> {
    pub(crate) fn new(workers: usize) -> Scheduler<M> {
        Scheduler {
            jobs: Vec::new(),
            turns: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            turn: 0,
            workers: (0..workers).map(|_| Worker::new()).collect(),
            cursor: 0,
            some_full: false,
            owned: 0,
        }
    }

    /// There is one worker more.
    pub(crate) fn add_worker(&mut self) {
        self.workers.push(Worker::new());
    }

    /// Takes in a job of one task for each of those workers.
    pub(crate) fn add_for(&mut self, workers: Vec<usize>) -> JobId {
        let id = self.add(0);
        for (item, worker) in workers.iter().enumerate() {
            self.workers[*worker]
                .own
                .push_back(TaskId { job: id, item });
        }
        self.owned += workers.len();
        self.jobs[id.index()] = Some(Job::for_each(workers));
        id
    }

    /// Whether every worker has something to do for a while, and has more behind it.
    pub(crate) fn is_laden(&self) -> bool {
        self.workers
            .iter()
            .filter(|worker| worker.ready)
            .all(|worker| {
                let first = worker.has.front();
                let takes_time =
                    |sent: &Sent<M>| self.job(sent.task.job).is_some_and(Job::takes_time);
                worker.tasks > 1 && first.is_some_and(takes_time)
            })
    }

    /// Whether there is a task for that worker alone.
    pub(crate) fn has_own(&self, worker: usize) -> bool {
        !self.workers[worker].own.is_empty()
    }

    /// The tasks that were for that worker alone, which are not to be sent.
    pub(crate) fn take_own(&mut self, worker: usize) -> VecDeque<TaskId> {
        let own = std::mem::take(&mut self.workers[worker].own);
        self.owned -= own.len();
        own
    }

    /// How many tasks wait: not sent, or behind another.
    pub(crate) fn waiting(&self) -> usize {
        let queued = self.queue.iter().filter_map(|id| self.job(*id));
        let queued: usize = queued.map(Job::left).sum();
        let behind = |worker: &Worker<M>| worker.tasks.saturating_sub(1);
        queued + self.workers.iter().map(behind).sum::<usize>()
    }

    /// Takes in a job of `items` tasks.
    pub(crate) fn add(&mut self, items: usize) -> JobId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.jobs.push(None);
            self.turns.push(0);
            u32::try_from(self.jobs.len() - 1).expect("fewer jobs than memory holds")
        });
        let id = JobId {
            index,
            turn: self.turns[index as usize],
        };
        self.jobs[index as usize] = Some(Job::new(items));
        if items > 0 {
            self.queue.push_back(id);
        }
        id
    }

    /// Forgets a job: what of it was not sent never will be.
    pub(crate) fn remove(&mut self, id: JobId) {
        if self.job(id).is_none() {
            return;
        }
        self.forget_own(id);
        self.jobs[id.index()] = None;
        self.turns[id.index()] = self.turns[id.index()].wrapping_add(1);
        self.free.push(id.index);
        self.queue.retain(|queued| *queued != id);
    }

    /// Sends nothing more of a job.
    pub(crate) fn forget_queued(&mut self, id: JobId) {
        if let Some(job) = self.job_mut(id) {
            job.forget();
        }
        self.forget_own(id);
        self.queue.retain(|queued| *queued != id);
    }

    fn forget_own(&mut self, id: JobId) {
        if self.owned == 0 {
            return;
        }
        for worker in &mut self.workers {
            let before = worker.own.len();
            worker.own.retain(|task| task.job != id);
            self.owned -= before - worker.own.len();
        }
    }

    /// Whether some job has a task that was not sent.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether some task waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.owned > 0 || self.has_queued()
    }

    /// Whether that worker could be sent tasks and has none.
    pub(crate) fn is_at_rest(&self, worker: usize) -> bool {
        let worker = &self.workers[worker];
        worker.ready && worker.has.is_empty()
    }

    /// A worker can be sent tasks.
    pub(crate) fn ready(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        worker.ready = true;
        worker.full = false;
    }

    /// A worker is to be sent nothing until it is [`ready`](Self::ready) again.
    pub(crate) fn suspend(&mut self, worker: usize) {
        self.workers[worker].ready = false;
    }

    /// Whether some worker could be sent tasks and has none.
    pub(crate) fn has_idle(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.ready && worker.has.is_empty())
    }

    /// The tasks of a worker that were sent before its others.
    #[inline]
    pub(crate) fn oldest(&self, worker: usize) -> Option<Sent<M>> {
        self.workers[worker].has.front().copied()
    }

    /// The tasks of a worker that were sent last: the ones to take back first.
    pub(crate) fn youngest(&self, worker: usize) -> Option<Sent<M>> {
        self.workers[worker].has.back().copied()
    }

    /// The tasks of a worker, oldest first, as they were sent together.
    pub(crate) fn at(&self, worker: usize) -> impl Iterator<Item = Sent<M>> {
        self.workers[worker].has.iter().copied()
    }

    /// How many tasks a worker has.
    pub(crate) fn count(&self, worker: usize) -> usize {
        self.workers[worker].tasks
    }

    /// The tasks of a job that are with workers, and with which.
    pub(crate) fn sent_of(&self, id: JobId) -> Vec<(usize, Sent<M>)> {
        let workers = self.workers.iter().enumerate();
        let sent =
            workers.flat_map(|(index, worker)| worker.has.iter().map(move |sent| (index, *sent)));
        sent.filter(|(_, sent)| sent.task.job == id).collect()
    }

    fn job(&self, id: JobId) -> Option<&Job> {
        let current = self.turns.get(id.index()) == Some(&id.turn);
        self.jobs.get(id.index()).filter(|_| current)?.as_ref()
    }

    fn job_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let current = self.turns.get(id.index()) == Some(&id.turn);
        self.jobs.get_mut(id.index()).filter(|_| current)?.as_mut()
    }
}
