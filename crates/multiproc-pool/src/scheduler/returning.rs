//! What is finished, taken back or lost, and what follows from that.

use std::collections::VecDeque;
use std::time::Duration;

use super::{JobId, Mark, Scheduler, Sent, TaskId, Worker};

impl<M: Mark> Scheduler<M> {
    /// The oldest task of a worker is finished: which one that is. `None` where it has none.
    pub(crate) fn finished(&mut self, worker: usize) -> Option<Sent<M>> {
        let oldest = self.oldest(worker)?;
        self.finished_some(worker, 1);
        Some(Sent { count: 1, ..oldest })
    }

    /// So many of the tasks that a worker has as its [oldest](Self::oldest) are finished.
    pub(crate) fn finished_some(&mut self, worker: usize, count: usize) {
        let state = &mut self.workers[worker];
        let Some(oldest) = state.has.front_mut() else {
            return;
        };
        let count = count.min(oldest.count);
        *oldest = oldest.later(count);
        state.tasks -= count;
        if oldest.count == 0 {
            state.has.pop_front();
        }
        let dry = state.tasks == 0;
        if dry
            && let Some(first) = self.queue.front().copied()
            && let Some(job) = self.job_mut(first)
        {
            job.widen();
        }
    }

    /// Tasks of a job took so long each. Whether its window is smaller by that: what is beyond it is then to
    /// be taken back.
    pub(crate) fn pace(&mut self, id: JobId, task: Duration) -> bool {
        self.job_mut(id).is_some_and(|job| job.pace(task))
    }

    /// How many a worker has beyond the window of the job that its youngest tasks are of: of those that were sent together.
    pub(crate) fn excess(&self, worker: usize) -> usize {
        let youngest = self.youngest(worker);
        let over = youngest.and_then(|sent| {
            let window = self.job(sent.task.job)?.window();
            Some(self.count(worker).saturating_sub(window).min(sent.count))
        });
        over.unwrap_or(0)
    }

    /// A worker is gone: the tasks it had, oldest first. Those it had not started are to be
    /// [`returned`](Self::returned).
    pub(crate) fn lost(&mut self, worker: usize) -> VecDeque<Sent<M>> {
        let state = &mut self.workers[worker];
        state.ready = false;
        state.tasks = 0;
        std::mem::take(&mut state.has)
    }

    /// So many of the [youngest](Self::youngest) tasks of a worker were taken back, the last of them, and wait to be
    /// sent again.
    pub(crate) fn took_back(&mut self, worker: usize, count: usize) {
        let state = &mut self.workers[worker];
        let Some(last) = state.has.len().checked_sub(1) else {
            return;
        };
        let taken = state.take(last, count);
        self.returned(taken);
    }

    /// So many of the tasks of an entry were taken back from a worker, the last of them, and are not to be sent again.
    pub(crate) fn withdrew(&mut self, worker: usize, first: TaskId, count: usize) {
        let state = &mut self.workers[worker];
        if let Some(place) = state.has.iter().position(|sent| sent.task == first) {
            state.take(place, count);
        }
    }

    /// Tasks wait to be sent again, before those of their job that never were.
    pub(crate) fn returned(&mut self, sent: Sent<M>) {
        let Sent { task, count, .. } = sent;
        let Some(job) = self.job_mut(task.job) else {
            return;
        };
        // Such a task is sent alone.
        if let Some(worker) = job.worker_of(task.item) {
            if !job.is_forgotten() {
                self.workers[worker].own.push_front(task);
                self.owned += 1;
            }
            return;
        }
        let first = job.give_back(task.item, count);
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
            candidates.filter(|(index, worker)| worker.tasks >= 2 && !passed_over(*index));
        let (index, worker) = candidates.max_by_key(|(_, worker)| worker.tasks)?;
        // As many as leave victim and idle workers with the same number.
        Some((index, worker.tasks * idle / (idle + 1)))
    }
}

impl<M: Mark> Worker<M> {
    /// Takes the last so many tasks out of an entry.
    fn take(&mut self, place: usize, count: usize) -> Sent<M> {
        let entry = &mut self.has[place];
        let count = count.min(entry.count);
        let taken = entry.later(entry.count - count);
        entry.count -= count;
        self.tasks -= count;
        if entry.count == 0 {
            self.has.remove(place);
        }
        taken
    }
}
