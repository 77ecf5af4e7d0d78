//! How long a worker takes: to look at a task, to finish it, to end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::{Mark, Retired, Worker};
use crate::protocol::asked_mark;

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
            Some((ticket, until)) if ticket == mark.ticket() => until,
            _ => {
                let until = Deadline::after(PATIENCE);
                self.waiting = Some((mark.ticket(), until));
                until
            }
        }
    }

    /// Whether the task, its oldest, has not been started for too long.
    pub(in crate::driver) fn is_stuck_at(&mut self, mark: Mark) -> bool {
        let noted = self
            .waiting
            .is_some_and(|(ticket, until)| ticket == mark.ticket() && until.has_passed());
        noted && self.look_at(mark) != Deadline::NEVER
    }

    /// The worker begins with something after having had nothing.
    pub(in crate::driver) fn begins(&mut self) {
        self.since = Deadline::now();
        self.idle_until = Deadline::NEVER;
    }

    /// The worker has finished so many tasks since it began, or was asked last: how long each took.
    pub(in crate::driver) fn pace(&mut self, tasks: u32) -> Duration {
        let now = Deadline::now();
        let before = std::mem::replace(&mut self.since, now);
        self.seen.busy += now.since(before);
        now.since(before) / tasks.max(1)
    }

    /// Since when the task is its oldest, as far as anybody has asked.
    pub(in crate::driver) fn oldest_since(&mut self, mark: Mark) -> Deadline {
        match self.oldest {
            Some((ticket, since)) if ticket == mark.ticket() => since,
            _ => {
                let now = Deadline::now();
                self.oldest = Some((mark.ticket(), now));
                now
            }
        }
    }

    /// The worker has nothing to do any more, and is kept for so long.
    pub(in crate::driver) fn rests(&mut self, kept: Option<Duration>) {
        self.idle_until = Deadline::after_option(kept);
    }

    /// Until when the worker is kept, if it has nothing to do before.
    pub(in crate::driver) fn kept_until(&self) -> Deadline {
        match self.is_leaving() {
            true => Deadline::NEVER,
            false => self.idle_until,
        }
    }

    /// Has the worker end when it has done what it has.
    pub(in crate::driver) fn retire(&mut self, why: Retired) {
        if why == Retired::Surplus {
            self.retired = Some(why);
        }
        self.retired.get_or_insert(why);
    }

    pub(in crate::driver) fn is_retired(&self) -> bool {
        self.retired.is_some()
    }

    /// Whether another is to follow it.
    pub(in crate::driver) fn is_surplus(&self) -> bool {
        self.retired == Some(Retired::Surplus)
    }

    /// Asks the task, which is its oldest, to stop.
    pub(in crate::driver) fn ask_to_stop(&self, mark: Mark) {
        // Relaxed: it says nothing of anything else.
        self.lane
            .asked()
            .store(asked_mark(mark.ticket()), Ordering::Relaxed);
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
