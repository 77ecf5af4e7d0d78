//! A pipe whose write end only the parent holds. The kernel signals the owner of a read end when the
//! last writer is gone (`O_ASYNC`), with the signal it was told to use: SIGKILL.
//!
//! One pipe serves all children: for each the read end is opened anew through `/proc/self/fd`, since the owner
//! and the signal belong to the open file and not to the pipe; by the parent, to whom its `/proc` is known
//! already (30 µs less than by a child). Nobody writes to it: a byte would kill.
//! A process that the parent forks without exec holds the write end too and delays the signal until
//! it ends, unless it lets go ([`after_fork`]); no other way of starting one passes it on (close-on-exec from birth).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use crate::clock::Deadline;
use crate::handle::{Interest, poll};
use crate::syscall::check;

/// From `asm-generic/fcntl.h`; the libc crate has no name for it.
const F_SETSIG: libc::c_int = 10;

struct Pipe {
    made_by: u32,
    read: &'static OwnedFd,
    write: RawFd,
}

/// Made at the first start and never closed: its end *is* this process's end. A forked child of this
/// process that starts children makes its own.
static PIPE: Mutex<Option<Pipe>> = Mutex::new(None);

/// A handle for one child, which is to [`hold`] it.
///
/// # Errors
/// Too many open files.
pub fn share() -> io::Result<OwnedFd> {
    share_again(source()?)
}

/// Another handle for one child, of the same parent as `shared`.
///
/// # Errors
/// As [`share`].
pub fn share_again(shared: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    Ok(OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?
        .into())
}

/// The pipe's read end.
fn source() -> io::Result<BorrowedFd<'static>> {
    let mut pipe = PIPE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let own = std::process::id();
    if let Some(pipe) = pipe.as_ref().filter(|pipe| pipe.made_by == own) {
        return Ok(pipe.read.as_fd());
    }
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: just made, nobody else's.
    let read = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // The write end, `fds[1]`, stays open for the life of this process: nothing ever owns it.
    let read: &'static OwnedFd = Box::leak(Box::new(read));
    *pipe = Some(Pipe {
        made_by: own,
        read,
        write: fds[1],
    });
    Ok(read.as_fd())
}

/// In a child that was forked by this library's own means, right after the fork: lets go of what keeps the
/// parent's pipe open, so that the parent's end is seen.
///
/// # Safety
/// In the child of a fork, by its only thread, of which nothing that was under way in the parent goes on.
pub unsafe fn after_fork() {
    let mut pipe = PIPE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let own = std::process::id();
    let Some(parents) = pipe.take_if(|pipe| pipe.made_by != own) else {
        return;
    };
    // SAFETY: no pointer is passed. Nothing in this process owns the number: it is the copy of what its
    // parent keeps open for its own life.
    unsafe { libc::close(parents.write) };
    // SAFETY: open; what refers to it is of the parent's calls, which do not go on here (the caller's promise), and
    // the value it refers to is never dropped.
    drop(unsafe { OwnedFd::from_raw_fd(parents.read.as_raw_fd()) });
}

/// Closes a forked process's copy of what its parent [`hold`]s.
///
/// # Safety
/// In the child of a fork, of a handle that `hold` has given before it; the handle is not used again there.
pub unsafe fn close_copy(held: BorrowedFd<'static>) {
    // SAFETY: no pointer is passed. Nothing owns the number (`hold` has let go of it), and nobody uses it.
    unsafe { libc::close(held.as_raw_fd()) };
}

/// Ties this process and its process group to the parent whose [`share`]d handle this is. The handle that
/// is given is for [`Interest::End`] alone: its other side is gone once the parent is.
///
/// # Errors
/// Where the kernel refuses; `BrokenPipe` where the parent is gone already.
pub fn hold(own: OwnedFd) -> io::Result<BorrowedFd<'static>> {
    let fd = own.as_raw_fd();
    // SAFETY: takes nothing, cannot fail.
    let group = unsafe { libc::getpgrp() };
    let settings = [
        (F_SETSIG, libc::SIGKILL),
        (libc::F_SETOWN, -group),
        (libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK),
    ];
    for (command, value) in settings {
        // SAFETY: the descriptor is open; no pointer is passed.
        check(unsafe { libc::fcntl(fd, command, value) })?;
    }
    // The parent may have ended before the kernel was told whom to signal.
    let [found] = poll([(own.as_fd(), Interest::End)], Deadline::now())?;
    if found.ended {
        return Err(io::Error::new(
            io::ErrorKind::BrokenPipe,
            "the parent ended during the start",
        ));
    }
    // Open for the life of this process.
    let own = own.into_raw_fd();
    // SAFETY: open, and nothing owns it that could close it.
    Ok(unsafe { BorrowedFd::borrow_raw(own) })
}
