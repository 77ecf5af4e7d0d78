//! What workers say: taken in, and what follows from how long it took them.

use super::jobs::job_of;
use super::seeing::called;
use super::{Core, Seat};
use crate::driver::worker::{Heard, Mark, Retired};
use crate::scheduler::JobId;

/// Why a worker is not listened to any more.
const NOT_GIVEN: &str = "it answered a task that it was not given";

impl Core {
    /// Takes in what a worker has said.
    pub(super) fn hear(&mut self, seat: usize) {
        let mut heard = 0;
        let mut job_heard = None;
        if let Seat::Taken(worker) = &mut self.seats[seat] {
            worker.look_for_short_answers();
        }
        loop {
            while let Some((job, count)) = self.hear_short(seat) {
                job_heard = Some(job);
                heard += count;
            }
            let oldest = self.scheduler.oldest(seat).map(|sent| sent.mark.ticket());
            let Seat::Taken(worker) = &mut self.seats[seat] else {
                break;
            };
            let record = worker.record();
            match worker.hear(oldest) {
                Ok(None) => break,
                Ok(Some(Heard::Short)) => {}
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
                    if oldest != Some(answer.ticket()) {
                        worker.distrust(NOT_GIVEN);
                        break;
                    }
                    let Some(sent) = self.scheduler.finished(seat) else {
                        break;
                    };
                    heard += 1;
                    job_heard = Some(sent.task.job);
                    let had_handles = answer.had_handles();
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
                            self.scheduler.returned(sent);
                        } else {
                            answer.deliver(job, sent.task.item);
                            self.conclude(sent.task.job);
                        }
                    }
                    self.has_finished(seat, 1, sent.mark, had_handles);
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

    /// Takes in short answers to tasks that were sent together, as many as are there and are next: the rule, and short, since
    /// that is all that is done for most tasks. How many, of which job.
    fn hear_short(&mut self, seat: usize) -> Option<(JobId, u32)> {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return None;
        };
        let oldest = self.scheduler.oldest(seat);
        let ticket = oldest.map_or(0, |oldest| oldest.mark.ticket());
        let next = worker.short_answers(ticket)?;
        let Some(oldest) = oldest else {
            worker.distrust(NOT_GIVEN);
            return None;
        };
        let count = oldest.count.min(next);
        if count == 0 {
            return None;
        }
        let tasks = oldest.task.item..oldest.task.item + count;
        let taken = match job_of(&mut self.jobs, oldest.task.job) {
            Some(job) if !job.is_single() => Err("it answered for one item only".to_string()),
            Some(job) => {
                job.returned_some(tasks, |buffer, places| worker.take_short(buffer, places))
            }
            // A job that was taken meanwhile wants no answer.
            None => worker.take_short(&mut Vec::new(), &mut vec![0; count]),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(why) => {
                worker.distrust(&why);
                return None;
            }
        };
        if !self.condemned.is_empty() {
            // They were faster than their end.
            let tasks = oldest.task.item..oldest.task.item + taken;
            self.condemned
                .retain(|(task, _)| task.job != oldest.task.job || !tasks.contains(&task.item));
        }
        self.scheduler.finished_some(seat, taken);
        self.conclude(oldest.task.job);
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.has_finished(seat, taken, oldest.mark, true);
        (taken > 0).then_some((oldest.task.job, taken))
    }

    /// A worker has finished some tasks, that one the first of them, and had its handles or not: it may have nothing to do
    /// now, or have done enough.
    fn has_finished(&mut self, seat: usize, tasks: u32, mark: Mark, had_handles: bool) {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return;
        };
        worker.answered(mark, had_handles);
        if self.scheduler.count(seat) == 0 {
            worker.rests(self.settings.idle_timeout);
        }
        let finished = worker.count(tasks);
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
            loop {
                let before = self.scheduler.count(seat);
                let excess = self.scheduler.excess(seat);
                self.recall(seat, before - excess);
                if self.scheduler.count(seat) == before {
                    break;
                }
            }
        }
    }
}
