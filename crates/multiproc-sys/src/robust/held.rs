//! What the threads of this process hold, known privately: to the thread in the order of its list, and to
//! the process as a whole.
//!
//! Others look at a thread's slots for one reason: memory is about to be unmapped, and a word in it may
//! still be in a list, since the value that was to let it go has been leaked. Such a word was written to
//! its slot before the leak, and stays there; whoever gives up the memory does so after the leak. So the
//! slots need no more than Relaxed, and letting go of other words does not disturb. Only
//! [`Held::make_room`] moves words, under the same lock as the look.

use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::{iter, ptr};

use super::{RobustWord, is_thread_of_this_process};

type Slots = Arc<[AtomicPtr<RobustWord>]>;

/// How many slots a thread begins with. More than a program holds at a time, as a rule.
const FEW: usize = 16;

/// The words that the calling thread holds, oldest first. A slot is empty where a word was let go before a
/// younger one.
pub(super) struct Held {
    slots: Slots,
    /// Behind the last slot in use.
    top: usize,
    count: usize,
}

/// A word's place in the list, by those beside it.
pub(super) struct Place {
    pub(super) newer: Option<*const RobustWord>,
    pub(super) older: Option<*const RobustWord>,
}

/// Marks a word that its process holds until it ends, whatever becomes of the thread.
const PROCESS: usize = 1;

fn bare(word: *const RobustWord) -> *const RobustWord {
    word.map_addr(|address| address & !PROCESS)
}

impl Held {
    pub(super) fn of(thread: u32) -> Held {
        let slots = slots([], FEW);
        let mut known = known();
        known.retain(|known| !known.ends || is_thread_of_this_process(known.thread));
        known.push(Known {
            thread,
            slots: Arc::clone(&slots),
            ends: false,
        });
        drop(known);
        Held {
            slots,
            top: 0,
            count: 0,
        }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn newest(&self) -> Option<*const RobustWord> {
        let last = self.top.checked_sub(1)?;
        Some(bare(self.slots[last].load(Relaxed)))
    }

    #[inline]
    pub(super) fn push(&mut self, word: &RobustWord, until_process_ends: bool) {
        if self.top == self.slots.len() {
            self.make_room();
        }
        let mark = if until_process_ends { PROCESS } else { 0 };
        let word = ptr::from_ref(word).map_addr(|address| address | mark);
        self.slots[self.top].store(word.cast_mut(), Relaxed);
        self.top += 1;
        self.count += 1;
    }

    #[inline]
    pub(super) fn remove(&mut self, word: *const RobustWord) -> Option<Place> {
        let last = self.top.checked_sub(1)?;
        if !ptr::eq(bare(self.slots[last].load(Relaxed)), word) {
            return self.remove_older(word);
        }
        self.slots[last].store(ptr::null_mut(), Relaxed);
        self.count -= 1;
        self.top = last;
        while let Some(before) = self.top.checked_sub(1) {
            let older = bare(self.slots[before].load(Relaxed));
            if !older.is_null() {
                return Some(Place {
                    newer: None,
                    older: Some(older),
                });
            }
            self.top = before;
        }
        Some(Place {
            newer: None,
            older: None,
        })
    }

    /// One that is not the newest.
    #[cold]
    fn remove_older(&mut self, word: *const RobustWord) -> Option<Place> {
        let mut newer = None;
        let mut at = self.top;
        loop {
            at = at.checked_sub(1)?;
            match bare(self.slots[at].load(Relaxed)) {
                found if ptr::eq(found, word) => break,
                empty if empty.is_null() => {}
                younger => newer = Some(younger),
            }
        }
        self.slots[at].store(ptr::null_mut(), Relaxed);
        let older = self.slots[..at]
            .iter()
            .rposition(|slot| !slot.load(Relaxed).is_null());
        self.count -= 1;
        Some(Place {
            newer,
            older: older.map(|older| bare(self.slots[older].load(Relaxed))),
        })
    }

    /// A word that its process holds until it ends.
    pub(super) fn of_the_process(&self) -> Option<*const RobustWord> {
        let words = self.slots[..self.top].iter().map(|slot| slot.load(Relaxed));
        words
            .rev()
            .find(|word| word.addr() & PROCESS != 0)
            .map(|word| bare(word))
    }

    #[cold]
    fn make_room(&mut self) {
        let mut known = known();
        let words: Vec<_> = self.slots.iter().map(|slot| slot.load(Relaxed)).collect();
        let words = words.into_iter().filter(|word| !word.is_null());
        let slots = slots(words, FEW.max(self.count * 2));
        for known in known
            .iter_mut()
            .filter(|known| Arc::ptr_eq(&known.slots, &self.slots))
        {
            known.slots = Arc::clone(&slots);
        }
        self.top = self.count;
        self.slots = slots;
    }
}

impl Drop for Held {
    /// At the thread's end. What it holds to the last stays known until the kernel has let it go.
    fn drop(&mut self) {
        let mut known = known();
        let mine = |known: &Known| Arc::ptr_eq(&known.slots, &self.slots);
        if self.count == 0 {
            known.retain(|known| !mine(known));
        } else if let Some(known) = known.iter_mut().find(|known| mine(known)) {
            known.ends = true;
        }
    }
}

fn slots(words: impl IntoIterator<Item = *mut RobustWord>, capacity: usize) -> Slots {
    let empty = iter::repeat(ptr::null_mut());
    words
        .into_iter()
        .chain(empty)
        .take(capacity)
        .map(AtomicPtr::new)
        .collect()
}

struct Known {
    thread: u32,
    slots: Slots,
    /// The thread holds what it holds until it is gone, and no more.
    ends: bool,
}

/// Those of this process; null in a forked child, whose threads are others.
static KNOWN: AtomicPtr<Mutex<Vec<Known>>> = AtomicPtr::new(ptr::null_mut());

fn known() -> std::sync::MutexGuard<'static, Vec<Known>> {
    // SAFETY: null, or leaked below.
    let known = unsafe { KNOWN.load(Acquire).as_ref() }.unwrap_or_else(|| {
        let new: *mut _ = Box::leak(Box::default());
        // Release: the new one; pairs with the Acquire here and above.
        let known = match KNOWN.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
            Ok(_) => new,
            Err(other) => other,
        };
        // SAFETY: leaked by this thread or another.
        unsafe { &*known }
    });
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the child, right after a fork: async-signal-safe.
pub(super) fn forget_after_fork() {
    KNOWN.store(ptr::null_mut(), Release);
}

/// Whether a thread of this process has a word in its list that lies in the `length` bytes from `first`
/// on. For memory that nobody uses any more but through what was leaked: it must stay mapped then.
#[must_use]
pub fn holds_within(first: *const u8, length: usize) -> bool {
    let range = first.addr()..first.addr().saturating_add(length);
    let mut inside = false;
    known().retain(|known| {
        let mut words = known.slots.iter().map(|slot| bare(slot.load(Relaxed)));
        if !words.any(|word| range.contains(&word.addr())) {
            return true;
        }
        let lives = is_thread_of_this_process(known.thread);
        inside |= lives;
        lives
    });
    inside
}
