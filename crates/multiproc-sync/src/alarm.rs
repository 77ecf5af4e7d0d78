//! The alarm: where processes sleep until something changes, whoever dies in between.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | the robust word | 0, always: it belongs to nobody, and is announced by who rings and who sleeps |
//! | `state` | what sleepers have seen last; each ring adds [`STEP`], bit 0 is the user's |
//! | `rung` | the newest `state` of which all who slept then were woken |
//! | `asleep` | how many sleep or are about to; too high by the sleepers that were killed |
//! | `busy` | 1 while a change is made, and after the death of who made it |
//!
//! # Invariants
//!
//! 1. A ringer changes `state` before its change and after it, and wakes then; a sleeper reads `state`
//!    before it looks for what it waits for, and sleeps only while `state` is as it was and was not `busy`.
//!    So no change goes unnoticed, nor one whose maker dies before anybody sleeps whom the kernel could
//!    wake.
//! 2. A ringer has the alarm announced from before the change until all are woken. If it dies, the kernel
//!    wakes one sleeper, which finds `rung` to be behind `state`, and wakes the others.
//! 3. A sleeper has the alarm announced until it has done so. If it dies, the kernel wakes the next.
//!
//! # Orderings
//!
//! A ring is Release, a look Acquire. A ringer that finds nobody asleep makes no system call: between its
//! change and its look at `asleep` lies a fence, as between a sleeper's entry there and the kernel's
//! comparison. `rung` and `asleep` are Relaxed: they carry nothing.
//!
//! # Death
//!
//! | killed | what happens |
//! |---|---|
//! | ringing, before the change | one is woken for nothing |
//! | ringing, after it, before all are woken | one is woken, and wakes the others (2) |
//! | asleep | `asleep` stays one too high: a later ring makes a system call for nobody |
//! | woken, before it has woken the others | the kernel wakes one (3) |
//!
//! What is changed in more than one word is not told by `state` alone: see `gate.rs`.

use crate::primitive::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::primitive::{AtomicU32, Deadline, RobustWord, Woken, fence, futex, unheld};

/// Where processes sleep until something changes, in memory that they share; all zeroes is a new one.
///
/// Who changes something that others wait for, under a lock of its own, does so inside [`ring`](Self::ring). Who
/// waits looks at [`now`](Self::now) under that lock, finds that it has to wait, releases the lock, and
/// [sleeps](Self::sleep). Nobody sleeps on after a change, also if who made it or who was woken by it dies at once.
/// A lock whose holder died is to be followed by a ring that changes nothing.
#[repr(C)]
#[derive(Debug)]
pub struct Alarm {
    robust: RobustWord,
}

const STATE: usize = 0;
const RUNG: usize = 1;
const ASLEEP: usize = 2;
const BUSY: usize = 3;

/// What a ring adds to `state`.
pub(crate) const STEP: u32 = 2;

/// Words to sleep on besides an alarm, and what they hold.
pub(crate) type Watch<'a> = Vec<(&'a AtomicU32, u32)>;

impl Alarm {
    /// A new one, for memory of this process.
    pub(crate) fn new() -> Alarm {
        Alarm { robust: unheld() }
    }

    /// The state as it is, to be looked at before what is waited for.
    #[must_use]
    #[inline]
    pub fn now(&self) -> u32 {
        // Acquire: what was changed before the ring; pairs with the Release in `ring` and `ring_once`.
        self.note(STATE).load(Acquire)
    }

    /// Has `change` made and wakes all who sleep. One at a time: inside a gate, or another lock.
    ///
    /// # Panics
    /// If the platform has no robust words ([`multiproc_sys::robust::available`]).
    pub fn ring(&self, change: impl FnOnce()) {
        self.robust.announce();
        self.note(BUSY).store(1, Relaxed);
        let state = self.note(STATE).load(Relaxed);
        // Stores, for nobody else rings. Release: `BUSY`. Whoever looked before this does not sleep, also if the next
        // line is the last.
        self.note(STATE).store(state.wrapping_add(STEP), Release);
        change();
        let state = state.wrapping_add(2 * STEP);
        // Release: what has been changed; pairs with the Acquire in `now`.
        self.note(STATE).store(state, Release);
        self.wake_all(state);
        self.note(BUSY).store(0, Release);
        self.robust.retract();
    }

    /// Whether a ring is under way, or was cut short by a death. To be asked after [`now`](Self::now), by
    /// who is outside the gate; such a one does not sleep.
    pub(crate) fn is_busy(&self) -> bool {
        self.note(BUSY).load(Acquire) != 0
    }

    /// Rings and sets bit 0, unless it is set.
    pub(crate) fn ring_once(&self) {
        self.robust.announce();
        let mut now = self.note(STATE).load(Relaxed);
        while now & 1 == 0 {
            let set = now.wrapping_add(STEP) | 1;
            // Release: what the caller did before; pairs with the Acquire in `now`.
            match self
                .note(STATE)
                .compare_exchange(now, set, Release, Relaxed)
            {
                Ok(_) => now = set,
                Err(changed) => now = changed,
            }
        }
        // Also where another has set it, who may be dead or stopped before its wake.
        if self.note(RUNG).load(Relaxed) != now & !1 {
            self.wake_all(now);
        }
        self.robust.retract();
    }

    /// Clears bit 0.
    pub(crate) fn clear(&self) {
        self.note(STATE).fetch_and(!1, Release);
    }

    /// Sleeps while the state is `seen` and the others hold what stands beside them.
    ///
    /// # Panics
    /// As [`ring`](Self::ring); and if there are more than 126 others.
    pub fn sleep(&self, seen: u32, others: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
        let mut words = Watch::with_capacity(others.len() + 2);
        words.push((self.note(STATE), seen));
        words.push((&self.robust.word, 0));
        words.extend_from_slice(others);
        self.robust.announce();
        self.note(ASLEEP).fetch_add(1, Relaxed);
        fence(SeqCst);
        let woken = futex::wait_any(&words, deadline);
        self.note(ASLEEP).fetch_sub(1, Relaxed);
        let now = self.note(STATE).load(Relaxed);
        if self.note(RUNG).load(Relaxed) != now & !1 {
            self.wake_all(now);
        }
        self.robust.retract();
        woken
    }

    /// Says that the caller, or somebody on its behalf, will sleep on [`word`](Self::word) while it holds what this
    /// gives, until [`unwatch`](Self::unwatch): for sleeps on other things besides, which no [`sleep`](Self::sleep)
    /// can be on.
    ///
    /// Of a change whose maker dies at once such a sleeper may not be told. In exchange it owes the others nothing.
    #[must_use = "what the word holds until something changes"]
    pub fn watch(&self) -> u32 {
        self.note(ASLEEP).fetch_add(1, Relaxed);
        fence(SeqCst);
        self.now()
    }

    /// What sleepers sleep on.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        self.note(STATE)
    }

    /// The sleep that [`watch`](Self::watch) has announced is over.
    pub fn unwatch(&self) {
        self.note(ASLEEP).fetch_sub(1, Relaxed);
    }

    /// Has all who sleep look again.
    pub(crate) fn rouse(&self) {
        futex::wake(self.note(STATE), u32::MAX);
    }

    /// Ends a [`ring_once`](Self::ring_once) that was cut short.
    pub(crate) fn sweep(&self) {
        let now = self.note(STATE).load(Acquire);
        if self.note(RUNG).load(Relaxed) != now & !1 {
            self.rouse();
        }
    }

    fn wake_all(&self, state: u32) {
        fence(SeqCst);
        if self.note(ASLEEP).load(Relaxed) != 0 {
            futex::wake(self.note(STATE), u32::MAX);
        }
        self.note(RUNG).store(state & !1, Relaxed);
    }

    #[inline]
    fn note(&self, which: usize) -> &AtomicU32 {
        &self.robust.notes[which]
    }
}
