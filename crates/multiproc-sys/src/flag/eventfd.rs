//! An eventfd that never blocks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::syscall::{check, restarting};

/// A flag, lowered at first. Its handle can be given to other processes, and is readable while it is raised.
#[derive(Debug)]
pub struct Flag(OwnedFd);

impl Flag {
    /// A lowered one.
    ///
    /// # Errors
    /// Too many open files, no memory.
    pub fn new() -> io::Result<Flag> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: just made, nobody else's.
        Ok(Flag(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Raises it: whoever polls it wakes.
    ///
    /// # Errors
    /// For a handle that is no flag.
    pub fn raise(&self) -> io::Result<()> {
        let one = 1_u64.to_ne_bytes();
        let fd = self.0.as_raw_fd();
        // SAFETY: `one` is live and eight bytes long.
        unless_full_or_empty(restarting(|| unsafe {
            libc::write(fd, one.as_ptr().cast(), 8)
        }))
    }

    /// Lowers it.
    ///
    /// # Errors
    /// For a handle that is no flag.
    pub fn lower(&self) -> io::Result<()> {
        let mut count = [0_u8; 8];
        let fd = self.0.as_raw_fd();
        // SAFETY: `count` is live and eight bytes long.
        unless_full_or_empty(restarting(|| unsafe {
            libc::read(fd, count.as_mut_ptr().cast(), 8)
        }))
    }
}

fn unless_full_or_empty<T>(result: io::Result<T>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        result => result.map(drop),
    }
}

impl AsFd for Flag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Flag {
    fn from(handle: OwnedFd) -> Flag {
        Flag(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Deadline;
    use crate::handle::{Interest, poll};

    #[test]
    fn it_is_readable_while_it_is_raised() {
        let flag = Flag::new().unwrap();
        let is_up = || poll([(flag.as_fd(), Interest::Read)], Deadline::now()).unwrap()[0].readable;
        assert!(!is_up());
        flag.lower().unwrap();
        flag.raise().unwrap();
        flag.raise().unwrap();
        assert!(is_up() && is_up());
        flag.lower().unwrap();
        assert!(!is_up());
    }
}
