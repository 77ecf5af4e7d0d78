//! What a worker's death means for the tasks it had.

use super::jobs::job_of;
use super::{Core, Seat};
use crate::settings::FailureMode;

impl Core {
    pub(super) fn is_dead(&self, seat: usize) -> bool {
        matches!(&self.seats[seat], Seat::Taken(worker) if worker.is_dead())
    }

    /// A worker that has died: its started task is lost, the others are sent again, its seat is free.
    pub(super) fn see_to_death(&mut self, seat: usize) {
        // What it has said before is not lost with it.
        self.hear(seat);
        let Seat::Taken(worker) = std::mem::replace(&mut self.seats[seat], Seat::Starting) else {
            return;
        };
        let mut had = self.scheduler.lost(seat);
        let (record, since) = (worker.record(), worker.since());
        let mut end = worker.end();
        let mut broken = None;
        let mut lost = Vec::new();
        // Started are those it has claimed; it takes them one by one, so that is the oldest or none.
        while let Some(sent) = had.pop_back() {
            let started = end.had_started(sent.mark, sent.count);
            lost.extend((0..started).rev().map(|task| sent.at(task)));
            if started < sent.count {
                self.scheduler.returned(sent.later(started));
            }
        }
        for sent in lost {
            self.note_lost(record, sent.task, since);
            let condemned = self
                .condemned
                .iter()
                .position(|(task, _)| *task == sent.task);
            if let Some(place) = condemned {
                let (task, error) = self.condemned.swap_remove(place);
                self.settle_failed(task, &error);
                continue;
            }
            let Some(job) = job_of(&mut self.jobs, sent.task.job) else {
                continue;
            };
            if (job.policy.retry_signals || !end.was_signalled()) && job.may_retry(sent.task.item) {
                self.scheduler.returned(sent);
                continue;
            }
            let (first, attempts) = (
                job.items_of(sent.task.item).start,
                job.attempts(sent.task.item),
            );
            let error = end.error(first, attempts);
            self.settle_failed(sent.task, &error);
            broken.get_or_insert(error);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.ended(record);
        }
        match self.after(seat, end.was_idle) {
            Seat::Closed => self.close_seat(seat),
            next => self.seats[seat] = next,
        }
        if end.was_dismissed {
            if let Some(why) = end.panic() {
                self.finalizer_failed.get_or_insert(why);
            }
        } else if !end.was_ready && self.goes_on() {
            self.start_failed(seat, end.what());
        }
        self.corpses.push(end.corpse);
        if let Some(error) = broken
            && self.settings.failure_mode == FailureMode::BreakAll
            && self.goes_on()
        {
            self.give_up(&error.of_another());
            self.concluded = true;
        }
    }
}
