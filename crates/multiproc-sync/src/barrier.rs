//! A barrier: as many as there are parties wait for each other, round after round.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | `round` | the round under way |
//! | `broken` | 1 where nobody can pass until a reset |
//! | `reset` | the [mark] of a round that is being given up, 0 where none is |
//! | a slot's `ROUND` | the mark of the round in which its thread has arrived, 0 where it has not |
//! | a slot's `INDEX` | how many were missing then |
//! | a slot's `BROKEN` | 1 where the round in which it waited was given up |
//! | a slot's `MEMBER` | 1 where its thread takes part between its waits too |
//!
//! # Invariants
//!
//! 1. How many have arrived is nowhere stored: it is the number of slots with the mark of this round. The
//!    one whose arrival makes them enough is the last, and no other can be.
//! 2. A round is passed by one store, of `round`, by the last to arrive, and only where it is not broken.
//! 3. A slot whose thread is gone after it arrived in this round, or that is a member's, breaks the
//!    barrier before it is freed.
//! 4. A reset marks every slot of the round before it goes to the next. Cut short by a death, it is
//!    finished by whoever is inside next: `reset` is the round's mark until `round` moves.
//! 5. Whoever sleeps watches all slots (`table.rs`).
//!
//! # Orderings
//!
//! What is done before a wait is seen after it: by the gate, which all have passed, and from the last to
//! arrive by the alarm's ring, Release there and Acquire at the look that finds the new round.
//!
//! # Death
//!
//! | killed | what happens |
//! |---|---|
//! | before it has arrived | nothing, unless it is a member: then the barrier breaks |
//! | arrived, until the round is passed, asleep or awake | a sleeper is woken and breaks the barrier |
//! | the last, before the store of `round`, in the action too | the same |
//! | the last, after it, before all are woken | who is woken rings for all (`gate.rs`) |
//! | released, before it returns | its slot is freed |
//! | breaking or resetting | done, or finished by the next inside |
//!
//! # Differences from Python
//!
//! A process that is killed while it waits in a `multiprocessing.Barrier` leaves the others waiting.

#![expect(
    unsafe_code,
    reason = "a slot of the table is in a thread's list until it is left"
)]

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::gate::Gate;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU32, Deadline, Until, Woken};
use crate::table::{SLOTS, Slot, Table};

/// A barrier in memory that processes share; all zeroes is one at which nobody waits.
#[repr(C)]
#[derive(Debug)]
pub struct BarrierWord {
    gate: Gate,
    round: AtomicU32,
    broken: AtomicU32,
    reset: AtomicU32,
    table: Table,
}

/// How many can wait for each other at most.
pub const MAX_PARTIES: u32 = 126;

const _: () = assert!(cfg!(loom) || MAX_PARTIES as usize == SLOTS);

const ROUND: usize = 0;
const INDEX: usize = 1;
const BROKEN: usize = 2;
const MEMBER: usize = 3;

/// Why a wait at a barrier did not end with all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierError {
    /// The barrier is broken: somebody who waited was killed or came to its deadline, an action panicked,
    /// or it was aborted or reset.
    Broken,
    /// The deadline has passed, and the barrier is broken thereby.
    TimedOut,
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BarrierError::Broken => "the barrier is broken: not everybody can come any more",
            BarrierError::TimedOut => "not everybody came to the barrier until the deadline",
        })
    }
}

impl Error for BarrierError {}

impl BarrierWord {
    /// Waits until `parties` threads wait here. Each gets another number below that; the one that gets 0
    /// came last, and calls `action` before the others go on.
    ///
    /// Every thread is to name the same number of parties, from 1 to [`MAX_PARTIES`].
    ///
    /// # Errors
    /// [`BarrierError`], to this thread and to all that wait.
    ///
    /// # Panics
    /// Where `action` does, which breaks the barrier; if the platform has no robust words, or the thread
    /// holds too many locks.
    ///
    /// # Safety
    /// The memory stays mapped at this address until this returns, or the thread has ended.
    pub unsafe fn wait(
        &self,
        parties: u32,
        deadline: Deadline,
        action: impl FnOnce(),
    ) -> Result<u32, BarrierError> {
        // SAFETY: passed on to the caller.
        let slot = unsafe { self.arrive(deadline) }?;
        // SAFETY: left below; the caller vouches for the memory.
        let inside = unsafe { self.gate.enter_now() };
        self.reap();
        if self.broken.load(Relaxed) != 0 {
            self.leave(slot);
            return Err(BarrierError::Broken);
        }
        let round = self.round.load(Relaxed);
        let here = |slot: &&Slot| slot.note(ROUND).load(Relaxed) == mark(round);
        let others = self.table.used().iter().filter(here).count();
        let arrived = u32::try_from(others).map_or(parties, |others| others.saturating_add(1));
        let index = parties.saturating_sub(arrived);
        slot.note(INDEX).store(index, Relaxed);
        slot.note(ROUND).store(mark(round), Relaxed);
        if index > 0 {
            drop(inside);
            return self.sleep(slot, round, deadline);
        }
        let acted = catch_unwind(AssertUnwindSafe(action));
        if acted.is_ok() {
            let alarm = &self.gate.alarm;
            // Release: as in `sleep`, for who looks before the ring.
            alarm.ring(|| self.round.store(after(round), Release));
        } else {
            self.break_up();
        }
        self.leave(slot);
        drop(inside);
        match acted {
            Ok(()) => Ok(0),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Breaks the barrier for all who wait, and for all who come until it is reset.
    ///
    /// # Panics
    /// If the platform has no robust words, or the thread holds too many locks.
    pub fn abort(&self) {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.break_up();
    }

    /// Makes the barrier as new. Who waits is told that it is broken.
    ///
    /// # Panics
    /// As [`abort`](Self::abort).
    pub fn reset(&self) {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        self.reset.store(mark(self.round.load(Relaxed)), Relaxed);
        self.finish_reset();
    }

    /// Whether the barrier is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        self.broken.load(Relaxed) != 0
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        let mark = mark(self.round.load(Relaxed));
        let used = self.table.used().iter();
        let here = used.filter(|slot| slot.note(ROUND).load(Relaxed) == mark);
        u32::try_from(here.count()).unwrap_or(u32::MAX)
    }

    /// Makes the calling thread a member: its end breaks the barrier, wherever it is then. Says whether
    /// there was room for one.
    ///
    /// # Panics
    /// As [`abort`](Self::abort).
    ///
    /// # Safety
    /// The memory stays mapped at this address until [`resign`](Self::resign), or the thread has ended.
    pub unsafe fn enlist(&self) -> bool {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        self.reap();
        // SAFETY: passed on to the caller.
        let slot = unsafe { self.table.claim(&self.gate.alarm, Until::ThreadEnds) };
        slot.map(|slot| slot.note(MEMBER).store(1, Relaxed))
            .is_some()
    }

    /// Ends what [`enlist`](Self::enlist) began.
    ///
    /// # Panics
    /// As [`abort`](Self::abort).
    pub fn resign(&self) {
        // SAFETY: left before this returns.
        let _inside = unsafe { self.gate.enter_now() };
        if let Some(slot) = self.table.mine() {
            slot.note(MEMBER).store(0, Relaxed);
            self.leave(slot);
        }
    }

    /// Sees to what `process`, which has ended, has left here and the kernel has not. By one process at a time:
    /// the parent of the other.
    pub fn sweep(&self, process: u32) {
        self.gate.sweep(process);
        self.table.sweep(process);
    }

    /// A slot for the calling thread, once one is free.
    ///
    /// # Safety
    /// As [`wait`](Self::wait).
    unsafe fn arrive(&self, deadline: Deadline) -> Result<&Slot, BarrierError> {
        loop {
            // SAFETY: passed on to the caller.
            let inside = unsafe { self.gate.enter_now() };
            self.reap();
            // SAFETY: as above.
            if let Some(slot) = unsafe { self.table.claim(&self.gate.alarm, Until::ThreadEnds) } {
                return Ok(slot);
            }
            let seen = self.gate.alarm.now();
            let watch = self.table.watch();
            drop(inside);
            if let Some(watch) = watch
                && self.gate.alarm.sleep(seen, &watch, deadline) == Woken::TimedOut
            {
                self.abort();
                return Err(BarrierError::TimedOut);
            }
        }
    }

    /// Until the round is over.
    fn sleep(&self, slot: &Slot, round: u32, deadline: Deadline) -> Result<u32, BarrierError> {
        let mut late = false;
        loop {
            let seen = self.gate.alarm.now();
            // Acquire: pairs with the Release in `wait`.
            let over = self.round.load(Acquire) != round || self.broken.load(Relaxed) != 0;
            if !over && !late {
                let watch = self.table.watch().filter(|_| !self.gate.is_unsettled());
                if let Some(watch) = watch {
                    late = self.gate.alarm.sleep(seen, &watch, deadline) == Woken::TimedOut;
                    continue;
                }
            }
            // SAFETY: left below.
            let _inside = unsafe { self.gate.enter_now() };
            self.reap();
            let result = if slot.note(BROKEN).load(Relaxed) != 0 {
                Err(BarrierError::Broken)
            } else if self.round.load(Relaxed) != round {
                Ok(slot.note(INDEX).load(Relaxed))
            } else if self.broken.load(Relaxed) != 0 {
                Err(BarrierError::Broken)
            } else if late {
                self.break_up();
                Err(BarrierError::TimedOut)
            } else {
                continue;
            };
            self.leave(slot);
            return result;
        }
    }

    fn break_up(&self) {
        self.gate.alarm.ring(|| self.broken.store(1, Release));
    }

    /// Frees the slot, unless it is a member's.
    fn leave(&self, slot: &Slot) {
        for note in [ROUND, INDEX, BROKEN] {
            slot.note(note).store(0, Relaxed);
        }
        if slot.note(MEMBER).load(Relaxed) == 0 {
            let was_full = self.table.is_full();
            slot.leave();
            if was_full {
                self.gate.alarm.ring(|| ());
            }
        }
    }

    /// Invariants 3 and 4.
    fn reap(&self) {
        let round = self.round.load(Relaxed);
        self.table.reap(|dead| {
            let waited = dead.note(ROUND).load(Relaxed) == mark(round);
            if waited || dead.note(MEMBER).load(Relaxed) != 0 {
                self.break_up();
            }
            true
        });
        if self.reset.load(Relaxed) != 0 {
            self.finish_reset();
        }
    }

    fn finish_reset(&self) {
        let round = self.round.load(Relaxed);
        // Another mark: the round has moved already.
        if self.reset.load(Relaxed) == mark(round) {
            for slot in self.table.used() {
                if slot.note(ROUND).load(Relaxed) == mark(round) {
                    slot.note(BROKEN).store(1, Relaxed);
                }
            }
            self.broken.store(0, Relaxed);
            let alarm = &self.gate.alarm;
            alarm.ring(|| self.round.store(after(round), Release));
        }
        self.reset.store(0, Relaxed);
    }
}

/// How a round stands in a slot: never 0.
fn mark(round: u32) -> u32 {
    round.wrapping_add(1)
}

/// The next round: one whose mark is not 0.
fn after(round: u32) -> u32 {
    let next = round.wrapping_add(1);
    if next == u32::MAX { 0 } else { next }
}

/// One at which nobody waits, for memory of this process: shared memory has them as zeroes.
impl Default for BarrierWord {
    fn default() -> BarrierWord {
        BarrierWord {
            gate: Gate::new(),
            round: AtomicU32::new(0),
            broken: AtomicU32::new(0),
            reset: AtomicU32::new(0),
            table: Table::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
