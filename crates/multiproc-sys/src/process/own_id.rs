//! This process's number, which the kernel is not asked for each time.
//!
//! It is kept in a page that the kernel empties in the memory of a forked child (`MADV_WIPEONFORK`, Linux 4.14), by whatever
//! call that was forked: the C library's, a bare system call, one that runs no handlers of `pthread_atfork`. Where there is
//! no such page the kernel is asked.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of this process: that of the child, in a forked child. A load, where `std::process::id` is a system call.
///
/// A child of `vfork`, which runs in its parent's memory, is told its parent's.
#[must_use]
#[inline]
pub fn own_id() -> u32 {
    static WORD: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();
    let Some(word) = WORD.get_or_init(wiped_word) else {
        return std::process::id();
    };
    // Relaxed, here and below: every thread of the process stores the same.
    match word.load(Ordering::Relaxed) {
        0 => ask(word),
        known => known,
    }
}

#[cold]
fn ask(word: &AtomicU32) -> u32 {
    let id = std::process::id();
    word.store(id, Ordering::Relaxed);
    id
}

/// A word that is 0, and is 0 again in every forked child; never unmapped.
#[cold]
fn wiped_word() -> Option<&'static AtomicU32> {
    // The kernel makes whole pages of it.
    const LENGTH: usize = size_of::<AtomicU32>();
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that is there.
    let page = unsafe { libc::mmap(ptr::null_mut(), LENGTH, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page was just mapped, and nobody else knows of it.
    if unsafe { libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above; it is not used any more.
        unsafe { libc::munmap(page, LENGTH) };
        return None;
    }
    // SAFETY: a page is aligned for a word and longer than one, is zero, and stays mapped.
    Some(unsafe { &*page.cast::<AtomicU32>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a child made by this fork knows its own number, and its parent's was known before.
    fn is_told_apart(fork: impl FnOnce() -> libc::c_long) -> bool {
        assert_eq!(own_id(), std::process::id());
        let child = fork();
        if child == 0 {
            let right = own_id() == std::process::id() && own_id() == std::process::id();
            // SAFETY: ends the child, which has nothing to clean up.
            unsafe { libc::_exit(i32::from(!right)) }
        }
        let child = libc::pid_t::try_from(child).expect("a process");
        let mut status = -1;
        // SAFETY: the status is a live integer; the child is this test's own.
        let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(own_id(), std::process::id());
        reaped == child && status == 0
    }

    #[test]
    fn a_forked_child_is_told_its_own_number_however_it_was_forked() {
        // SAFETY: the child calls what `is_told_apart` does, which is loads, stores and system calls.
        assert!(is_told_apart(|| unsafe { libc::fork() }.into()));
        // SAFETY: as above; with no flags but the signal of its end, and no stack, it is a fork without the C library.
        let bare = || unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        assert!(is_told_apart(bare));
    }
}
