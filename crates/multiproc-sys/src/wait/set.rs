//! `epoll` over pidfds, so that one thread can wait for children that others keep adding.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::Waiter;
use crate::syscall::{check, restarting};

/// Children whose ends one thread waits for, while any thread adds further ones.
#[derive(Debug)]
pub struct WaitSet(OwnedFd);

impl WaitSet {
    /// An empty set.
    ///
    /// # Errors
    /// Too many open files, no memory.
    pub fn new() -> io::Result<WaitSet> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just made, nobody else's.
        Ok(WaitSet(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds a child, whose end will be told once, as `key`. It leaves the set when its waiter is
    /// dropped.
    ///
    /// # Errors
    /// No memory, too many watches, or the child is in the set already.
    pub fn add(&self, waiter: &Waiter, key: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLONESHOT) as u32;
        let mut event = libc::epoll_event { events, u64: key };
        let (set, child) = (self.0.as_raw_fd(), waiter.as_fd().as_raw_fd());
        // SAFETY: `event` is live; the kernel copies it.
        check(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, child, &raw mut event) })?;
        Ok(())
    }

    /// Waits for the end of one of the children and gives its key.
    ///
    /// # Errors
    /// What `epoll_wait` answers.
    pub fn wait(&self) -> io::Result<u64> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: there is room for the one event asked for.
        restarting(|| unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, -1) })?;
        Ok(event.u64)
    }
}
