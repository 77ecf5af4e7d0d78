//! How long a task may run, and a worker take to end.

use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::{Core, Seat};
use crate::error::TaskError;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A task, from when it is its worker's to start or, behind others, when they are finished.
    pub(crate) task: Option<Duration>,
    /// A worker that is asked to end.
    pub(crate) grace: Duration,
}

/// A task that was due before it was started, at a worker that is stopped, say, is looked at so often.
const RECHECK: Duration = Duration::from_millis(50);

impl Core {
    /// Ends tasks that have run for too long, and workers that take too long to end.
    pub(super) fn enforce(&mut self) {
        for seat in 0..self.seats.len() {
            let Seat::Taken(worker) = &mut self.seats[seat] else {
                continue;
            };
            worker.press();
            let (Some(allowed), Some(oldest)) = (self.limits.task, self.scheduler.oldest(seat))
            else {
                continue;
            };
            if worker.limit_of(oldest.mark, allowed).has_passed()
                && worker.pressed_at() == Deadline::NEVER
                && worker.has_started(oldest.mark)
            {
                // Where it has finished meanwhile the next pump hears of it.
                let _condemned: bool = self.condemn(seat, TaskError::TimedOut { after: allowed });
            }
        }
    }

    /// When to [`enforce`](Self::enforce) next.
    pub(super) fn next_limit(&mut self) -> Deadline {
        let mut next = Deadline::NEVER;
        for (seat, place) in self.seats.iter_mut().enumerate() {
            let Seat::Taken(worker) = place else { continue };
            next = next.or(worker.pressed_at());
            if let (Some(allowed), Some(oldest)) = (self.limits.task, self.scheduler.oldest(seat))
                && worker.pressed_at() == Deadline::NEVER
            {
                // One that is overdue and not started is looked at again in a while.
                let limit = worker.limit_of(oldest.mark, allowed);
                next = next.or(if limit.has_passed() {
                    Deadline::after(RECHECK)
                } else {
                    limit
                });
            }
        }
        next
    }
}
