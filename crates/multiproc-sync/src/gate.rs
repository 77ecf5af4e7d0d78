//! The gate: short changes of some words that must be seen together, with an alarm for those who wait for
//! a change, and deaths in the middle of one.
//!
//! # Invariants
//!
//! 1. What is behind a gate is changed by who is inside, a word at a time, such that after each single
//!    store it is as before the whole change or as after it: a death needs no repair.
//! 2. Who enters after a death inside rings the alarm first. The dead may have made its change and not
//!    come to ring, or been about to pass a wake on.
//! 3. Who does not find what it waits for enters, rather than sleep, where the gate is unsettled.
//!
//! # Death
//!
//! Inside, at any instruction: the lock is marked, and passes on; if the alarm was announced, one sleeper
//! is woken, which by 3 enters and by 2 wakes the others. Dead before 2 is done: the lock is marked again.

#![expect(
    unsafe_code,
    reason = "to take a lock is to promise something about memory"
)]

use crate::alarm::Alarm;
use crate::lock::{Held, LockWord, NotTaken};
use crate::primitive::Deadline;

#[repr(C)]
#[derive(Debug)]
pub(crate) struct Gate {
    lock: LockWord,
    pub(crate) alarm: Alarm,
}

/// Holds a lock until dropped, whatever became of it.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a LockWord);

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate {
            lock: LockWord::default(),
            alarm: Alarm::new(),
        }
    }

    /// Enters, or gives up at the deadline.
    ///
    /// # Safety
    /// As [`LockWord::lock`].
    pub(crate) unsafe fn enter(&self, deadline: Deadline) -> Option<Inside<'_>> {
        // SAFETY: passed on to the caller.
        let (inside, held) = unsafe { Inside::of(&self.lock, deadline) }?;
        if held != Held::Sound {
            self.alarm.ring(|| ());
            self.lock.clear_poison();
        }
        Some(inside)
    }

    /// Enters, however long it takes.
    ///
    /// # Safety
    /// As [`LockWord::lock`].
    pub(crate) unsafe fn enter_now(&self) -> Inside<'_> {
        // SAFETY: passed on to the caller.
        let inside = unsafe { self.enter(Deadline::NEVER) };
        inside.expect("a wait without end timed out")
    }

    /// As [`LockWord::sweep`]. Who sleeps looks again, and enters, since the gate is unsettled.
    pub(crate) fn sweep(&self, process: u32) {
        if self.lock.sweep(process) {
            self.alarm.rouse();
        }
    }

    /// Whether somebody rings inside, or died there and nobody has entered since: who sees it enters.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.alarm.is_busy() || self.lock.is_poisoned()
    }
}

impl<'a> Inside<'a> {
    /// Takes `lock`, and says what is said to its taker; or gives up at the deadline.
    ///
    /// # Safety
    /// As [`LockWord::lock`].
    pub(crate) unsafe fn of(lock: &'a LockWord, deadline: Deadline) -> Option<(Inside<'a>, Held)> {
        // SAFETY: passed on to the caller.
        match unsafe { lock.lock(deadline) } {
            Ok(held) => Some((Inside(lock), held)),
            Err(NotTaken::TimedOut) => None,
            Err(error @ NotTaken::WouldDeadlock) => panic!("{error}"),
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // SAFETY: what the lock protects is accessed through `self` only, or is atomics.
        unsafe { self.0.unlock() };
    }
}
