//! File descriptors, and `ppoll` over a few of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
pub use std::os::fd::{BorrowedFd as BorrowedHandle, OwnedFd as OwnedHandle};

use crate::clock::Deadline;
use crate::syscall::check;

/// What has a handle.
pub trait AsHandle {
    /// Its handle, for as long as it lives.
    fn as_handle(&self) -> BorrowedHandle<'_>;
}

impl<T: AsFd> AsHandle for T {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.as_fd()
    }
}

/// What [`poll`] is to wait for on one handle. Its end (hang-up, error) is always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read; for a process's waiter, its end.
    Read,
    /// Room to write.
    Write,
    /// Only that the other side is gone.
    End,
}

/// What [`poll`] found on one handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Something can be read.
    pub readable: bool,
    /// Something can be written.
    pub writable: bool,
    /// The other side is gone, or the handle is broken.
    pub ended: bool,
}

impl Readiness {
    /// Whether anything at all was found.
    #[must_use]
    pub fn any(self) -> bool {
        self.readable || self.writable || self.ended
    }
}

/// Waits until something is found on one of `handles`, or the deadline passes; then every answer is
/// empty. A signal does not end the wait.
///
/// # Errors
/// What `ppoll` answers: `EINVAL` where there are more handles than the process may have open,
/// `ENOMEM`.
pub fn poll<const N: usize>(
    handles: [(BorrowedHandle<'_>, Interest); N],
    deadline: Deadline,
) -> io::Result<[Readiness; N]> {
    let mut found = [Readiness::default(); N];
    poll_slice(&handles, &mut found, deadline)?;
    Ok(found)
}

/// As [`poll`], for as many handles as there are, with one answer for each in `found`.
///
/// # Errors
/// As [`poll`].
pub fn poll_slice(
    handles: &[(BorrowedHandle<'_>, Interest)],
    found: &mut [Readiness],
    deadline: Deadline,
) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> = handles
        .iter()
        .map(|(handle, interest)| libc::pollfd {
            fd: handle.as_raw_fd(),
            events: match interest {
                Interest::Read => libc::POLLIN,
                Interest::Write => libc::POLLOUT,
                Interest::End => 0,
            },
            revents: 0,
        })
        .collect();
    loop {
        let timeout = deadline.remaining_timespec();
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `polled` has `polled.len()` live entries; `timeout` is null or a live timespec;
        // a null mask leaves the thread's signal mask alone.
        let count = unsafe {
            libc::ppoll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        match check(count) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    for (found, polled) in found.iter_mut().zip(&polled) {
        *found = Readiness {
            readable: polled.revents & libc::POLLIN != 0,
            writable: polled.revents & libc::POLLOUT != 0,
            ended: polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
        };
    }
    Ok(())
}
