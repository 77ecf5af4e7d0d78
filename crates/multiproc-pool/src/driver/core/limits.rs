//! How long a task may run, a worker take to end, and a worker be kept that has nothing to do.

use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::jobs::job_of;
use super::{Core, Seat};
use crate::driver::worker::Retired;
use crate::error::TaskError;

/// A task that was due before it was started, at a worker that is stopped, say, is looked at so often.
const RECHECK: Duration = Duration::from_millis(50);

impl Core {
    /// Ends tasks that have run for too long, and workers that take too long to end or are not needed; asks tasks
    /// to stop that are to.
    pub(super) fn enforce(&mut self) {
        if !self.timed {
            return;
        }
        for seat in 0..self.seats.len() {
            let Seat::Taken(worker) = &mut self.seats[seat] else {
                continue;
            };
            worker.press();
            if worker.kept_until().has_passed()
                && self.scheduler.count(seat) == 0
                && !self.scheduler.has_own(seat)
            {
                self.retire(seat, Retired::Idle);
                continue;
            }
            let Some(oldest) = self.scheduler.oldest(seat) else {
                continue;
            };
            let Some(policy) = job_of(&mut self.jobs, oldest.task.job).map(|job| job.policy) else {
                continue;
            };
            if !policy.is_timed() || worker.pressed_at() != Deadline::NEVER {
                continue;
            }
            let since = worker.oldest_since(oldest.mark);
            let passed =
                |limit: Option<Duration>| limit.filter(|limit| since.plus(*limit).has_passed());
            if passed(policy.soft_timeout).is_some() {
                worker.ask_to_stop(oldest.mark);
            }
            if let Some(after) = passed(policy.timeout)
                && worker.has_started(oldest.mark)
            {
                // Where it has finished meanwhile the next pump hears of it.
                let _condemned: bool = self.condemn(seat, TaskError::TimedOut { after });
            }
        }
    }

    /// When to [`enforce`](Self::enforce) next.
    pub(super) fn next_limit(&mut self) -> Deadline {
        let mut next = Deadline::NEVER;
        if !self.timed {
            return next;
        }
        for (seat, place) in self.seats.iter_mut().enumerate() {
            let Seat::Taken(worker) = place else { continue };
            next = next.or(worker.pressed_at()).or(worker.kept_until());
            let Some(oldest) = self.scheduler.oldest(seat) else {
                continue;
            };
            let Some(policy) = job_of(&mut self.jobs, oldest.task.job).map(|job| job.policy) else {
                continue;
            };
            if !policy.is_timed() || worker.pressed_at() != Deadline::NEVER {
                continue;
            }
            let since = worker.oldest_since(oldest.mark);
            if let Some(limit) = policy.soft_timeout.map(|limit| since.plus(limit))
                && !limit.has_passed()
            {
                next = next.or(limit);
            }
            if let Some(limit) = policy.timeout.map(|limit| since.plus(limit)) {
                // One that is overdue and not started is looked at again in a while.
                next = next.or(match limit.has_passed() {
                    true => Deadline::after(RECHECK),
                    false => limit,
                });
            }
        }
        next
    }
}
