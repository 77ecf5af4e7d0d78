//! The pool's own thread: sees to deaths at once, to starts that are due, and to everything else while no
//! caller waits.

use std::sync::atomic::Ordering;

use multiproc_shm::Lane;
use multiproc_sys::futex::{self, MAX_WORDS};

use super::Driver;
use crate::protocol::{CALLER, WATCHER};

impl Driver {
    /// Runs until every worker is gone and there will be no others.
    pub(super) fn watch(&self) {
        loop {
            // Acquire: pairs with Release in `attract_attention`.
            let attention = self.attention.load(Ordering::Acquire);
            let mut core = self.lock();
            let done = core.pump_all(self);
            if core.is_gone() {
                self.changed.notify_all();
                drop(self.alert(core));
                self.bells.ring(CALLER);
                return;
            }
            if done || core.has_listeners() {
                drop(self.alert(core));
                continue;
            }
            if core.is_start_due() {
                drop(core);
                self.start_due_workers();
                continue;
            }
            core.watching = true;
            // Results concern it only while somebody awaits one who does not wait in a call.
            let results = core.is_awaited();
            let look = |bell| self.bells.word(bell).load(Ordering::Relaxed);
            let declare = |bell| self.bells.declare(bell);
            core.armed = !core.driven && core.wants_watching();
            let bells = match (core.armed, results) {
                (false, _) => [look(WATCHER), look(CALLER)],
                (true, true) => [declare(WATCHER), declare(CALLER)],
                (true, false) => [declare(WATCHER), look(CALLER)],
            };
            let busy = !core.driven && (!core.park() || core.has_news());
            if !busy {
                let mut until = core.next_alarm();
                if !core.driven {
                    until = until.or(core.next_look());
                }
                core.alarm = until;
                // The three words before them leave room for so many; further ones are told of by the
                // thread that reaps them.
                let deaths: Vec<(Lane, u32)> = core
                    .workers()
                    .map(super::worker::Worker::death)
                    .take(MAX_WORDS - 3)
                    .collect();
                drop(core);
                let mut words = vec![
                    (&self.attention, attention),
                    (self.bells.word(WATCHER), bells[0]),
                ];
                if results {
                    words.push((self.bells.word(CALLER), bells[1]));
                }
                words.extend(deaths.iter().map(|(lane, now)| (lane.death(), *now)));
                futex::wait_any(&words, until);
                core = self.lock();
            }
            core.watching = false;
            if std::mem::take(&mut core.armed) {
                self.bells.withdraw(WATCHER);
                self.bells.withdraw(CALLER);
            }
        }
    }
}
