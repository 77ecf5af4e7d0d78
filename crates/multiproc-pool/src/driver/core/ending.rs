//! The end of a pool: closed, terminated, broken.

use super::{Core, Phase, Seat};
use crate::driver::worker::Corpse;
use crate::error::TaskError;

impl Core {
    /// Takes no more jobs; workers end when what there is is done.
    pub(crate) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
        }
    }

    /// Takes no more jobs, and drops those there are.
    pub(crate) fn terminate(&mut self) {
        if !matches!(self.phase, Phase::Broken(_)) {
            self.phase = Phase::Terminated;
        }
        self.fail_all(&TaskError::Cancelled);
        for seat in 0..self.seats.len() {
            self.recall(seat, 0);
        }
        for seat in &mut self.seats {
            if matches!(seat, Seat::Vacant(_) | Seat::Dormant) {
                *seat = Seat::Closed;
            }
        }
    }

    /// Goes on no more, for that reason.
    pub(super) fn give_up(&mut self, error: &TaskError) {
        self.phase = Phase::Broken(error.clone());
        self.fail_all(error);
        self.end_all();
    }

    /// What the first finalizer that went wrong has said.
    pub(crate) fn finalizer_failed(&self) -> Option<&String> {
        self.finalizer_failed.as_ref()
    }

    /// Asks every worker to end.
    pub(crate) fn ask_to_end(&mut self) {
        self.seats.iter_mut().for_each(|seat| {
            if let Seat::Taken(worker) = seat {
                worker.ask_to_end()
            }
        });
    }

    /// Ends every worker.
    pub(crate) fn end_all(&mut self) {
        self.terminate();
        self.seats.iter_mut().for_each(|seat| {
            if let Seat::Taken(worker) = seat {
                worker.kill()
            }
        });
        self.corpses.iter().for_each(Corpse::kill);
    }

    /// Whether every worker has ended and is reaped, and there will be no others.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.corpses.retain(|corpse| !corpse.is_reaped());
        self.corpses.is_empty() && self.seats.iter().all(|seat| matches!(seat, Seat::Closed))
    }

    /// Tells every worker that there will be no more tasks, and closes the seats that have none.
    pub(super) fn dismiss(&mut self) {
        for (seat, place) in self.seats.iter_mut().enumerate() {
            match place {
                Seat::Taken(worker) => {
                    worker.dismiss();
                    self.restless.insert(seat);
                }
                Seat::Vacant(_) | Seat::Dormant => *place = Seat::Closed,
                Seat::Starting | Seat::Closed => {}
            }
        }
    }
}
