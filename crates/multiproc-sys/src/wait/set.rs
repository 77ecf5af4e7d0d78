//! `epoll` over pidfds and pipes, so that one thread can wait for what others keep adding.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::clock::Deadline;
use crate::handle::Interest;
use crate::syscall::{check, restarting};

/// Children and streams that one thread waits for, while any thread adds further ones.
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

    /// Adds a child's [`Waiter`](super::Waiter), whose end will be told once, as `key`; or a pipe or socket,
    /// of which it will be told once that there is something to read, or nobody left to write. It leaves
    /// the set when it is closed.
    ///
    /// # Errors
    /// No memory, too many watches, or it is in the set already.
    pub fn add(&self, thing: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.add_for(thing, Interest::Read, key)
    }

    /// Adds what it is told of once as `key`: what `interest` says, or that its other side is gone.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_for(&self, thing: BorrowedFd<'_>, interest: Interest, key: u64) -> io::Result<()> {
        let events = match interest {
            Interest::Read => libc::EPOLLIN,
            Interest::Write => libc::EPOLLOUT,
            // That is always told.
            Interest::End => libc::EPOLLRDHUP,
        };
        self.control(libc::EPOLL_CTL_ADD, thing, events, key)
    }

    /// Has it told once more.
    ///
    /// # Errors
    /// `NotFound` for what is not in the set.
    pub fn again(&self, thing: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, thing, libc::EPOLLIN, key)
    }

    /// Takes it out, for what stays open elsewhere when it is closed here.
    ///
    /// # Errors
    /// `NotFound` for what is not in the set.
    pub fn remove(&self, thing: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, thing, 0, 0)
    }

    fn control(
        &self,
        what: libc::c_int,
        thing: BorrowedFd<'_>,
        events: libc::c_int,
        key: u64,
    ) -> io::Result<()> {
        let events = (events | libc::EPOLLONESHOT).cast_unsigned();
        let mut event = libc::epoll_event { events, u64: key };
        let (set, thing) = (self.0.as_raw_fd(), thing.as_raw_fd());
        // SAFETY: `event` is live; the kernel copies it.
        check(unsafe { libc::epoll_ctl(set, what, thing, &raw mut event) }).map(drop)
    }

    /// Waits until one of them is to be told of, and gives its key.
    ///
    /// # Errors
    /// What `epoll_wait` answers.
    pub fn wait(&self) -> io::Result<u64> {
        loop {
            if let Some(key) = self.wait_until(Deadline::NEVER)? {
                return Ok(key);
            }
        }
    }

    /// As [`wait`](Self::wait), no longer than until the deadline, to a millisecond.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_until(&self, deadline: Deadline) -> io::Result<Option<u64>> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let told = restarting(|| {
            let timeout = deadline.remaining().map_or(-1, |left| {
                libc::c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX)
            });
            // SAFETY: there is room for the one event asked for.
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, timeout) }
        })?;
        Ok((told > 0).then_some(event.u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flag::Flag;
    use crate::handle::AsHandle;

    #[test]
    fn it_tells_until_a_deadline_and_each_thing_once() {
        let (set, flag) = (WaitSet::new().unwrap(), Flag::new().unwrap());
        set.add(flag.as_handle(), 7).unwrap();
        let soon = || Deadline::after(Duration::from_millis(2));
        let until = soon();
        assert_eq!(set.wait_until(until).unwrap(), None);
        assert!(until.has_passed());
        flag.raise().unwrap();
        assert_eq!(set.wait_until(Deadline::NEVER).unwrap(), Some(7));
        assert_eq!(set.wait_until(Deadline::now()).unwrap(), None);
        set.again(flag.as_handle(), 8).unwrap();
        assert_eq!(set.wait_until(until).unwrap(), Some(8));
    }
}
