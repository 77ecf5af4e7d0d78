//! What is told of a worker.

use std::time::Duration;

use multiproc_sys::clock::Deadline;

use super::Worker;
use crate::view::WorkerStats;
use crate::view::recorder::Recorder;

/// What is counted of a worker. No clock is looked at for it that would not be looked at otherwise, but once at its
/// start.
pub(super) struct Seen {
    born: Deadline,
    start: Option<Duration>,
    /// How long it has had something to do, up to when it was heard of last.
    pub(super) busy: Duration,
    /// Whether it is to say of each task when it began and ended.
    pub(super) stamped: bool,
    /// Its number in the timeline, if there is one.
    record: u64,
}

impl Seen {
    pub(super) fn new(stamped: bool) -> Seen {
        Seen {
            born: Deadline::now(),
            start: None,
            busy: Duration::ZERO,
            stamped,
            record: 0,
        }
    }

    pub(super) fn ready(&mut self) {
        let born = self.born;
        self.start
            .get_or_insert_with(|| Deadline::now().since(born));
    }
}

impl Worker {
    /// Puts it into the timeline.
    pub(in crate::driver) fn enter(&mut self, recorder: &mut Recorder, seat: usize, seats: usize) {
        self.seen.record = recorder.started(seat, self.body.pid(), self.seen.born, seats);
    }

    /// Its number in the timeline, if there is one.
    pub(in crate::driver) fn record(&self) -> u64 {
        self.seen.record
    }

    /// When it began what it has, or said something last.
    pub(in crate::driver) fn since(&self) -> Deadline {
        self.since
    }

    /// What it has done, having so many items now.
    pub(in crate::driver) fn stats(&self, in_flight: u64) -> WorkerStats {
        let now = Deadline::now();
        let mut busy = self.seen.busy;
        if in_flight > 0 {
            busy += now.since(self.since);
        }
        let idle = self.seen.start.map(|start| {
            let age = now.since(self.seen.born);
            age.saturating_sub(start).saturating_sub(busy)
        });
        WorkerStats {
            pid: self.body.pid(),
            tasks: self.finished,
            in_flight,
            start: self.seen.start,
            busy,
            idle: idle.unwrap_or_default(),
        }
    }
}
