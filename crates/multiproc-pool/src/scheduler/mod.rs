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
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

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

/// A task at a worker, with the driver's mark of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent<M> {
    pub(crate) task: TaskId,
    pub(crate) mark: M,
}

/// See the module's documentation. `M` is what the driver notes of a task that it has sent.
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
    /// How many tasks are for one worker alone, and not sent.
    owned: usize,
}

#[derive(Debug)]
struct Worker<M> {
    ready: bool,
    full: bool,
    has: VecDeque<Sent<M>>,
    /// Tasks that are for this worker alone, and not sent.
    own: VecDeque<TaskId>,
}

impl<M> Worker<M> {
    fn new() -> Worker<M> {
        Worker {
            ready: false,
            full: false,
            has: VecDeque::new(),
            own: VecDeque::new(),
        }
    }
}

/// Tasks of one job that are sent at most before the next job has its turn. Rotating after each one costs more and
/// is no fairer to anybody who waits for milliseconds.
const QUANTUM: usize = 16;

impl<M: Copy> Scheduler<M> {
    pub(crate) fn new(workers: usize) -> Scheduler<M> {
        Scheduler {
            jobs: Vec::new(),
            turns: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            turn: 0,
            workers: (0..workers).map(|_| Worker::new()).collect(),
            cursor: 0,
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
        let behind = |worker: &Worker<M>| worker.has.len().saturating_sub(1);
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

    /// The next task to send, and to whom. It stays the next until [`sent`](Self::sent), or until its
    /// worker is [`full`](Self::full).
    pub(crate) fn next(&mut self) -> Option<(usize, TaskId)> {
        if self.owned > 0 {
            let mut workers = self.workers.iter().enumerate();
            let free = |worker: &Worker<M>| worker.ready && !worker.full && worker.has.is_empty();
            let found = workers.find_map(|(index, worker)| {
                Some((index, *worker.own.front()?)).filter(|_| free(worker))
            });
            if found.is_some() {
                return found;
            }
        }
        let id = *self.queue.front()?;
        let job = self.job(id)?;
        let (window, item) = (job.window(), job.next()?);
        let worker = self.pick(window)?;
        Some((worker, TaskId { job: id, item }))
    }

    /// The task that [`next`](Self::next) named is with its worker.
    pub(crate) fn sent(&mut self, worker: usize, task: TaskId, mark: M) {
        self.workers[worker].has.push_back(Sent { task, mark });
        if self.leaves_own(task) {
            return;
        }
        let Some(job) = self.job_mut(task.job) else {
            return;
        };
        let more = job.sent();
        self.take_turn(task.job, more);
    }

    /// How many tasks, from the one that [`next`](Self::next) named on, may go to that worker at once, since they follow
    /// each other in their job and nobody is to be served before: 1 to a worker that has nothing, which is not
    /// to wait for more, and while another has nothing.
    pub(crate) fn run(&self, worker: usize, task: TaskId) -> usize {
        let has = self.workers[worker].has.len();
        let Some(job) = self.job(task.job).filter(|_| self.owned == 0 && has > 0) else {
            return 1;
        };
        let turns = match self.queue.len() {
            1 => usize::MAX,
            _ => Self::quantum(job).saturating_sub(self.turn),
        };
        let room = job.window().saturating_sub(has);
        job.following(task.item).min(room).min(turns).max(1)
    }

    /// So many tasks of a job that are sent before the next has its turn. Long ones, which have a short window, give way
    /// after each.
    fn quantum(job: &Job) -> usize {
        (job.window() / 2).clamp(1, QUANTUM)
    }

    /// Tasks of a [`run`](Self::run) are with their worker, in order: those after the first, which was
    /// [`sent`](Self::sent).
    pub(crate) fn sent_more(
        &mut self,
        worker: usize,
        first: TaskId,
        marks: impl IntoIterator<Item = M>,
    ) {
        let has = &mut self.workers[worker].has;
        let before = has.len();
        let tasks = (first.item + 1..).map(|item| TaskId { item, ..first });
        has.extend(
            marks
                .into_iter()
                .zip(tasks)
                .map(|(mark, task)| Sent { task, mark }),
        );
        let count = has.len() - before;
        if count == 0 {
            return;
        }
        let Some(job) = self.job_mut(first.job) else {
            return;
        };
        let more = job.sent_fresh(count);
        self.turn += count - 1;
        self.take_turn(first.job, more);
    }

    /// The first job has sent one more task; whether it has others.
    fn take_turn(&mut self, id: JobId, more: bool) {
        let quantum = self.job(id).map_or(1, Self::quantum);
        self.turn += 1;
        if !more {
            self.queue.pop_front();
            self.turn = 0;
        } else if self.turn >= quantum {
            self.queue.rotate_left(1);
            self.turn = 0;
        }
    }

    /// A task is not in its worker's own queue any more. Whether it was.
    fn leaves_own(&mut self, task: TaskId) -> bool {
        if self.owned == 0 {
            return false;
        }
        let Some(worker) = self.job(task.job).and_then(|job| job.worker_of(task.item)) else {
            return false;
        };
        let own = &mut self.workers[worker].own;
        let before = own.len();
        own.retain(|other| *other != task);
        self.owned -= before - own.len();
        true
    }

    /// Every worker may have room again.
    pub(crate) fn try_again(&mut self) {
        self.workers
            .iter_mut()
            .for_each(|worker| worker.full = false);
    }

    /// The task that [`next`](Self::next) named cannot be sent at all.
    pub(crate) fn dropped(&mut self, task: TaskId) {
        if self.leaves_own(task) {
            return;
        }
        let Some(job) = self.job_mut(task.job) else {
            return;
        };
        if !job.sent() {
            self.queue.retain(|queued| *queued != task.job);
        }
    }

    /// A worker has no room for what it was to be sent; it is passed over until
    /// [`try_again`](Self::try_again).
    pub(crate) fn full(&mut self, worker: usize) {
        self.workers[worker].full = true;
    }

    /// The oldest task of a worker is finished: which one that is. `None` where it has none.
    pub(crate) fn finished(&mut self, worker: usize) -> Option<Sent<M>> {
        let state = &mut self.workers[worker];
        let sent = state.has.pop_front()?;
        let dry = state.has.is_empty();
        if dry
            && let Some(first) = self.queue.front().copied()
            && let Some(job) = self.job_mut(first)
        {
            job.widen();
        }
        Some(sent)
    }

    /// Tasks of a job took so long each. Whether its window is smaller by that: what is beyond it is then to
    /// be taken back.
    pub(crate) fn pace(&mut self, id: JobId, task: Duration) -> bool {
        self.job_mut(id).is_some_and(|job| job.pace(task))
    }

    /// Whether a worker has more than the window of the job that its youngest task is of.
    pub(crate) fn is_over(&self, worker: usize) -> bool {
        let youngest = self.youngest(worker);
        let window = youngest
            .and_then(|sent| self.job(sent.task.job))
            .map(Job::window);
        window.is_some_and(|window| self.count(worker) > window)
    }

    /// The oldest task of a worker.
    pub(crate) fn oldest(&self, worker: usize) -> Option<Sent<M>> {
        self.workers[worker].has.front().copied()
    }

    /// The youngest task of a worker: the one to take back first.
    pub(crate) fn youngest(&self, worker: usize) -> Option<Sent<M>> {
        self.workers[worker].has.back().copied()
    }

    /// The tasks of a worker, oldest first.
    pub(crate) fn at(&self, worker: usize) -> impl Iterator<Item = Sent<M>> {
        self.workers[worker].has.iter().copied()
    }

    /// How many tasks a worker has.
    pub(crate) fn count(&self, worker: usize) -> usize {
        self.workers[worker].has.len()
    }

    /// A worker is gone: the tasks it had, oldest first. Those it had not started are to be
    /// [`returned`](Self::returned).
    pub(crate) fn lost(&mut self, worker: usize) -> VecDeque<Sent<M>> {
        let state = &mut self.workers[worker];
        state.ready = false;
        std::mem::take(&mut state.has)
    }

    /// The youngest task of a worker was taken back, and waits to be sent again.
    pub(crate) fn took_back(&mut self, worker: usize) {
        if let Some(sent) = self.workers[worker].has.pop_back() {
            self.returned(sent.task);
        }
    }

    /// The tasks of a job that are with workers, and with which.
    pub(crate) fn sent_of(&self, id: JobId) -> Vec<(usize, Sent<M>)> {
        let workers = self.workers.iter().enumerate();
        let sent =
            workers.flat_map(|(index, worker)| worker.has.iter().map(move |sent| (index, *sent)));
        sent.filter(|(_, sent)| sent.task.job == id).collect()
    }

    /// A task was taken back from a worker, and is not to be sent again.
    pub(crate) fn withdrew(&mut self, worker: usize, task: TaskId) {
        self.workers[worker].has.retain(|sent| sent.task != task);
    }

    /// A task waits to be sent again, before those of its job that never were.
    pub(crate) fn returned(&mut self, task: TaskId) {
        let Some(job) = self.job_mut(task.job) else {
            return;
        };
        if let Some(worker) = job.worker_of(task.item) {
            if !job.is_forgotten() {
                self.workers[worker].own.push_front(task);
                self.owned += 1;
            }
            return;
        }
        let first = job.give_back(task.item);
        if first {
            self.queue.push_front(task.job);
            self.turn = 0;
        }
    }

    /// From whom to take tasks back, while a ready worker has none and nothing is queued: whoever has
    /// most, of at least two, of whom `passed_over` does not say that nothing is to be had there; and how
    /// many.
    pub(crate) fn victim(&self, passed_over: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        if self.has_queued() {
            return None;
        }
        let idle = |worker: &Worker<M>| worker.ready && worker.has.is_empty();
        let idle = self.workers.iter().filter(|worker| idle(worker)).count();
        if idle == 0 {
            return None;
        }
        let candidates = self.workers.iter().enumerate();
        let candidates =
            candidates.filter(|(index, worker)| worker.has.len() >= 2 && !passed_over(*index));
        let (index, worker) = candidates.max_by_key(|(_, worker)| worker.has.len())?;
        // As many as leave victim and idle workers with the same number.
        Some((index, worker.has.len() * idle / (idle + 1)))
    }

    /// A ready worker with room, below the window; one that has nothing where there is one.
    fn pick(&mut self, window: usize) -> Option<usize> {
        let count = self.workers.len();
        let mut fallback = None;
        for step in 0..count {
            let index = (self.cursor + step) % count;
            let worker = &self.workers[index];
            if !worker.ready || worker.full || !worker.own.is_empty() || worker.has.len() >= window
            {
                continue;
            }
            if worker.has.is_empty() {
                self.cursor = index;
                return Some(index);
            }
            fallback.get_or_insert(index);
        }
        self.cursor = fallback?;
        fallback
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
