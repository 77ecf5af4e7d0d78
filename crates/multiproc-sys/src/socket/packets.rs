//! `SOCK_SEQPACKET` sockets that meet by a path, for packets of somebody else's making.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::imp::{MAX_BYTES, Socket};
use crate::clock::Deadline;
use crate::stream::local_address;
use crate::syscall::{check, restarting};

/// A path at which one other connects. The file there is the caller's to remove.
#[derive(Debug)]
pub struct Meeting(OwnedFd);

/// One end of a connection that carries packets as they are, without what [`Socket`] puts around its messages.
#[derive(Debug)]
pub struct Packets(Socket);

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let socket = check(unsafe {
        libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: just made, nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

impl Meeting {
    /// Waits at `path` from now on.
    ///
    /// # Errors
    /// What `bind` and `listen` answer.
    pub fn at(path: &Path) -> io::Result<Meeting> {
        let (address, length) = local_address(path)?;
        let socket = socket()?;
        // SAFETY: `address` is a live address of `length` bytes.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        // SAFETY: no pointer is passed.
        check(unsafe { libc::listen(socket.as_raw_fd(), 1) })?;
        Ok(Meeting(socket))
    }

    /// The one who has connected; waits where nobody has.
    ///
    /// # Errors
    /// What `accept` answers.
    pub fn accept(self) -> io::Result<Packets> {
        // SAFETY: null asks for no address.
        let accepted = restarting(|| unsafe {
            libc::accept4(
                self.0.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            )
        })?;
        // SAFETY: just made, nobody else's.
        Ok(Packets(unsafe { OwnedFd::from_raw_fd(accepted) }.into()))
    }
}

impl Packets {
    /// Connects to whom waits at `path`.
    ///
    /// # Errors
    /// What `connect` answers.
    pub fn connect(path: &Path) -> io::Result<Packets> {
        let (address, length) = local_address(path)?;
        let socket = socket()?;
        // SAFETY: `address` is a live address of `length` bytes.
        check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Packets(socket.into()))
    }

    /// Sends one packet, with at most 253 handles, waiting for room until the deadline.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn send(
        &self,
        bytes: &[u8],
        handles: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        self.0
            .send_packet(&[io::IoSlice::new(bytes)], handles, deadline)
    }

    /// The next packet's bytes and handles; `None` where none came until the deadline.
    ///
    /// # Errors
    /// `InvalidData` for one over [`MAX_BYTES`], or whose handles did not all arrive.
    pub fn receive(&self, deadline: Deadline) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        let mut handles = Vec::new();
        let length = self
            .0
            .receive_packet(bytes.spare_capacity_mut(), &mut handles, deadline)?;
        Ok(length.map(|length| {
            // SAFETY: the kernel has written as many bytes of the spare capacity.
            unsafe { bytes.set_len(length) };
            (bytes, handles)
        }))
    }
}
