//! What a worker's death means for the tasks it had.

use multiproc_sys::clock::Deadline;

use super::{Core, Phase, Seat};

impl Core {
    pub(super) fn is_dead(&self, seat: usize) -> bool {
        matches!(&self.seats[seat], Seat::Taken(worker) if worker.is_dead())
    }

    /// A worker that has died: its started task is lost, the others are sent again, its seat is free.
    pub(super) fn see_to_death(&mut self, seat: usize) -> bool {
        // What it has said before is not lost with it.
        let mut done = self.hear(seat);
        let closed = self.phase != Phase::Open && self.phase != Phase::Closed;
        let finished = self.phase == Phase::Closed && self.is_idle();
        let next = if closed || finished {
            Seat::Closed
        } else {
            Seat::Vacant(Deadline::now())
        };
        let Seat::Taken(worker) = std::mem::replace(&mut self.seats[seat], next) else {
            return done;
        };
        let mut had = self.scheduler.lost(seat);
        let end = worker.end(finished);
        // Started are those it has claimed; it takes them one by one, so that is the oldest or none.
        while let Some(sent) = had.pop_back() {
            if !end.had_started(sent.mark.position) {
                self.scheduler.returned(sent.task);
                continue;
            }
            let condemned = self
                .condemned
                .iter()
                .position(|(task, _)| *task == sent.task);
            let error = match condemned {
                Some(place) => self.condemned.swap_remove(place).1,
                None => end.error(sent.task.item),
            };
            done |= self.settle_failed(sent.task, error);
        }
        if !end.was_ready && !finished {
            self.start_failed(seat, end.what());
        }
        self.corpses.push(end.corpse);
        done
    }
}
