//! A condition: who waits, having released a lock, until somebody who has changed what it protects notifies
//! them. The lock is anybody's: how it is released and taken is the caller's to say.
//!
//! # State
//!
//! | a slot's `STATE` | meaning |
//! |---|---|
//! | 0 | its thread is about to wait, or has been told |
//! | [`WAITING`] | its thread waits, since `TICKET` |
//! | [`NOTIFIED`] | it was chosen, and has not been told yet |
//!
//! # Invariants
//!
//! 1. `STATE` becomes `WAITING` while its thread holds the lock. So what is changed under the lock after the
//!    decision to wait is followed by a notice that finds the thread here, whether the notifier still has
//!    the lock or not.
//! 2. Who is chosen is the one that has waited longest and is alive.
//! 3. Who is chosen keeps its slot until it holds the lock again. If it dies before, whoever reaps the slot
//!    chooses another. If it dies after, it dies with the lock, and the next holder is told so.
//! 4. Whoever sleeps watches all slots (`table.rs`): a death among those who wait wakes one of them, which
//!    reaps.
//!
//! # Orderings
//!
//! The lock orders what it protects. `STATE` is published by the alarm: Release there, Acquire at the look
//! before a sleep. All else is inside the gate.
//!
//! # Death
//!
//! | killed | what happens |
//! |---|---|
//! | claimed a slot, before or after `WAITING`, asleep, or late | reaped; the lock as in `lock.rs` |
//! | chosen, until it holds the lock and is told | another is chosen (3) |
//! | told, before it has left its slot | it has the lock: the next holder is told of the death |
//! | notifying, some chosen and not woken | the gate is abandoned: who is woken rings for all (`gate.rs`) |
//! | reaping, another chosen already | one more is chosen: a wake for nothing |
//!
//! # Differences from Python
//!
//! `multiprocessing.Condition` counts sleepers in semaphores: one that is killed leaves its notifier
//! waiting for ever.

#![expect(
    unsafe_code,
    reason = "a slot of the table is in a thread's list until it is left"
)]

use crate::gate::Gate;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU32, Deadline, Until, Woken, spin_loop};
use crate::table::{Slot, Table};

/// Who waits for notice, in memory that processes share; all zeroes is one for which nobody waits.
#[repr(C)]
#[derive(Debug)]
pub struct ConditionWord {
    gate: Gate,
    tickets: AtomicU32,
    table: Table,
}

const STATE: usize = 0;
const TICKET: usize = 1;

const WAITING: u32 = 1;
const NOTIFIED: u32 = 2;

impl ConditionWord {
    /// Has the calling thread, which holds `lock`, `release` it, wait until it is notified or the deadline
    /// has passed, and `retake` it. Gives what that gives, and whether the thread was notified.
    ///
    /// No more than 126 threads wait at a time: one more is told at once that it was notified.
    ///
    /// # Panics
    /// If the platform has no robust words, or the thread holds too many locks; or where one of the
    /// functions does, and then the thread may be notified in vain until it ends.
    ///
    /// # Safety
    /// The memory stays mapped at this address until this returns, or the calling thread has ended.
    pub unsafe fn wait<L, R>(
        &self,
        lock: &mut L,
        deadline: Deadline,
        release: impl FnOnce(&mut L),
        retake: impl FnOnce(&mut L) -> R,
    ) -> (R, bool) {
        // SAFETY: left before this returns, here and below.
        let inside = unsafe { self.gate.enter_now() };
        self.reap();
        // SAFETY: left below, or the thread has ended; the caller vouches for the memory.
        let slot = unsafe { self.table.claim(&self.gate.alarm, Until::ThreadEnds) };
        if let Some(slot) = slot {
            let ticket = self.tickets.load(Relaxed);
            self.tickets.store(ticket.wrapping_add(1), Relaxed);
            slot.note(TICKET).store(ticket, Relaxed);
            slot.note(STATE).store(WAITING, Relaxed);
        }
        drop(inside);
        release(lock);
        match slot {
            Some(slot) => self.sleep(slot, deadline),
            None => spin_loop(),
        }
        let retaken = retake(lock);
        let Some(slot) = slot else {
            return (retaken, true);
        };
        // SAFETY: as above.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        let notified = slot.note(STATE).load(Relaxed) == NOTIFIED;
        slot.note(STATE).store(0, Relaxed);
        slot.leave();
        (retaken, notified)
    }

    /// Notifies the `most` who have waited longest, or all if they are fewer. Says how many.
    ///
    /// What they wait for is to be changed under the lock, before this: else one that is about to wait may
    /// miss it.
    ///
    /// # Panics
    /// If the platform has no robust words, or the thread holds too many locks.
    pub fn notify(&self, most: u32) -> u32 {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        let mut waiting: Vec<&Slot> = self.waiting().collect();
        waiting.sort_by_key(|slot| std::cmp::Reverse(self.age(slot)));
        waiting.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        if !waiting.is_empty() {
            self.gate.alarm.ring(|| {
                for slot in &waiting {
                    // Release: pairs with the Acquire in `sleep`, for who looks before the ring.
                    slot.note(STATE).store(NOTIFIED, Release);
                }
            });
        }
        u32::try_from(waiting.len()).unwrap_or(u32::MAX)
    }

    /// Sees to what `process`, which has ended, has left here and the kernel has not. By one process at a time:
    /// the parent of the other.
    pub fn sweep(&self, process: u32) {
        self.gate.sweep(process);
        self.table.sweep(process);
    }

    /// Until the slot is notified or the deadline has passed.
    fn sleep(&self, slot: &Slot, deadline: Deadline) {
        loop {
            let seen = self.gate.alarm.now();
            if slot.note(STATE).load(Acquire) == NOTIFIED {
                return;
            }
            let watch = self.table.watch().filter(|_| !self.gate.is_unsettled());
            let Some(watch) = watch else {
                // SAFETY: left at once.
                let _inside = unsafe { self.gate.enter_now() };
                self.reap();
                continue;
            };
            if self.gate.alarm.sleep(seen, &watch, deadline) == Woken::TimedOut {
                return;
            }
        }
    }

    /// Invariant 3.
    fn reap(&self) {
        self.table.reap(|dead| {
            if dead.note(STATE).load(Relaxed) == NOTIFIED
                && let Some(other) = self.waiting().max_by_key(|slot| self.age(slot))
            {
                let alarm = &self.gate.alarm;
                alarm.ring(|| other.note(STATE).store(NOTIFIED, Release));
            }
            true
        });
    }

    /// Those who wait and are alive.
    fn waiting(&self) -> impl Iterator<Item = &Slot> {
        let used = self.table.used().iter();
        used.filter(|slot| slot.note(STATE).load(Relaxed) == WAITING && !slot.is_dead())
    }

    /// How many have come since.
    fn age(&self, slot: &Slot) -> u32 {
        let now = self.tickets.load(Relaxed);
        now.wrapping_sub(slot.note(TICKET).load(Relaxed))
    }
}

/// One for which nobody waits, for memory of this process: shared memory has them as zeroes.
impl Default for ConditionWord {
    fn default() -> ConditionWord {
        ConditionWord {
            gate: Gate::new(),
            tickets: AtomicU32::new(0),
            table: Table::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
