//! `SOCK_SEQPACKET` pairs and `SCM_RIGHTS`.
//!
//! A message is one packet: a 4-byte count of its handles, then its bytes. The kernel passes at most
//! 253 descriptors a packet; the rest follow in packets that hold only the same count again. The
//! receiver counts what arrives, since a process at its limit of open files loses descriptors
//! silently (`MSG_CTRUNC`).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use crate::clock::Deadline;
use crate::handle::{Interest, poll};
use crate::socket::rights::{Control, HANDLES_A_PACKET};
use crate::syscall::check;

/// The most bytes one message can have.
pub const MAX_BYTES: usize = 64 << 10;
/// The most handles one message can have.
pub const MAX_HANDLES: usize = 4096;
const COUNT: usize = size_of::<u32>();
/// How long the rest of a message may take whose beginning is there. Only a sender that is stopped, or lies, needs it.
const PATIENCE: Duration = Duration::from_secs(2);

/// One end of a pair.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// What [`Socket::receive`] found.
#[derive(Debug)]
pub enum Received {
    /// A message: its bytes are in the buffer, these are its handles.
    Message(Vec<OwnedFd>),
    /// The other end is gone, and all that it had sent was read.
    End,
    /// The deadline passed first.
    TimedOut,
}

impl Socket {
    /// Two connected ends, closed on exec.
    ///
    /// # Errors
    /// What `socketpair` answers: too many open files, no memory.
    pub fn pair() -> io::Result<(Socket, Socket)> {
        let mut fds = [0; 2];
        // SAFETY: `fds` has room for two descriptors.
        check(unsafe {
            libc::socketpair(
                libc::AF_UNIX,
                libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
                0,
                fds.as_mut_ptr(),
            )
        })?;
        // SAFETY: just made, nobody else's.
        let one = unsafe { OwnedFd::from_raw_fd(fds[0]) };
        // SAFETY: as above.
        let two = unsafe { OwnedFd::from_raw_fd(fds[1]) };
        Ok((Socket(one), Socket(two)))
    }

    /// Takes a descriptor that a parent has left for this process.
    ///
    /// # Errors
    /// `InvalidData` where it is not such a socket, or was not made by process `maker` of this user.
    pub fn inherited(fd: OwnedFd, maker: u32) -> io::Result<Socket> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if option::<libc::c_int>(&fd, libc::SO_TYPE)? != libc::SOCK_SEQPACKET {
            return refuse("the inherited descriptor is not a socket for messages");
        }
        let peer = peer(&fd)?;
        // SAFETY: takes nothing, cannot fail.
        let user = unsafe { libc::geteuid() };
        if peer.uid != user || peer.pid.cast_unsigned() != maker {
            return refuse("the inherited socket was made by another process than the parent");
        }
        // SAFETY: the descriptor is open; no pointer is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
        Ok(Socket(fd))
    }

    /// Sends one message, waiting for room until the deadline.
    ///
    /// # Errors
    /// `InvalidInput` past [`MAX_BYTES`] or [`MAX_HANDLES`], `TimedOut`, `BrokenPipe` (or
    /// `ConnectionReset`) where the other end is gone, and what `sendmsg` answers, such as too many
    /// descriptors in flight. Except where handles had to follow in further packets, nothing was
    /// sent then.
    pub fn send(
        &self,
        bytes: &[u8],
        handles: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        if bytes.len() > MAX_BYTES || handles.len() > MAX_HANDLES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {} bytes and {} handles is over the limit ({MAX_BYTES}, {MAX_HANDLES})",
                    bytes.len(),
                    handles.len()
                ),
            ));
        }
        let count = u32::try_from(handles.len())
            .map_err(io::Error::other)?
            .to_le_bytes();
        let mut packets = handles.chunks(HANDLES_A_PACKET);
        let first = packets.next().unwrap_or_default();
        self.send_packet(
            &[IoSlice::new(&count), IoSlice::new(bytes)],
            first,
            deadline,
        )?;
        for packet in packets {
            self.send_packet(&[IoSlice::new(&count)], packet, deadline)?;
        }
        Ok(())
    }

    /// Waits for one message until the deadline and puts its bytes into `buffer`, in place of what is
    /// there. One that has begun to come is waited for to its end, past the deadline: it is at hand.
    ///
    /// Nobody else receives meanwhile. A buffer that has room for every message spares a system call; one that has
    /// not gets as much as there is to come, since memory that was never touched costs more than the question.
    ///
    /// # Errors
    /// `InvalidData` for a message that no [`send`](Self::send) makes or whose handles did not all
    /// arrive, and what `recvmsg` answers. Handles that did arrive are closed.
    pub fn receive(&self, buffer: &mut Vec<u8>, deadline: Deadline) -> io::Result<Received> {
        self.receive_patiently(buffer, deadline, PATIENCE)
    }

    fn receive_patiently(
        &self,
        buffer: &mut Vec<u8>,
        deadline: Deadline,
        patience: Duration,
    ) -> io::Result<Received> {
        buffer.clear();
        if buffer.capacity() < COUNT + MAX_BYTES {
            let Some(length) = self.next_length(deadline)? else {
                return Ok(Received::TimedOut);
            };
            buffer.reserve(length.min(COUNT + MAX_BYTES));
        }
        let mut handles = Vec::new();
        let room = buffer.spare_capacity_mut();
        let Some(length) = self.receive_packet(room, &mut handles, deadline)? else {
            return Ok(Received::TimedOut);
        };
        // SAFETY: the kernel has written as many bytes of the spare capacity.
        unsafe { buffer.set_len(length) };
        if length == 0 {
            return Ok(Received::End);
        }
        let malformed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "malformed message on a private socket",
            )
        };
        let count: [u8; COUNT] = buffer.first_chunk().copied().ok_or_else(malformed)?;
        let expected = u32::from_le_bytes(count) as usize;
        if expected > MAX_HANDLES {
            return Err(malformed());
        }
        // The sender is about to send what is missing, whatever this deadline says: given up half-way, the
        // message would be lost, and what is left of it mistaken for the next.
        let deadline = deadline.max(Deadline::after(patience));
        while handles.len() < expected {
            let before = handles.len();
            let mut again = [MaybeUninit::new(0); COUNT];
            let more = self.receive_packet(&mut again, &mut handles, deadline)?;
            // SAFETY: initialised above.
            let again = again.map(|byte| unsafe { byte.assume_init() });
            if more != Some(COUNT) || again != count || handles.len() == before {
                return Err(malformed());
            }
        }
        if handles.len() > expected {
            return Err(malformed());
        }
        buffer.drain(..COUNT);
        Ok(Received::Message(handles))
    }

    pub(super) fn send_packet(
        &self,
        parts: &[IoSlice<'_>],
        handles: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        let mut control = Control::new();
        // SAFETY: a plain C structure of which all zeroes is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        // `sendmsg` reads through the pointer only; IoSlice has iovec's layout.
        header.msg_iov = parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = parts.len();
        control.put(&mut header, handles);
        loop {
            // SAFETY: `header` describes the live `parts` and `control`.
            let sent = unsafe {
                libc::sendmsg(
                    self.0.as_raw_fd(),
                    &raw const header,
                    libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
                )
            };
            if sent >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    let [found] = poll([(self.0.as_fd(), Interest::Write)], deadline)?;
                    if !found.any() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// The length of the packet that comes next, which stays; 0 at the end; `None` at the deadline.
    fn next_length(&self, deadline: Deadline) -> io::Result<Option<usize>> {
        const LOOK: libc::c_int = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
        self.when_ready(deadline, || {
            // SAFETY: no byte is written, and a null buffer is allowed then.
            unsafe { libc::recv(self.0.as_raw_fd(), ptr::null_mut(), 0, LOOK) }
        })
    }

    /// The length of the packet, 0 at the end; `None` at the deadline.
    pub(super) fn receive_packet(
        &self,
        buffer: &mut [MaybeUninit<u8>],
        handles: &mut Vec<OwnedFd>,
        deadline: Deadline,
    ) -> io::Result<Option<usize>> {
        let mut control = Control::new();
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: a plain C structure of which all zeroes is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        control.offer(&mut header);
        let received = self.when_ready(deadline, || {
            // SAFETY: `header` describes the live `buffer` and `control`, both writable; a call that fails leaves it
            // as it was.
            unsafe {
                libc::recvmsg(
                    self.0.as_raw_fd(),
                    &raw mut header,
                    libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
                )
            }
        })?;
        if received.is_some() {
            control.take(&header, handles);
            if header.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a message lost some of its handles or bytes on arrival: \
                     too many open files, or a sender that keeps no limit",
                ));
            }
        }
        Ok(received)
    }

    /// What `receive` gives once there is something; `None` at the deadline.
    fn when_ready(
        &self,
        deadline: Deadline,
        mut receive: impl FnMut() -> isize,
    ) -> io::Result<Option<usize>> {
        loop {
            if let Ok(length) = usize::try_from(receive()) {
                return Ok(Some(length));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                // Said once, where the other end was closed with something unread. What it had sent is
                // still to be read, and then the end.
                io::ErrorKind::ConnectionReset => {}
                io::ErrorKind::WouldBlock => {
                    let [found] = poll([(self.0.as_fd(), Interest::Read)], deadline)?;
                    if !found.any() {
                        return Ok(None);
                    }
                }
                _ => return Err(error),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.0
    }
}

impl From<OwnedFd> for Socket {
    /// For a descriptor that came out of a `Socket`; anything else fails at its first use.
    fn from(fd: OwnedFd) -> Socket {
        Socket(fd)
    }
}

/// Who made the other end of a local socket, or connected or accepted there.
pub(crate) fn peer(fd: &OwnedFd) -> io::Result<libc::ucred> {
    option(fd, libc::SO_PEERCRED)
}

fn option<T: Copy>(fd: &OwnedFd, name: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::uninit();
    let mut length = libc::socklen_t::try_from(size_of::<T>()).expect("small");
    // SAFETY: `value` has room for `length` bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    if length as usize != size_of::<T>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has filled all of it; both types asked for are plain integers.
    Ok(unsafe { value.assume_init() })
}

/// A packet as a peer might make it, behind a byte that says how many handles come with it: for tests and fuzzers.
///
/// # Panics
/// Where there is no socket for it.
#[cfg(any(test, fuzzing))]
pub fn fuzzing(bytes: &[u8]) {
    thread_local! {
        static PAIR: (Socket, Socket) = Socket::pair().expect("a pair of sockets");
    }
    let Some((handles, bytes)) = bytes.split_first() else {
        return;
    };
    PAIR.with(|(one, two)| {
        let handles = &[two.as_fd(); 3][..usize::from(handles & 3)];
        one.send_packet(&[IoSlice::new(bytes)], handles, Deadline::now())
            .expect("it has room");
        drop(two.receive_patiently(&mut vec![], Deadline::now(), Duration::ZERO));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(2);

    fn receive(socket: &Socket) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut buffer = vec![];
        match socket
            .receive(&mut buffer, Deadline::after(Duration::from_secs(60)))
            .unwrap()
        {
            Received::Message(handles) => (buffer, handles),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_keep_their_bounds_and_their_handles() {
        let (one, two) = Socket::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        one.send(b"", &[], Deadline::NEVER).unwrap();
        one.send(&[7; MAX_BYTES], &[file.as_fd()], Deadline::NEVER)
            .unwrap();
        assert_eq!(receive(&two).0, b"");
        let (bytes, handles) = receive(&two);
        assert_eq!((bytes.len(), handles.len()), (MAX_BYTES, 1));
    }

    #[test]
    fn hundreds_of_handles_arrive_in_one_message() {
        let (one, two) = Socket::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        one.send(b"many", &[file.as_fd(); 600], Deadline::NEVER)
            .unwrap();
        one.send(b"next", &[], Deadline::NEVER).unwrap();
        let (bytes, handles) = receive(&two);
        assert_eq!((bytes.as_slice(), handles.len()), (b"many".as_slice(), 600));
        assert_eq!(receive(&two).0, b"next");
    }

    #[test]
    fn the_rest_of_a_message_is_waited_for_past_the_deadline() {
        let (one, two) = Socket::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let count = 300_u32.to_le_bytes();
        one.send_packet(
            &[IoSlice::new(&count)],
            &[file.as_fd(); 253],
            Deadline::NEVER,
        )
        .unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Long enough for the receiver to be there, which sees the same if it is not.
                std::thread::yield_now();
                one.send_packet(
                    &[IoSlice::new(&count)],
                    &[file.as_fd(); 47],
                    Deadline::NEVER,
                )
                .unwrap();
            });
            match two.receive(&mut vec![], Deadline::now()).unwrap() {
                Received::Message(handles) => assert_eq!(handles.len(), 300),
                other => panic!("{other:?}"),
            }
        });
    }

    #[test]
    fn the_end_comes_after_what_was_sent() {
        let (one, two) = Socket::pair().unwrap();
        one.send(b"last", &[], Deadline::NEVER).unwrap();
        drop(one);
        assert_eq!(receive(&two).0, b"last");
        let end = two.receive(&mut vec![], Deadline::NEVER).unwrap();
        assert!(matches!(end, Received::End));
        let error = two.send(b"x", &[], Deadline::NEVER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_was_sent_outlives_an_end_that_left_something_unread() {
        let (one, two) = Socket::pair().unwrap();
        one.send(b"never read", &[], Deadline::NEVER).unwrap();
        two.send(b"last", &[], Deadline::NEVER).unwrap();
        drop(two);
        assert_eq!(receive(&one).0, b"last");
        let end = one.receive(&mut vec![], Deadline::NEVER).unwrap();
        assert!(matches!(end, Received::End));
    }

    #[test]
    fn waits_end_at_their_deadline() {
        let (one, two) = Socket::pair().unwrap();
        let waited = two.receive(&mut vec![], Deadline::after(SOON)).unwrap();
        assert!(matches!(waited, Received::TimedOut));
        let error = loop {
            if let Err(error) = one.send(&[0; MAX_BYTES], &[], Deadline::after(SOON)) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_no_sender_makes_is_an_error() {
        let (one, two) = Socket::pair().unwrap();
        for bytes in [&[1, 0][..], &[255; 8][..], &[1, 0, 0, 0, 9][..]] {
            one.send_packet(&[IoSlice::new(bytes)], &[], Deadline::NEVER)
                .unwrap();
            if bytes.len() == 5 {
                one.send_packet(&[IoSlice::new(b"stray")], &[], Deadline::NEVER)
                    .unwrap();
            }
            let error = two
                .receive_patiently(&mut vec![], Deadline::after(SOON), SOON)
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn hostile_packet() {
        let seeds = [
            vec![0, 0, 0, 0, 0, 9],
            vec![1, 1, 0, 0, 0, 9],
            vec![1, 2, 0, 0, 0],
        ];
        multiproc_testkit::hostile("packet", &seeds, fuzzing);
    }

    #[test]
    fn an_inherited_socket_must_be_the_parents() {
        let (one, two) = Socket::pair().unwrap();
        let own = std::process::id();
        assert!(Socket::inherited(one.into(), own + 1).is_err());
        assert!(Socket::inherited(two.into(), own).is_ok());
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(Socket::inherited(file, own).is_err());
    }
}
