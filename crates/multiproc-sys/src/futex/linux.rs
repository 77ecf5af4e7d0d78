//! `FUTEX_WAIT_BITSET`, `FUTEX_WAKE` and `futex_waitv`, all without the private flag.
//!
//! Where `futex_waitv` (Linux 5.16) is missing, several words are watched by waiting on the first
//! and looking at the others every millisecond.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::Deadline;
use crate::syscall::check;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Woken, interrupted by a signal, or a word no longer held what was expected.
    Look,
    /// The deadline passed.
    TimedOut,
}

/// How many words [`wait_any`] takes at most.
pub const MAX_WORDS: usize = 128;

/// Between two looks at the words where the kernel cannot watch several.
const RECHECK: Duration = Duration::from_millis(1);

/// Sleeps while `word` holds `expected`, until [`wake`] or the deadline.
pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Woken {
    let timeout = deadline.timespec();
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `word` is live and aligned; `timeout` is null or a live timespec. The kernel only
    // reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            timeout,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    outcome(check(result).map(drop))
}

/// Wakes at most `count` waiters of `word` and says how many there were.
pub fn wake(word: &AtomicU32, count: u32) -> usize {
    // The kernel reads the count as a signed number.
    let count = count.min(i32::MAX.cast_unsigned());
    // SAFETY: `word` is live and aligned; the kernel uses its address as a key and reads nothing.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    usize::try_from(woken).unwrap_or(0)
}

/// Sleeps while every word holds the value beside it, until one of them is woken or the deadline.
///
/// # Panics
/// If there are no words, or more than [`MAX_WORDS`].
pub fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
    assert!(
        !words.is_empty() && words.len() <= MAX_WORDS,
        "1 to {MAX_WORDS} words can be watched"
    );
    if waitv_missing() {
        return wait_rechecking(words, deadline);
    }
    match waitv(words, deadline) {
        // EPERM: a filter of system calls that does not know it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            WAITV_MISSING.store(true, Ordering::Relaxed);
            wait_rechecking(words, deadline)
        }
        result => outcome(result),
    }
}

/// Set once the kernel has said that it has no `futex_waitv`. Relaxed: only a cache of that answer.
static WAITV_MISSING: AtomicBool = AtomicBool::new(false);

fn waitv_missing() -> bool {
    cfg!(multiproc_force_no_waitv) || WAITV_MISSING.load(Ordering::Relaxed)
}

/// `struct futex_waitv` of the kernel's interface.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// `FUTEX2_SIZE_U32`; without `FUTEX2_PRIVATE` the word may be shared.
const SIZE_U32: u32 = 2;

fn waitv(words: &[(&AtomicU32, u32)], deadline: Deadline) -> io::Result<()> {
    // As most waits have: filling in three kilobytes takes some time.
    const FEW: usize = 4;
    match words.len() {
        0..=FEW => waitv_of_at_most::<FEW>(words, deadline),
        _ => waitv_of_at_most::<MAX_WORDS>(words, deadline),
    }
}

fn waitv_of_at_most<const MOST: usize>(
    words: &[(&AtomicU32, u32)],
    deadline: Deadline,
) -> io::Result<()> {
    let mut waiters = [Waiter {
        value: 0,
        address: 0,
        flags: SIZE_U32,
        reserved: 0,
    }; MOST];
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        waiter.value = u64::from(*expected);
        waiter.address = word.as_ptr().addr() as u64;
    }
    let timeout = deadline.timespec();
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the first `words.len()` entries describe live, aligned words; `timeout` is null or a
    // live timespec. The kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            words.len(),
            0,
            timeout,
            libc::CLOCK_MONOTONIC,
        )
    };
    check(result).map(drop)
}

fn wait_rechecking(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
    let (first, expected) = words[0];
    loop {
        // Acquire: pairs with whatever release made the word change; the caller looks again anyway.
        if words
            .iter()
            .any(|(word, expected)| word.load(Ordering::Acquire) != *expected)
        {
            return Woken::Look;
        }
        if deadline.has_passed() {
            return Woken::TimedOut;
        }
        if wait(first, expected, deadline.or(Deadline::after(RECHECK))) == Woken::Look {
            return Woken::Look;
        }
    }
}

fn outcome(result: io::Result<()>) -> Woken {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => Woken::TimedOut,
        // EAGAIN: the word differs. EINTR: a signal. Anything else is looked into by the caller's
        // next look at the word; there is nothing to hand on.
        _ => Woken::Look,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_differs_does_not_sleep() {
        let word = AtomicU32::new(1);
        assert_eq!(wait(&word, 0, Deadline::NEVER), Woken::Look);
        let other = AtomicU32::new(5);
        assert_eq!(
            wait_any(&[(&word, 1), (&other, 4)], Deadline::NEVER),
            Woken::Look
        );
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let word = AtomicU32::new(1);
        let soon = || Deadline::after(Duration::from_millis(3));
        assert_eq!(wait(&word, 1, soon()), Woken::TimedOut);
        assert_eq!(wait_any(&[(&word, 1), (&word, 1)], soon()), Woken::TimedOut);
        assert_eq!(
            wait_rechecking(&[(&word, 1), (&word, 1)], soon()),
            Woken::TimedOut
        );
    }

    #[test]
    fn any_of_several_words_wakes() {
        for waiting in [wait_any, wait_rechecking] {
            let words = [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)];
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    words[2].store(1, Ordering::Release);
                    wake(&words[2], 1);
                });
                while words[2].load(Ordering::Acquire) == 0 {
                    let watched = [(&words[0], 0), (&words[1], 0), (&words[2], 0)];
                    assert_eq!(waiting(&watched, Deadline::NEVER), Woken::Look);
                }
            });
        }
    }
}
