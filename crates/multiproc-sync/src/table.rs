//! The table: who takes part, each behind a robust word of its own that tells of its death.
//!
//! # State
//!
//! | a slot's word | meaning |
//! |---|---|
//! | 0, or `WAITERS` | free |
//! | a thread's id, `WAITERS` | that thread's; it is in the thread's robust list, or announced by it |
//! | `OWNER_DIED`, perhaps `WAITERS` | its thread is gone; the notes are as it left them |
//!
//! The first slot without `WAITERS` may be taken past the gate, by tables whose users do so (`permits.rs`).
//!
//! # Invariants
//!
//! 1. Slots are claimed, left and reaped by who is inside the gate; only the kernel marks one from outside.
//! 2. A free slot's notes are 0, but for the first.
//! 3. Slots behind `high` were never used. Who raises it rings the alarm first, so that sleepers come to
//!    watch the new slot before it is anybody's.
//! 4. A sleeper watches every slot up to `high`, the free ones too: whoever takes one and dies wakes it.
//!    A sleeper so woken that dies in its turn has a slot of its own, or a lock that passes on.
//!
//! # Death
//!
//! | killed | what happens |
//! |---|---|
//! | claiming, before the word is its own | nothing: the note of its process is set again by the next |
//! | claimed, at any step, until it has left | the word is marked and wakes one who watches it |
//! | leaving, the word free, still announced | one is woken for nothing |
//! | reaping | it is done again: the word goes last |

#![expect(
    unsafe_code,
    reason = "a word in a thread's list must stay where it is"
)]

use crate::alarm::{Alarm, Watch};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{
    AtomicU32, OWNER_DIED, RobustWord, THREAD_ID, Until, WAITERS, process_id, thread_id, unheld,
};

/// As many as can be watched besides the two words of an alarm.
pub(crate) const SLOTS: usize = if cfg!(loom) {
    3
} else {
    multiproc_sys::futex::MAX_WORDS - 2
};

#[repr(C)]
#[derive(Debug)]
pub(crate) struct Table {
    /// The last slot that was ever used; the first counts as one.
    high: AtomicU32,
    slots: [Slot; SLOTS],
}

/// One participant's place. Its notes but the first are for the users of the table.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Slot(RobustWord);

/// The note with the process id.
const PROCESS: usize = 0;

impl Slot {
    /// A note of the user's, by its number from 0 to 3.
    pub(crate) fn note(&self, which: usize) -> &AtomicU32 {
        &self.0.notes[1 + which]
    }

    pub(crate) fn process(&self) -> u32 {
        self.0.notes[PROCESS].load(Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        is_dead(self.0.word.load(Acquire))
    }

    /// Says which process it is whose slot this is. By its thread.
    #[inline]
    pub(crate) fn sign(&self) {
        self.0.notes[PROCESS].store(process_id(), Relaxed);
    }

    /// Gives the slot up, inside the gate. Its notes must be 0 but for the first.
    pub(crate) fn leave(&self) {
        if self.0.unlink() {
            self.0.word.store(WAITERS, Release);
            self.0.retract();
        }
    }

    /// The word, for those that take it past the gate.
    #[inline]
    pub(crate) fn robust(&self) -> &RobustWord {
        &self.0
    }
}

pub(crate) fn is_dead(word: u32) -> bool {
    word & THREAD_ID == 0 && word & OWNER_DIED != 0
}

fn is_free(word: u32) -> bool {
    word & (THREAD_ID | OWNER_DIED) == 0
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            high: AtomicU32::new(0),
            slots: std::array::from_fn(|_| Slot(unheld())),
        }
    }

    /// The first slot.
    #[inline]
    pub(crate) fn front(&self) -> &Slot {
        &self.slots[0]
    }

    /// The slots that have ever been used, and the first.
    pub(crate) fn used(&self) -> &[Slot] {
        let high = usize::try_from(self.high.load(Acquire)).unwrap_or(SLOTS);
        &self.slots[..=high.min(SLOTS - 1)]
    }

    /// Whether no slot is free.
    pub(crate) fn is_full(&self) -> bool {
        let used = self.used();
        used.len() == SLOTS && !used.iter().any(|slot| is_free(slot.0.word.load(Relaxed)))
    }

    /// The calling thread's.
    pub(crate) fn mine(&self) -> Option<&Slot> {
        let me = thread_id();
        let mut used = self.used().iter();
        used.find(|slot| slot.0.word.load(Relaxed) & THREAD_ID == me)
    }

    /// The calling thread's, or a free one made its own; `None` where all are others'. Inside the gate.
    ///
    /// # Safety
    /// The table stays mapped at this address until the slot is left, or what `until` says has ended.
    pub(crate) unsafe fn claim(&self, alarm: &Alarm, until: Until) -> Option<&Slot> {
        if let Some(mine) = self.mine() {
            return Some(mine);
        }
        let used = self.used();
        let free = used.iter().find(|slot| is_free(slot.0.word.load(Relaxed)));
        let slot = match free {
            Some(slot) => slot,
            None => {
                let next = self.slots.get(used.len())?;
                // Release: nothing; the alarm's ring, which comes after, publishes it.
                alarm.ring(|| {
                    self.high.fetch_add(1, Relaxed);
                });
                next
            }
        };
        slot.sign();
        let me = slot.0.announce();
        slot.0.word.store(me | WAITERS, Release);
        // SAFETY: passed on to the caller; the word was free and so in no list.
        unsafe { slot.0.link(until) };
        Some(slot)
    }

    /// Has `look` look at each slot whose thread is gone, and frees it where that says so. Inside the gate. `look`
    /// may be called again for the same slot, if its caller is killed.
    pub(crate) fn reap(&self, mut look: impl FnMut(&Slot) -> bool) {
        for slot in self.used().iter().filter(|slot| slot.is_dead()) {
            if look(slot) {
                for note in &slot.0.notes[1..] {
                    note.store(0, Relaxed);
                }
                slot.0.word.store(WAITERS, Release);
            }
        }
    }

    /// Marks the slots of a process that has ended, where the kernel has not: each mark wakes one who watches.
    pub(crate) fn sweep(&self, process: u32) {
        let used = self.used().iter();
        for slot in used.filter(|slot| slot.process() == process) {
            slot.0.mark_if_gone();
        }
    }

    /// What a sleeper is to watch; `None` where somebody is dead already.
    pub(crate) fn watch(&self) -> Option<Watch<'_>> {
        let words = self.used().iter().map(|slot| {
            let word = slot.0.word.load(Acquire);
            (!is_dead(word)).then_some((&slot.0.word, word))
        });
        words.collect()
    }
}
