//! pidfds: opened right after the start, before anybody can have reaped the child.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ExitStatus;
use crate::clock::Deadline;
use crate::handle::{Interest, poll};
use crate::syscall::{check, restarting};

/// A child of this process that was started and may have ended.
///
/// As a handle it is readable once the child has ended.
#[derive(Debug)]
pub struct Waiter {
    pidfd: OwnedFd,
    pid: u32,
}

impl Waiter {
    /// For a child that has just been started by this process and that nobody waits for.
    ///
    /// # Errors
    /// What `pidfd_open` answers: too many open files; no such process where SIGCHLD is ignored and
    /// the child has ended already.
    pub fn new(pid: u32) -> io::Result<Waiter> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: just made (closed on exec, as every pidfd), nobody else's.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Waiter { pidfd, pid })
    }

    /// The child's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the child has ended; `false` at the deadline. The child is not reaped.
    ///
    /// # Errors
    /// What `ppoll` answers.
    pub fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        Ok(poll([(self.as_fd(), Interest::Read)], deadline)?[0].any())
    }

    /// Reaps the child if it has ended. Only the first success reaps; the caller keeps the answer.
    ///
    /// # Errors
    /// What `waitid` answers; a status that is lost is [`ExitStatus::UNKNOWN`] and no error.
    pub fn try_reap(&self) -> io::Result<Option<ExitStatus>> {
        // SAFETY: a plain C structure of which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = self.pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: `info` is live and the call fills it.
        let result = restarting(|| unsafe {
            libc::waitid(
                libc::P_PIDFD,
                id,
                &raw mut info,
                libc::WEXITED | libc::WNOHANG,
            )
        });
        match result {
            Ok(_) if info.si_signo == 0 => Ok(None),
            Ok(_) => {
                // SAFETY: `waitid` has filled the fields of a SIGCHLD.
                let status = unsafe { info.si_status() };
                Ok(Some(match info.si_code {
                    libc::CLD_EXITED => ExitStatus::from_code(status),
                    code => ExitStatus::from_signal(status, code == libc::CLD_DUMPED),
                }))
            }
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                self.status_without_reaping()
            }
            Err(error) => Err(error),
        }
    }

    /// For a child that somebody else has reaped, or the kernel since SIGCHLD is ignored.
    fn status_without_reaping(&self) -> io::Result<Option<ExitStatus>> {
        if !self.wait(Deadline::now())? {
            return Ok(None);
        }
        Ok(Some(self.kept_status().unwrap_or(ExitStatus::UNKNOWN)))
    }

    /// The status that a kernel from 6.15 on keeps with the pidfd.
    fn kept_status(&self) -> Option<ExitStatus> {
        /// `struct pidfd_info` of the kernel's interface, in its first published size.
        #[repr(C)]
        struct Info {
            mask: u64,
            cgroup: u64,
            ids: [u32; 11],
            exit_code: i32,
        }
        const EXIT: u64 = 1 << 3;
        const GET_INFO: libc::c_ulong = 0xc040_ff0b;
        const { assert!(size_of::<Info>() == 64) };
        let mut info = Info {
            mask: EXIT,
            cgroup: 0,
            ids: [0; 11],
            exit_code: 0,
        };
        // SAFETY: the request's number carries the size of `info`, which is live and writable.
        let result = unsafe { libc::ioctl(self.pidfd.as_raw_fd(), GET_INFO, &raw mut info) };
        (result == 0 && info.mask & EXIT != 0).then(|| ExitStatus::from_wait_status(info.exit_code))
    }

    /// The status with which the child is about to end, if it is already certain: long before its
    /// memory is torn down and it can be reaped. Meant for a child whose death word has fired.
    #[must_use]
    pub fn early_status(&self) -> Option<ExitStatus> {
        /// `PF_EXITING` of the kernel.
        const EXITING: u64 = 4;
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // Behind the name, which can contain anything: state, five numbers, flags, …, status.
        let (_, fields) = text.rsplit_once(") ")?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        let status: i32 = fields.last()?.parse().ok()?;
        // In a stopped process the field says what stopped it; in a living one it is 0.
        let stopped = matches!(state, "T" | "t");
        let certain = matches!(state, "Z" | "X") || flags & EXITING != 0 || status != 0;
        // The number may have passed to another process since; our child then has been reaped.
        (certain && !stopped && self.is_unreaped()).then(|| ExitStatus::from_wait_status(status))
    }

    fn is_unreaped(&self) -> bool {
        // Signal 0 goes to nobody; it succeeds for a child that is not yet reaped.
        self.signal(0).is_ok()
    }

    /// Sends a signal. A child that has ended is none to send it to, and that is no error.
    ///
    /// # Errors
    /// `InvalidInput` for what is no signal, `PermissionDenied` where the child has changed its user.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        match self.signal(signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Sends a signal to every process of the group that the child leads.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn kill_group(&self, signal: i32) -> io::Result<()> {
        // Safe for as long as the child is not reaped, since its number is then not used again:
        // what is found unreaped here can only be reaped by the holder of this value.
        if !self.is_unreaped() {
            return Ok(());
        }
        // SAFETY: no pointer is passed.
        match check(unsafe { libc::kill(-self.pid.cast_signed(), signal) }) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => self.kill(signal),
            result => result.map(drop),
        }
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        let info: *const libc::siginfo_t = std::ptr::null();
        // SAFETY: a null `info` is allowed and means as `kill` sends it.
        check(unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                info,
                0,
            )
        })
        .map(drop)
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
