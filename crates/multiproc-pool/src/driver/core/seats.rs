//! Places for workers: who is started when, and when the pool gives up starting.

use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::{Core, Phase};
use crate::driver::worker::Worker;
use crate::error::{Error, TaskError};

/// A place for a worker.
pub(super) enum Seat {
    Taken(Box<Worker>),
    /// The next worker is to be started then.
    Vacant(Deadline),
    /// It is being started.
    Starting,
    /// There will be no next.
    Closed,
}

/// So many workers in a row may end before they are ready, while there is no other.
const START_LIMIT: u32 = 10;
/// The wait before another start after one that failed; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

impl Core {
    /// The seats for which it is time to start a worker, which are then waited for, with its name.
    pub(in crate::driver) fn due(&mut self) -> Vec<(usize, String)> {
        let mut due = Vec::new();
        for (seat, place) in self.seats.iter_mut().enumerate() {
            if matches!(place, Seat::Vacant(when) if when.has_passed()) {
                *place = Seat::Starting;
                self.started += 1;
                due.push((seat, format!("{}-{}", self.name, self.started)));
            }
        }
        due
    }

    /// A worker was started for a seat, or could not be.
    pub(in crate::driver) fn seat(&mut self, seat: usize, started: Result<Worker, Error>) {
        let ended = !matches!(self.phase, Phase::Open | Phase::Closed);
        match started {
            Ok(worker) if ended => {
                worker.kill();
                self.seats[seat] = Seat::Closed;
                self.corpses.push(worker.end(false).corpse);
            }
            Ok(worker) => self.seats[seat] = Seat::Taken(Box::new(worker)),
            Err(_) if ended => self.seats[seat] = Seat::Closed,
            Err(error) => {
                self.seats[seat] = Seat::Vacant(Deadline::now());
                self.start_failed(seat, error.to_string());
            }
        }
    }

    pub(in crate::driver) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// A worker has ended before it was ready, or could not be started.
    pub(super) fn start_failed(&mut self, seat: usize, last: String) {
        self.failed_starts += 1;
        // As long as there is a worker, what there is to do gets done.
        let alone = !self.workers().any(Worker::is_ready);
        if self.failed_starts >= START_LIMIT && alone {
            let error = TaskError::RestartLimit {
                starts: self.failed_starts,
                last,
            };
            self.phase = Phase::Broken(error.clone());
            self.fail_all(&error);
            self.end_all();
            return;
        }
        if let Seat::Vacant(when) = &mut self.seats[seat] {
            let doubled = BACK_OFF.saturating_mul(2_u32.saturating_pow(self.failed_starts - 1));
            *when = Deadline::after(doubled.min(LONGEST_BACK_OFF));
        }
    }

    /// Whether it is time to start a worker.
    pub(in crate::driver) fn is_start_due(&self) -> bool {
        self.next_start().has_passed()
    }

    /// When the next worker is to be started.
    pub(super) fn next_start(&self) -> Deadline {
        let vacant = self.seats.iter().filter_map(|seat| match seat {
            Seat::Vacant(when) => Some(*when),
            _ => None,
        });
        vacant.min().unwrap_or(Deadline::NEVER)
    }

    /// When the next worker that was started is to be ready.
    pub(super) fn next_ready(&self) -> Deadline {
        self.workers()
            .map(Worker::ready_by)
            .min()
            .unwrap_or(Deadline::NEVER)
    }

    pub(in crate::driver) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Taken(worker) => Some(&**worker),
            _ => None,
        })
    }
}
