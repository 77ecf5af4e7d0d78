//! The process between a test and the program it runs: it adopts every orphan of the program's tree and reaps it.
//!
//! The test process cannot do this itself: its own children and the orphans of several programs would all be
//! alike. Below a reaper of its own, a tree is exact: whatever is below the reaper belongs to that one program.
//!
//! # Steps
//! 1. The test's thread forks; the child is the reaper. It becomes child subreaper and forks the program's process.
//! 2. The program's process leads a group of its own and goes on to `exec`.
//! 3. The reaper reports the program's id, reaps until no child is left, reports the program's status when it comes by,
//!    and exits. The end of the report is the end of the whole tree.
//!
//! # Death
//! The reaper dies with the test's thread that started it, and the program with the reaper (`PR_SET_PDEATHSIG`), so a
//! test that is killed leaves no program behind. What the program started is then the program's own affair.
//!
//! # Fork safety
//! Everything here runs between `fork` and `exec`, or instead of `exec`: system calls only, no allocation, no lock.

use std::io;
use std::os::fd::RawFd;

/// Length of each of the two numbers in the report: the program's id, then its raw wait status.
pub(crate) const REPORT_NUMBER: usize = size_of::<libc::c_int>();

/// Splits the forked child in two. Returns in the program's process only, ready to `exec`; the other half is the
/// reaper, which writes to `report`, holds no other descriptor, and never returns.
///
/// # Errors
/// When the kernel refuses one of the steps; nothing is left running then.
pub(crate) fn split(report: RawFd) -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    die_with_parent()?;
    match fork()? {
        0 => {
            lead_a_group()?;
            die_with_parent()
        }
        program => reap_all(program, report),
    }
}

fn reap_all(program: libc::pid_t, report: RawFd) -> ! {
    // The pipe over which the standard library learns of a failed `exec` is among what is closed here: held open, it
    // would keep the test waiting for as long as this process lives.
    if !close_all_but(report) {
        exit(1);
    }
    write_number(report, program);
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live local that the kernel may write.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if reaped == program {
            write_number(report, status);
        } else if reaped == -1 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            exit(0);
        }
    }
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take one number, as wide as a register, and no pointer.
    check(unsafe { libc::prctl(option, value) })
}

fn die_with_parent() -> io::Result<()> {
    const KILL: libc::c_ulong = libc::SIGKILL.unsigned_abs() as libc::c_ulong;
    prctl(libc::PR_SET_PDEATHSIG, KILL)
}

fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: this process is itself a fresh fork with one thread; both sides go on with system calls only.
    let pid = unsafe { libc::fork() };
    check(pid.min(0))?;
    Ok(pid)
}

fn lead_a_group() -> io::Result<()> {
    // SAFETY: `setpgid` takes two numbers.
    check(unsafe { libc::setpgid(0, 0) })
}

fn close_all_but(keep: RawFd) -> bool {
    let Ok(keep) = libc::c_uint::try_from(keep) else {
        return false;
    };
    (keep == 0 || close_range(0, keep - 1)) && close_range(keep + 1, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> bool {
    // SAFETY: nothing in this process uses a descriptor other than the report, which is outside the range.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

fn write_number(report: RawFd, number: libc::c_int) {
    let bytes = number.to_ne_bytes();
    // SAFETY: the pointer and length are those of a live local.
    // A report that is closed has no reader left; there is nobody to tell.
    let _unread = unsafe { libc::write(report, bytes.as_ptr().cast(), REPORT_NUMBER) };
}

fn exit(status: libc::c_int) -> ! {
    // SAFETY: `_exit` runs no handler of the test process this one is a copy of.
    unsafe { libc::_exit(status) }
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
