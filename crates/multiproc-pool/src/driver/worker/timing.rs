//! How long a worker takes: to look at a task, to finish it, to end.

use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::{Mark, Worker};

/// So long a worker may take to start a task while another has none. Waking up takes some ten microseconds
/// where a processor is free, and some milliseconds where others want it too.
const PATIENCE: Duration = Duration::from_millis(5);

impl Worker {
    /// Notes whether the task, its oldest, is not started yet. From when on that is too long.
    pub(in crate::driver) fn look_at(&mut self, mark: Mark) -> Deadline {
        if self.has_started(mark) {
            self.waiting = None;
            return Deadline::NEVER;
        }
        match self.waiting {
            Some((ticket, until)) if ticket == mark.ticket => until,
            _ => {
                let until = Deadline::after(PATIENCE);
                self.waiting = Some((mark.ticket, until));
                until
            }
        }
    }

    /// Whether the task, its oldest, has not been started for too long.
    pub(in crate::driver) fn is_stuck_at(&mut self, mark: Mark) -> bool {
        let noted = self
            .waiting
            .is_some_and(|(ticket, until)| ticket == mark.ticket && until.has_passed());
        noted && self.look_at(mark) != Deadline::NEVER
    }

    /// The worker begins with something after having had nothing.
    pub(in crate::driver) fn begins(&mut self) {
        self.since = Deadline::now();
    }

    /// The worker has finished so many tasks since it began, or was asked last: how long each took.
    pub(in crate::driver) fn pace(&mut self, tasks: u32) -> Duration {
        let now = Deadline::now();
        let before = std::mem::replace(&mut self.since, now);
        now.since(before) / tasks.max(1)
    }

    /// Until when the task, its oldest, is to be finished: so long after it was first asked.
    pub(in crate::driver) fn limit_of(&mut self, mark: Mark, allowed: Duration) -> Deadline {
        match self.limit {
            Some((ticket, until)) if ticket == mark.ticket => until,
            _ => {
                let until = Deadline::after(allowed);
                self.limit = Some((mark.ticket, until));
                until
            }
        }
    }

    /// Asks the worker to end, and has it killed if it has not by then.
    pub(in crate::driver) fn end_by(&mut self, deadline: Deadline) {
        if self.ending.is_none() {
            self.ending = Some(deadline);
            self.ask_to_end();
        }
    }

    /// Kills a worker that was asked to end and has had its time.
    pub(in crate::driver) fn press(&mut self) {
        if self.ending.is_some_and(Deadline::has_passed) {
            self.ending = Some(Deadline::NEVER);
            self.kill();
        }
    }

    /// When to [`press`](Self::press).
    pub(in crate::driver) fn pressed_at(&self) -> Deadline {
        self.ending.unwrap_or(Deadline::NEVER)
    }
}
