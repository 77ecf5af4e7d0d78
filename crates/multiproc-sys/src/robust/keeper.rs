//! Who holds a word for its process when the thread that took it has ended.
//!
//! A value that gives access to memory on the strength of a word can be leaked, and the references that
//! came from it be used by other threads. The kernel lets the word go at its thread's end. So before that
//! the word is handed to a thread that does nothing else, and ends with the process.
//!
//! # Protocol
//!
//! One word at a time. The process can be killed between any two steps; both threads are then gone.
//!
//! | step | by | the word's id | in the list of | announced by |
//! |---|---|---|---|---|
//! | [`ASKED`] | the thread that ends | its | its | nobody |
//! | the word is announced, and renamed | the keeper | the keeper's | the other | the keeper |
//! | [`RENAMED`]; the word is unlinked | the thread that ends | the keeper's | nobody | the keeper |
//! | [`LEFT`]; the word is linked | the keeper | the keeper's | the keeper | nobody |
//! | [`IDLE`] | the keeper | | | |

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};
use std::sync::{Mutex, PoisonError};
use std::{ptr, thread};

use super::{MAX_HELD, RobustWord, THREAD_ID, Until, held_by_this_thread, thread_id};
use crate::clock::Deadline;
use crate::futex;

#[derive(Default)]
struct Desk {
    step: AtomicU32,
    word: AtomicPtr<RobustWord>,
    /// One at a time. Says whether the keeper has been started.
    turn: Mutex<bool>,
}

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const RENAMED: u32 = 2;
const LEFT: u32 = 3;
/// The keeper holds as many words as it can.
const REFUSED: u32 = 4;

/// This process's; null in a forked child, which has no keeper yet.
static DESK: AtomicPtr<Desk> = AtomicPtr::new(ptr::null_mut());

/// In the child, right after a fork: async-signal-safe.
pub(super) fn forget_after_fork() {
    DESK.store(ptr::null_mut(), Release);
}

/// Hands over a word of the calling thread, which takes it out of its list in `unlink`.
///
/// Where there can be no keeper, for want of threads, the word stays with the id of a thread that is gone,
/// in no list: it is nobody's for the rest of the process's life, as it must be, and afterwards too, until
/// somebody notices.
///
/// # Safety
/// The word stays mapped at this address until the process has ended.
pub(super) unsafe fn adopt(word: &RobustWord, unlink: impl FnOnce()) {
    let desk = desk();
    let mut started = desk.turn.lock().unwrap_or_else(PoisonError::into_inner);
    if !*started {
        let keeper = thread::Builder::new().name("multiproc-keep".to_owned());
        *started = keeper.spawn(|| keep(desk)).is_ok();
    }
    if *started {
        desk.word.store(ptr::from_ref(word).cast_mut(), Relaxed);
        desk.go(ASKED);
        let answer = desk.leave(ASKED);
        unlink();
        if answer == RENAMED {
            desk.go(LEFT);
            desk.leave(LEFT);
        } else {
            desk.go(IDLE);
        }
    } else {
        unlink();
    }
}

fn desk() -> &'static Desk {
    // SAFETY: null, or leaked below.
    if let Some(desk) = unsafe { DESK.load(Acquire).as_ref() } {
        return desk;
    }
    let new: *mut Desk = Box::leak(Box::default());
    // Release: the new one; pairs with the Acquire here and above.
    let desk = match DESK.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire) {
        Ok(_) => new,
        Err(other) => other,
    };
    // SAFETY: leaked by this thread or another.
    unsafe { &*desk }
}

fn keep(desk: &Desk) {
    loop {
        desk.until(ASKED);
        if held_by_this_thread() == MAX_HELD {
            desk.go(REFUSED);
            continue;
        }
        // SAFETY: who asks vouches for it.
        let word = unsafe { &*desk.word.load(Relaxed) };
        word.announce();
        let rename = |now: u32| Some(now & !THREAD_ID | thread_id());
        // Relaxed: nothing passes from one thread to the other.
        let _renamed = word.word.fetch_update(Relaxed, Relaxed, rename);
        desk.go(RENAMED);
        desk.until(LEFT);
        // SAFETY: as above; the word is in no list any more.
        unsafe { word.link(Until::ThreadEnds) };
        desk.go(IDLE);
    }
}

impl Desk {
    /// Release: what was done before; pairs with the Acquire in `leave`.
    fn go(&self, step: u32) {
        self.step.store(step, Release);
        futex::wake(&self.step, u32::MAX);
    }

    /// Waits until the step is another, and says which.
    fn leave(&self, step: u32) -> u32 {
        loop {
            match self.step.load(Acquire) {
                now if now == step => futex::wait(&self.step, now, Deadline::NEVER),
                now => return now,
            };
        }
    }

    fn until(&self, step: u32) {
        let mut now = self.step.load(Acquire);
        while now != step {
            now = self.leave(now);
        }
    }
}
