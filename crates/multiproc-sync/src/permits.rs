//! Permits: so many, of which some are held, and every one that is held is some thread's.
//!
//! Semaphores, locks that anybody may release, and reader-writer locks are made of them.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | `total` | how many permits there are, held or not |
//! | a slot's `COUNT` | how many of them its thread holds; those of all slots are held, the others free |
//! | a slot's `TURN` | which taking of all permits made it hold them; 0 where it does not hold all |
//! | `turns` | the last such number |
//! | `poison` | the process that died or panicked while it held all; [`NAMELESS`] where it is not known |
//!
//! # Invariants
//!
//! 1. `total`, `COUNT` and `TURN` change inside the gate, and one store of a `COUNT` or of `total` is the
//!    whole change. The number of free permits is nowhere stored, so it cannot be wrong.
//! 2. A slot whose thread is gone is reaped by whoever comes next, before it counts: its permits are free.
//! 3. Whoever sleeps holds the turnstile: there is one sleeper, and others wait for the turnstile, whose
//!    lock passes on.
//! 4. The sleeper watches the slots of all who held a permit when it found too few. It cannot go on before
//!    one of them gives back or dies, and either wakes it. So slots that are taken meanwhile need no
//!    watching: it looks again before these matter.
//!
//! # Orderings
//!
//! The gate orders everything; the stores inside are Relaxed. What permits protect is published from one
//! holder to the next by the gate too: both were inside in between.
//!
//! # Death
//!
//! | killed | what happens |
//! |---|---|
//! | waiting for the turnstile or holding it, asleep or awake | its lock passes on |
//! | inside the gate | the gate passes on, see `gate.rs`; the sleeper watches the slot if it matters |
//! | slot claimed, before `COUNT` | an empty slot is reaped |
//! | holding | the slot is marked, the sleeper woken, the permits are free |
//! | giving back, before the store | as holding |
//! | giving back, after it | the alarm was announced: the sleeper is woken |
//! | taking a permit away, between `total` and `COUNT` | reaped: it is gone, as it was to be |
//! | taking a lock over, after it read the poison | `TURN` was set before: the next taker reads of this death |
//!
//! # Differences from Python
//!
//! `multiprocessing.Semaphore` knows a number only, which a process that is killed leaves too low.

#![expect(
    unsafe_code,
    reason = "to take a permit is to promise something about memory"
)]

use crate::gate::{Gate, Inside};
use crate::lock::{Held, LockWord};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{AtomicU32, Deadline, Until, Woken, process_id, thread_id};
use crate::table::{Slot, Table};

/// A number of permits in memory that processes share; all zeroes has none, to which some can be
/// [added](Permits::give).
///
/// It is made of atomics only, so a reference to one is sound wherever the memory is mapped, whoever
/// writes to it.
#[repr(C)]
#[derive(Debug)]
pub struct Permits {
    turnstile: LockWord,
    gate: Gate,
    total: AtomicU32,
    poison: AtomicU32,
    turns: AtomicU32,
    table: Table,
}

/// Permits were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    turn: u32,
    poison: u32,
}

const COUNT: usize = 0;
const TURN: usize = 1;

/// In `poison`: a process that is not known.
const NAMELESS: u32 = u32::MAX;

impl Taken {
    /// Whether somebody who had all permits died or panicked.
    pub fn held(self) -> Held {
        match self.poison {
            0 => Held::Sound,
            NAMELESS => Held::Poisoned { owner: None },
            pid => Held::Poisoned { owner: Some(pid) },
        }
    }
}

impl Permits {
    /// Takes `count` permits once they are free, or gives up at the deadline. With `all`, they are to be
    /// all there are, and a death or panic with them in hand is told to later takers. They are the thread's
    /// until they are given back, or what `until` says has ended.
    ///
    /// Who has to wait does so in a queue, first come, first served; who comes while somebody waits goes
    /// to its end. No more than 126 threads hold permits at a time: the next waits.
    ///
    /// # Panics
    /// If the platform has no robust words, or the thread holds too many locks.
    ///
    /// # Safety
    /// The memory stays mapped at this address until the permits were given back by the calling thread,
    /// or what `until` says has ended.
    pub unsafe fn take(
        &self,
        count: u32,
        all: bool,
        until: Until,
        deadline: Deadline,
    ) -> Option<Taken> {
        if !self.turnstile.is_held() {
            // SAFETY: passed on to the caller, here and below.
            let _inside = unsafe { self.gate.enter(deadline) }?;
            // SAFETY: as above.
            if let Some(taken) = unsafe { self.take_inside(count, all, until) } {
                return Some(taken);
            }
        }
        // SAFETY: as above.
        let _turn = unsafe { Inside::of(&self.turnstile, deadline) }?;
        loop {
            // SAFETY: as above.
            let inside = unsafe { self.gate.enter(deadline) }?;
            // SAFETY: as above.
            if let Some(taken) = unsafe { self.take_inside(count, all, until) } {
                return Some(taken);
            }
            let seen = self.gate.alarm.now();
            let watch = self.table.watch();
            drop(inside);
            if let Some(watch) = watch
                && self.gate.alarm.sleep(seen, &watch, deadline) == Woken::TimedOut
            {
                return None;
            }
        }
    }

    /// Takes `count` permits if they are free.
    ///
    /// # Panics
    /// As [`take`](Self::take).
    ///
    /// # Safety
    /// As [`take`](Self::take).
    pub unsafe fn try_take(&self, count: u32, all: bool, until: Until) -> Option<Taken> {
        // SAFETY: passed on to the caller.
        let _inside = unsafe { self.gate.enter_now() };
        // SAFETY: as above.
        unsafe { self.take_inside(count, all, until) }
    }

    /// Gives back `count` of the permits that the calling thread holds, or, with what all were
    /// [taken](Self::take) by, those and no later ones. Says whether it had any.
    ///
    /// # Safety
    /// What the permits stand for is no longer accessed on the strength of them.
    pub unsafe fn give_back(&self, count: u32, all: Option<Taken>) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        match self.table.mine() {
            Some(slot) if all.is_none_or(|all| all.turn == slot.note(TURN).load(Relaxed)) => {
                self.lower(slot, count)
            }
            _ => false,
        }
    }

    /// Has somebody who holds all permits, whichever thread it is, hold them no longer. Says whether there
    /// was one.
    pub fn take_back_all(&self) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        let used = self.table.used().iter();
        let mut holders = used.filter(|slot| slot.note(COUNT).load(Relaxed) != 0);
        let Some(holder) = holders.next() else {
            return false;
        };
        match self.table.mine() {
            Some(mine) if std::ptr::eq(mine, holder) => self.lower(mine, u32::MAX),
            // The slot stays its thread's, with nothing in it, until that one comes again or ends.
            _ => {
                // `COUNT` first: a slot that holds something keeps its turn.
                self.gate.alarm.ring(|| {
                    holder.note(COUNT).store(0, Relaxed);
                    holder.note(TURN).store(0, Relaxed);
                });
                true
            }
        }
    }

    /// Adds `count` permits, unless there were more than `most` then. Says whether it did.
    pub fn give(&self, count: u32, most: u32) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        let sum = self.total.load(Relaxed).checked_add(count);
        let Some(sum) = sum.filter(|sum| *sum <= most) else {
            return false;
        };
        self.gate.alarm.ring(|| self.total.store(sum, Relaxed));
        true
    }

    /// Takes `count` of the permits that the calling thread holds away for good. Says whether it had any.
    pub fn forget(&self, count: u32) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        let Some(slot) = self.table.mine() else {
            return false;
        };
        let had = slot.note(COUNT).load(Relaxed);
        let gone = had.min(count);
        let total = self.total.load(Relaxed);
        self.total.store(total.saturating_sub(gone), Relaxed);
        slot.note(COUNT).store(had - gone, Relaxed);
        if had == gone {
            slot.leave();
        }
        gone != 0
    }

    /// How many permits there are, free and held.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total.load(Relaxed)
    }

    /// How many permits the calling thread holds.
    #[must_use]
    pub fn mine(&self) -> u32 {
        let mine = self.table.mine();
        mine.map_or(0, |slot| slot.note(COUNT).load(Relaxed))
    }

    /// How many permits are free at this moment.
    #[must_use]
    pub fn free(&self) -> u32 {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        self.count_free()
    }

    /// Marks what all permits protect as suspect, in this process's name, unless what was taken is not the
    /// calling thread's any more.
    pub fn poison(&self, all: Taken) {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        let mine = self.table.mine();
        if mine.is_some_and(|slot| slot.note(TURN).load(Relaxed) == all.turn) {
            self.poison.store(process_id(thread_id()), Relaxed);
        }
    }

    /// Whether somebody who had all permits died or panicked, and it was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        self.poison.load(Relaxed) != 0
    }

    /// Declares what all permits protect sound again.
    pub fn clear_poison(&self) {
        self.poison.store(0, Relaxed);
    }

    /// Sees to what `process`, which has ended, has left here and the kernel has not. By one process at a time:
    /// the parent of the other.
    pub fn sweep(&self, process: u32) {
        self.turnstile.sweep(process);
        self.gate.sweep(process);
        self.table.sweep(process);
    }

    /// # Safety
    /// As [`take`](Self::take).
    unsafe fn take_inside(&self, count: u32, all: bool, until: Until) -> Option<Taken> {
        self.reap();
        if self.count_free() < count {
            return None;
        }
        // SAFETY: passed on to the caller.
        let slot = unsafe { self.table.claim(&self.gate.alarm, until) }?;
        let had = slot.note(COUNT).load(Relaxed);
        let turn = if all {
            // 0 is no turn.
            let turn = self.turns.load(Relaxed).wrapping_add(1).max(1);
            self.turns.store(turn, Relaxed);
            turn
        } else {
            0
        };
        slot.note(TURN).store(turn, Relaxed);
        slot.note(COUNT).store(had.saturating_add(count), Relaxed);
        let poison = self.poison.load(Relaxed);
        Some(Taken { turn, poison })
    }

    /// Invariant 2.
    fn reap(&self) {
        self.table.reap(|dead| {
            let held_all = dead.note(TURN).load(Relaxed) != 0;
            if held_all && dead.note(COUNT).load(Relaxed) != 0 {
                let process = match dead.process() {
                    0 => NAMELESS,
                    process => process,
                };
                self.poison.store(process, Relaxed);
            }
        });
    }

    fn count_free(&self) -> u32 {
        let held = self.table.used().iter().fold(0_u32, |sum, slot| {
            sum.saturating_add(slot.note(COUNT).load(Relaxed))
        });
        self.total.load(Relaxed).saturating_sub(held)
    }

    /// Lowers what the calling thread's slot holds. Says whether it held any.
    fn lower(&self, slot: &Slot, count: u32) -> bool {
        let had = slot.note(COUNT).load(Relaxed);
        let left = had.saturating_sub(count);
        self.gate
            .alarm
            .ring(|| slot.note(COUNT).store(left, Relaxed));
        if left == 0 {
            slot.note(TURN).store(0, Relaxed);
            slot.leave();
        }
        had != 0
    }
}

/// None at all, for memory of this process: shared memory has them as zeroes.
impl Default for Permits {
    fn default() -> Permits {
        Permits {
            turnstile: LockWord::default(),
            gate: Gate::new(),
            total: AtomicU32::new(0),
            poison: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            table: Table::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
