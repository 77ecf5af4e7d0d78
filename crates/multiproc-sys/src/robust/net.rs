//! The second net: words of a dead process that the kernel has not marked, found by who learns of its end.
//!
//! The kernel follows the list of each thread that ends, and that is where it stops: at what is not in the
//! list, and at a link that leads nowhere. A word is missed
//!
//! - where another process has overwritten a link that lies in memory shared with it;
//! - where something in the process has replaced the thread's list (`set_robust_list`) after we joined it;
//! - where a C library's own robust mutexes, more than a thousand held at a time by the same thread, come
//!   before ours: the kernel follows 2048 links, and ours are [`MAX_HELD`](super::MAX_HELD) at most;
//! - on Linux before 5.18, where the OOM killer has taken the process's memory before its threads ended.
//!
//! Who learns of the end of a process calls [`process_ended`]; who maps words registers a function that looks
//! at each of them, and has [`RobustWord::mark_if_gone`] do what the kernel would have done.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Mutex, PoisonError};

use super::{OWNER_DIED, RobustWord, THREAD_ID, WAITERS};
use crate::futex;

static SWEEPS: Mutex<Vec<fn(u32)>> = Mutex::new(Vec::new());

/// Has `sweep` called with the number of each process whose end this process learns of, before others are
/// told of the end.
pub fn on_process_end(sweep: fn(u32)) {
    let mut sweeps = SWEEPS.lock().unwrap_or_else(PoisonError::into_inner);
    sweeps.push(sweep);
}

/// Tells that `process` has ended: none of its threads will run again.
pub fn process_ended(process: u32) {
    // Held during the sweeps: one at a time.
    let sweeps = SWEEPS.lock().unwrap_or_else(PoisonError::into_inner);
    for sweep in sweeps.iter() {
        sweep(process);
    }
}

impl RobustWord {
    /// Marks the word and wakes one who waits for it, if its holder is a thread that is no more. Says
    /// whether it did.
    ///
    /// To be called by one process at a time: for a word of a child's, by its parent. The word is then
    /// as the dead left it, and nobody else takes it from there.
    pub fn mark_if_gone(&self) -> bool {
        let mut now = self.word.load(Relaxed);
        let holder = now & THREAD_ID;
        if holder == 0 || !is_gone(holder) {
            return false;
        }
        while now & THREAD_ID == holder {
            let marked = now & WAITERS | OWNER_DIED;
            // Those who wait may set their bit meanwhile. AcqRel, as the kernel's.
            match self.word.compare_exchange(now, marked, AcqRel, Relaxed) {
                Ok(_) => {
                    futex::wake(&self.word, 1);
                    return true;
                }
                Err(changed) => now = changed,
            }
        }
        false
    }
}

/// Whether no process has a thread of this number.
fn is_gone(thread: u32) -> bool {
    let thread = thread.cast_signed();
    // SAFETY: no pointer is passed; signal 0 goes to nobody. Linux finds a process by any of its threads.
    let result = unsafe { libc::kill(thread, 0) };
    result != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}
