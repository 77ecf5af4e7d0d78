//! What workers say: taken in, and what follows from how long it took them.

use super::jobs::job_of;
use super::seeing::called;
use super::{Core, Seat};
use crate::driver::worker::{Heard, Retired};
use crate::scheduler::JobId;

impl Core {
    /// Takes in what a worker has said.
    pub(super) fn hear(&mut self, seat: usize) {
        let mut heard = 0;
        let mut job_heard = None;
        if let Some((job, count)) = self.hear_returned(seat) {
            job_heard = Some(job);
            heard = count;
            self.conclude(job);
        }
        while let Seat::Taken(worker) = &mut self.seats[seat] {
            let record = worker.record();
            match worker.hear() {
                Ok(None) => break,
                Ok(Some(Heard::Ready)) => {
                    self.failed_starts = 0;
                    if let Some(recorder) = &mut self.recorder {
                        recorder.ready(record);
                    }
                    if !worker.is_leaving() {
                        self.scheduler.ready(seat);
                    }
                    if self.scheduler.count(seat) == 0 {
                        worker.rests(self.settings.idle_timeout);
                    }
                }
                Ok(Some(Heard::Tired)) => {
                    self.retire(seat, Retired::Spent);
                }
                Ok(Some(Heard::Answer(answer))) => {
                    let expected = self.scheduler.oldest(seat).map(|sent| sent.mark.ticket);
                    if expected != Some(answer.ticket()) {
                        worker.distrust("it answered a task that it was not given");
                        break;
                    }
                    let Some(sent) = self.scheduler.finished(seat) else {
                        break;
                    };
                    heard += 1;
                    job_heard = Some(sent.task.job);
                    if !self.condemned.is_empty() {
                        // It was faster than its end.
                        self.condemned.retain(|(task, _)| *task != sent.task);
                    }
                    let job = job_of(&mut self.jobs, sent.task.job);
                    if let (Some(recorder), Some(stamps), Some(job)) =
                        (&mut self.recorder, answer.stamps(), &job)
                    {
                        let called = called(job, sent.task, &self.looks);
                        let argument = || job.payload(sent.task.item).bytes.to_vec();
                        recorder.task(record, called, stamps, answer.outcome(), argument);
                    }
                    // A job that was taken or failed meanwhile wants no answer.
                    if let Some(job) = job.filter(|job| !job.is_settled(sent.task.item)) {
                        if answer.is_panic() && job.may_retry(sent.task.item) {
                            self.scheduler.returned(sent.task);
                        } else {
                            answer.deliver(job, sent.task.item);
                            self.conclude(sent.task.job);
                        }
                    }
                    self.has_finished(seat);
                }
                Err(why) => {
                    worker.distrust(&why);
                    break;
                }
            }
        }
        if let Some(job) = job_heard {
            self.keep_pace(seat, job, heard);
        }
    }

    /// Takes in what a worker says for as long as that is what tasks of the same job returned, one item each: the rule, and
    /// short, since it is done for every task. Everything else is left to [`hear`](Self::hear). How many, of which job.
    fn hear_returned(&mut self, seat: usize) -> Option<(JobId, u32)> {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return None;
        };
        // Where each task's end has to be looked at.
        let settings = &self.settings;
        let each = settings.max_tasks.is_some() || settings.timeline.is_some();
        if each || !self.condemned.is_empty() {
            return None;
        }
        let id = self.scheduler.oldest(seat)?.task.job;
        let job = job_of(&mut self.jobs, id).filter(|job| job.is_single())?;
        let mut heard = 0;
        while let Some(sent) = self.scheduler.oldest(seat)
            && sent.task.job == id
            && !job.is_settled(sent.task.item)
            && job.returned_if(sent.task.item, |results| {
                worker.hear_returned(sent.mark.ticket, results)
            })
        {
            self.scheduler.finished(seat);
            heard += 1;
        }
        if self.scheduler.count(seat) == 0 {
            worker.rests(self.settings.idle_timeout);
        }
        worker.count_more(heard);
        (heard > 0).then_some((id, heard))
    }

    /// A worker has finished a task: it may have nothing to do now, or have done enough.
    fn has_finished(&mut self, seat: usize) {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return;
        };
        if self.scheduler.count(seat) == 0 {
            worker.rests(self.settings.idle_timeout);
        }
        let finished = worker.count();
        if self.settings.max_tasks.is_some_and(|most| finished >= most) {
            self.retire(seat, Retired::Spent);
        }
    }

    /// A worker has finished so many tasks, the last of that job. Where they took longer than those before,
    /// what is beyond the job's window is taken back.
    pub(super) fn keep_pace(&mut self, seat: usize, job: JobId, heard: u32) {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return;
        };
        if !self.scheduler.pace(job, worker.pace(heard)) {
            return;
        }
        for seat in 0..self.seats.len() {
            while self.scheduler.is_over(seat) {
                let before = self.scheduler.count(seat);
                self.recall(seat, before - 1);
                if self.scheduler.count(seat) == before {
                    break;
                }
            }
        }
    }
}
