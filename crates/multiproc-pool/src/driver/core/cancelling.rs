//! Ending a task before it has ended by itself.

use multiproc_sys::clock::Deadline;

use super::jobs::job_of;
use super::{Core, Seat};
use crate::error::TaskError;
use crate::scheduler::JobId;

impl Core {
    /// Settles what of a job is not started as cancelled; what of it runs too, if so asked, and ends it with
    /// its worker.
    pub(in crate::driver) fn cancel(&mut self, id: JobId, running: bool) {
        self.scheduler.forget_queued(id);
        if let Some(job) = job_of(&mut self.jobs, id) {
            job.final_try = true;
        }
        for (seat, sent) in self.scheduler.sent_of(id) {
            if let Seat::Taken(worker) = &mut self.seats[seat] {
                let taken = worker.take_back(sent.mark, sent.count, sent.count);
                self.scheduler.withdrew(seat, sent.task, taken);
            }
        }
        // What is left at a worker was started: it is the oldest there, or finished and not yet heard of.
        let mut started = Vec::new();
        for (seat, _) in self.scheduler.sent_of(id) {
            self.hear(seat);
            while let Some(oldest) = self
                .scheduler
                .oldest(seat)
                .filter(|sent| sent.task.job == id)
            {
                if !running {
                    started.push(oldest.task.item);
                    break;
                }
                if self.settings.threads {
                    // It cannot be ended: it is asked to stop, and what it says in the end is not waited for.
                    if let Seat::Taken(worker) = &mut self.seats[seat] {
                        worker.ask_to_stop(oldest.mark);
                    }
                    break;
                }
                if self.condemn(seat, TaskError::Cancelled) {
                    break;
                }
                // It has gone on meanwhile, so the answer is there.
                self.hear(seat);
            }
        }
        if let Some(job) = job_of(&mut self.jobs, id) {
            job.fail_open_but(&TaskError::Cancelled, &started);
        }
        self.conclude(id);
    }

    /// Settles what of all jobs is not started as cancelled.
    pub(in crate::driver) fn cancel_not_started(&mut self) {
        let ids: Vec<JobId> = self.jobs.iter().flatten().map(|(id, _)| *id).collect();
        for id in ids {
            self.cancel(id, false);
        }
    }

    /// Ends a worker for the sake of the task it runs, its oldest, of which `error` is then to be said. False
    /// where it has finished that: its answer is there to be heard.
    pub(super) fn condemn(&mut self, seat: usize, error: TaskError) -> bool {
        // Nothing else is to be run by it meanwhile. Where something cannot be taken back the worker has
        // gone on to it.
        self.recall(seat, 1);
        let left = self.scheduler.count(seat);
        if left > 1 {
            // It answers what it has done before it goes on. So where nothing comes, and nothing can be taken back, it says of
            // tasks that it has begun with them and has not; or the kernel does not pass the fence any more by which it is
            // known. It is ended all the same: a death sorts out what it had.
            self.hear(seat);
            self.recall(seat, 1);
            if self.scheduler.count(seat) < left {
                return false;
            }
        }
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return true;
        };
        let Some(oldest) = self.scheduler.oldest(seat) else {
            return true;
        };
        self.scheduler.suspend(seat);
        worker.ask_to_stop(oldest.mark);
        worker.end_by(Deadline::after(self.settings.grace));
        self.timed = true;
        if !self.condemned.iter().any(|(task, _)| *task == oldest.task) {
            let record = worker.record();
            self.note_condemned(record, oldest.task);
            self.condemned.push((oldest.task, error));
        }
        true
    }
}
