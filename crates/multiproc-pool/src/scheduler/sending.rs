//! What goes next, and to whom.

use super::job::Job;
use super::{JobId, Mark, Scheduler, Sent, TaskId, Worker};

/// Tasks of one job that are sent at most before the next job has its turn. Rotating after each one costs more and
/// is no fairer to anybody who waits for milliseconds.
const QUANTUM: usize = 16;

impl<M: Mark> Scheduler<M> {
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

    /// How many tasks, from the one that [`next`](Self::next) named on, may go to that worker at once, since they follow
    /// each other in their job and nobody is to be served before: 1 to a worker that has nothing, which is not
    /// to wait for more, and while another has nothing.
    pub(crate) fn run(&self, worker: usize, task: TaskId) -> usize {
        let has = self.workers[worker].tasks;
        let Some(job) = self.job(task.job).filter(|_| self.owned == 0 && has > 0) else {
            return 1;
        };
        let turns = match self.queue.len() {
            1 => usize::MAX,
            _ => Self::quantum(job).saturating_sub(self.turn),
        };
        let room = job.window().saturating_sub(has);
        job.following().min(room).min(turns).max(1)
    }

    /// So many tasks of a job that are sent before the next has its turn. Long ones, which have a short window, give way
    /// after each.
    fn quantum(job: &Job) -> usize {
        (job.window() / 2).clamp(1, QUANTUM)
    }

    /// So many tasks, from the one that [`next`](Self::next) named on, are with its worker: one, or of a
    /// [`run`](Self::run).
    pub(crate) fn sent(&mut self, worker: usize, task: TaskId, count: usize, mark: M) {
        let state = &mut self.workers[worker];
        state.has.push_back(Sent { task, count, mark });
        state.tasks += count;
        if self.leaves_own(task) {
            return;
        }
        let Some(job) = self.job_mut(task.job) else {
            return;
        };
        let more = job.sent(count);
        self.take_turn(task.job, count, more);
    }

    /// The first job has sent some tasks more; whether it has others.
    fn take_turn(&mut self, id: JobId, count: usize, more: bool) {
        let quantum = self.job(id).map_or(1, Self::quantum);
        self.turn += count;
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
        if std::mem::take(&mut self.some_full) {
            let workers = self.workers.iter_mut();
            workers.for_each(|worker| worker.full = false);
        }
    }

    /// The task that [`next`](Self::next) named cannot be sent at all.
    pub(crate) fn dropped(&mut self, task: TaskId) {
        if self.leaves_own(task) {
            return;
        }
        let Some(job) = self.job_mut(task.job) else {
            return;
        };
        if !job.sent(1) {
            self.queue.retain(|queued| *queued != task.job);
        }
    }

    /// A worker has no room for what it was to be sent; it is passed over until
    /// [`try_again`](Self::try_again).
    pub(crate) fn full(&mut self, worker: usize) {
        self.workers[worker].full = true;
        self.some_full = true;
    }

    /// A ready worker with room, below the window; one that has nothing where there is one.
    fn pick(&mut self, window: usize) -> Option<usize> {
        let count = self.workers.len();
        let mut fallback = None;
        for step in 0..count {
            let index = (self.cursor + step) % count;
            let worker = &self.workers[index];
            if !worker.ready || worker.full || !worker.own.is_empty() || worker.tasks >= window {
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
}
