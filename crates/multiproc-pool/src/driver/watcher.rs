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
            let done = core.pump(self);
            if core.is_gone() {
                self.changed.notify_all();
                self.tell(core, true);
                self.bells.ring(CALLER);
                return;
            }
            if done {
                self.tell(core, true);
                continue;
            }
            if core.is_start_due() {
                drop(core);
                self.start_due_workers();
                continue;
            }
            core.watching = true;
            let bell = if core.driven {
                self.bells.word(WATCHER).load(Ordering::Relaxed)
            } else {
                self.bells.declare(WATCHER)
            };
            let busy = !core.driven && (!core.park() || core.has_news());
            if !busy {
                let until = core.next_alarm();
                core.alarm = until;
                let until = if core.driven {
                    until
                } else {
                    until.or(core.next_look())
                };
                // The two words before them leave room for so many; further ones are told of by the
                // thread that reaps them.
                let deaths: Vec<(Lane, u32)> = core
                    .workers()
                    .map(super::worker::Worker::death)
                    .take(MAX_WORDS - 2)
                    .collect();
                drop(core);
                let mut words = vec![
                    (&self.attention, attention),
                    (self.bells.word(WATCHER), bell),
                ];
                words.extend(deaths.iter().map(|(lane, now)| (lane.death(), *now)));
                futex::wait_any(&words, until);
                core = self.lock();
            }
            core.watching = false;
            if !core.driven {
                self.bells.withdraw(WATCHER);
            }
        }
    }
}
