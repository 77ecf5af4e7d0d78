//! Places for workers: who is started when, who is to go, and when the pool gives up starting.

use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::{Core, Phase};
use crate::driver::worker::{Retired, Worker};
use crate::error::{Error, TaskError};

/// A place for a worker.
pub(super) enum Seat {
    Taken(Box<Worker>),
    /// The next worker is to be started then.
    Vacant(Deadline),
    /// It is being started.
    Starting,
    /// The next is to be started when there is something to do for it.
    Dormant,
    /// There will be no next, unless the pool is made larger.
    Closed,
}

/// The wait before another start after one that failed; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

impl Core {
    /// A place for which there is no worker yet.
    pub(super) fn empty(on_demand: bool) -> Seat {
        match on_demand {
            true => Seat::Dormant,
            false => Seat::Vacant(Deadline::now()),
        }
    }

    /// The seats for which it is time to start a worker, which are then waited for, with its name.
    pub(in crate::driver) fn due(&mut self) -> Vec<(usize, String)> {
        let mut due = Vec::new();
        for (seat, place) in self.seats.iter_mut().enumerate() {
            if matches!(place, Seat::Vacant(when) if when.has_passed()) {
                *place = Seat::Starting;
                self.started += 1;
                due.push((seat, format!("{}-{}", self.settings.name, self.started)));
            }
        }
        due
    }

    /// A worker was started for a seat, or could not be.
    pub(in crate::driver) fn seat(&mut self, seat: usize, started: Result<Worker, Error>) {
        let ended = !self.goes_on();
        match started {
            Ok(mut worker) if ended => {
                worker.kill();
                self.seats[seat] = Seat::Closed;
                self.corpses.push(worker.end().corpse);
            }
            Ok(mut worker) => {
                if let Some(recorder) = &mut self.recorder {
                    worker.enter(recorder, seat, self.seats.len());
                }
                self.seats[seat] = Seat::Taken(Box::new(worker));
                self.restless.insert(seat);
                self.fit();
            }
            Err(_) if ended => self.seats[seat] = Seat::Closed,
            Err(error) => {
                self.seats[seat] = Seat::Vacant(Deadline::now());
                self.start_failed(seat, error.to_string());
            }
        }
    }

    /// How many workers there are and are to be, without those that are to go.
    pub(in crate::driver) fn workers_wanted(&self) -> usize {
        self.target
    }

    fn is_present(place: &Seat) -> bool {
        match place {
            Seat::Taken(worker) => !worker.is_surplus(),
            Seat::Vacant(_) | Seat::Starting | Seat::Dormant => true,
            Seat::Closed => false,
        }
    }

    /// The seats that have a worker, or will have one.
    pub(super) fn present(&self) -> Vec<usize> {
        let seats = self.seats.iter().enumerate();
        seats
            .filter(|(_, place)| Core::is_present(place))
            .map(|(seat, _)| seat)
            .collect()
    }

    /// Has as many workers as that from now on.
    pub(in crate::driver) fn resize(&mut self, workers: usize) -> Result<(), TaskError> {
        self.refuse_unless_open()?;
        self.target = workers;
        self.fit();
        Ok(())
    }

    /// Has as many seats as there are to be: opens some, or closes some, those first that have the least to do.
    fn fit(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        let present = self.present();
        let on_demand = self.settings.on_demand;
        for _ in present.len()..self.target {
            match self
                .seats
                .iter_mut()
                .find(|place| matches!(place, Seat::Closed))
            {
                Some(place) => *place = Core::empty(on_demand),
                None => {
                    self.seats.push(Core::empty(on_demand));
                    self.scheduler.add_worker();
                }
            }
        }
        let mut surplus = present.len().saturating_sub(self.target);
        // Of those with as much to do, the youngest goes.
        let mut least_first: Vec<_> = present.into_iter().rev().collect();
        least_first.sort_by_key(|seat| match &self.seats[*seat] {
            Seat::Taken(_) => self.scheduler.count(*seat) + 1,
            _ => 0,
        });
        for seat in least_first {
            // What is being started is looked at again when it has been.
            if surplus == 0 || matches!(self.seats[seat], Seat::Starting) {
                continue;
            }
            surplus -= 1;
            match &self.seats[seat] {
                Seat::Taken(_) => self.retire(seat, Retired::Surplus),
                _ => self.close_seat(seat),
            }
        }
    }

    /// There will be nobody in a seat any more: what was for whoever has it is not run.
    pub(super) fn close_seat(&mut self, seat: usize) {
        self.seats[seat] = Seat::Closed;
        for task in self.scheduler.take_own(seat) {
            self.settle_failed(task, &TaskError::Cancelled);
        }
    }

    /// Has a worker end when it has done what it has begun.
    pub(super) fn retire(&mut self, seat: usize, why: Retired) {
        if let Seat::Taken(worker) = &mut self.seats[seat] {
            worker.retire(why);
            self.restless.insert(seat);
            self.scheduler.suspend(seat);
            self.recall(seat, 0);
        }
    }

    /// Tells those to end that are to and have nothing left.
    pub(super) fn dismiss_retired(&mut self) {
        for seat in self.restless.iter() {
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && worker.is_retired()
                && self.scheduler.count(seat) == 0
            {
                worker.dismiss();
            }
        }
    }

    /// What becomes of the seat of a worker that has ended.
    pub(super) fn after(&self, seat: usize, was_idle: bool) -> Seat {
        let finished = self.phase == Phase::Closed && self.is_idle();
        let others = self
            .present()
            .iter()
            .filter(|present| **present != seat)
            .count();
        if !self.goes_on() || finished || others >= self.target {
            Seat::Closed
        } else {
            Core::empty(was_idle || self.settings.on_demand)
        }
    }

    /// Has workers started for what waits, where there are seats that wait for that. Whether there are any.
    pub(super) fn summon(&mut self) -> bool {
        let dormant = |place: &Seat| matches!(place, Seat::Dormant);
        if !self.goes_on() || !self.seats.iter().any(dormant) {
            return false;
        }
        let coming = |place: &&Seat| match place {
            Seat::Taken(worker) => !worker.is_ready() || worker.is_retired(),
            Seat::Vacant(_) | Seat::Starting => true,
            Seat::Dormant | Seat::Closed => false,
        };
        let coming = self.seats.iter().filter(coming).count();
        let mut missing = match self.scheduler.has_idle() {
            true => 0,
            false => self.scheduler.waiting().saturating_sub(coming),
        };
        let mut summoned = false;
        for (seat, place) in self.seats.iter_mut().enumerate() {
            if !dormant(place) || missing == 0 && !self.scheduler.has_own(seat) {
                continue;
            }
            missing = missing.saturating_sub(1);
            *place = Seat::Vacant(Deadline::now());
            summoned = true;
        }
        summoned
    }

    /// A worker has ended before it was ready, or could not be started.
    pub(super) fn start_failed(&mut self, seat: usize, last: String) {
        self.failed_starts += 1;
        // As long as there is a worker, what there is to do gets done.
        let alone = !self.workers().any(Worker::is_ready);
        if self.failed_starts >= self.settings.start_limit && alone {
            let starts = self.failed_starts;
            self.give_up(&TaskError::RestartLimit { starts, last });
            return;
        }
        if matches!(self.seats[seat], Seat::Vacant(_) | Seat::Dormant) {
            let doubled = BACK_OFF.saturating_mul(2_u32.saturating_pow(self.failed_starts - 1));
            self.seats[seat] = Seat::Vacant(Deadline::after(doubled.min(LONGEST_BACK_OFF)));
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
