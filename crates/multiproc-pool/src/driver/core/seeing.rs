//! What is told of a pool: how much is done, and where a timeline is kept, by whom and when.

use multiproc_sys::clock::Deadline;

use super::jobs::job_of;
use super::{Core, Seat};
use crate::job::Job;
use crate::scheduler::{JobId, TaskId};
use crate::view::recorder::{Called, Looks, Slow};
use crate::view::{Stats, Timeline};

/// What became of the tasks of jobs.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    done: u64,
    failed: u64,
    retried: u64,
}

impl Tally {
    /// That of a job, which is counted once: when it is taken out, or while it is looked at.
    pub(super) fn add(&mut self, job: &Job) {
        let (done, failed) = job.settled();
        self.done += done as u64;
        self.failed += failed as u64;
        self.retried += job.retried();
    }
}

/// How a task is told of.
pub(super) fn called(job: &Job, task: TaskId, looks: &[Looks]) -> Called {
    let items = job.items_of(task.item);
    let looks = match &job.state {
        Some(state) => state.looks,
        None => looks[job.function as usize],
    };
    Called {
        call: job.call,
        item: items.start,
        items: items.len(),
        looks,
    }
}

impl Core {
    /// A worker has died while it ran a task, which it began after that moment.
    pub(super) fn note_lost(&mut self, record: u64, task: TaskId, since: Deadline) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let job = job_of(&mut self.jobs, task.job);
        let called = job.map(|job| called(job, task, &self.looks));
        recorder.lost(record, called, since);
    }

    /// A worker is being ended for the sake of a task.
    pub(super) fn note_condemned(&mut self, record: u64, task: TaskId) {
        if let (Some(recorder), Some(job)) = (&mut self.recorder, job_of(&mut self.jobs, task.job))
        {
            recorder.condemned(record, called(job, task, &self.looks));
        }
    }

    /// But for the slowest tasks.
    pub(crate) fn stats(&self) -> Stats {
        let mut tally = self.tally;
        let mut open = 0;
        for (_, job) in self.jobs.iter().flatten() {
            tally.add(job);
            open += job.open() as u64;
        }
        let mut workers = Vec::new();
        for (seat, place) in self.seats.iter().enumerate() {
            if let Seat::Taken(worker) = place {
                workers.push(worker.stats(self.items_at(seat)));
            }
        }
        let in_flight: u64 = workers.iter().map(|worker| worker.in_flight).sum();
        Stats {
            done: tally.done,
            failed: tally.failed,
            retried: tally.retried,
            in_flight,
            queued: open.saturating_sub(in_flight),
            workers_started: self.started,
            slowest: Vec::new(),
            workers,
        }
    }

    /// How many items a job has, and how many have a result, and an error; none, if it was taken out.
    pub(crate) fn progress(&self, id: JobId) -> (usize, usize, usize) {
        let job = self.job(id).map(|job| (job.items(), job.settled()));
        job.map_or((0, 0, 0), |(items, (done, failed))| (items, done, failed))
    }

    pub(crate) fn slowest(&self) -> Vec<Slow> {
        self.recorder
            .as_ref()
            .map_or(Vec::new(), |recorder| recorder.slowest())
    }

    /// How many items are with a worker.
    fn items_at(&self, seat: usize) -> u64 {
        let tasks = self.scheduler.at(seat);
        let items = tasks.filter_map(|sent| {
            let job = self.job(sent.task.job)?;
            let tasks = sent.task.item..sent.task.item + sent.count;
            Some(tasks.map(|task| job.items_of(task).len()).sum::<usize>())
        });
        items.sum::<usize>() as u64
    }

    /// `None` where none is kept.
    pub(crate) fn timeline(&self) -> Option<Timeline> {
        let recorder = self.recorder.as_ref()?;
        let mut running = Vec::new();
        for (seat, place) in self.seats.iter().enumerate() {
            if let Seat::Taken(worker) = place
                && let Some(oldest) = self.scheduler.oldest(seat)
                && worker.has_started(oldest.mark)
                && let Some(job) = self.job(oldest.task.job)
            {
                let called = called(job, oldest.task, &self.looks);
                running.push((worker.record(), called, worker.since()));
            }
        }
        Some(recorder.timeline(&running))
    }
}
