//! `SOCK_STREAM` sockets of the families `AF_UNIX`, `AF_INET` and `AF_INET6`, all in non-blocking mode.
//!
//! The kernel ties handles to the first byte of the call that sends them, and never gives a reader bytes from
//! beyond the next handles in the same call; so handles arrive in order, each set no later than its byte. Who reads
//! without asking for handles makes the kernel close them.

use std::fs;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::clock::Deadline;
use crate::socket::rights::Control;
pub use crate::socket::rights::HANDLES_A_PACKET as HANDLES_A_SEND;
use crate::syscall::{check, restarting};

/// The longest path of a local stream, in bytes.
pub const MAX_PATH: usize = 107;

/// Takes in what connects.
#[derive(Debug)]
pub struct Acceptor {
    listening: Listening,
}

#[derive(Debug)]
enum Listening {
    Local { socket: UnixListener, _name: Name },
    Tcp(TcpListener),
}

/// A path, and the file that was made there: removed with it, unless another has taken its place.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

/// The permissions of a folder that its owner alone may enter.
#[must_use]
pub fn owner_only() -> fs::Permissions {
    fs::Permissions::from_mode(0o700)
}

/// One end of a connection.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    local: bool,
}

/// Whom the other end of a local stream belongs to, as the kernel recorded it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub id: u32,
    /// The process's number then.
    pub process: u32,
    /// Whether it is this process's user, or the superuser, who may do anything anyway.
    pub is_trusted: bool,
}

impl Acceptor {
    /// Listens at `path`, where nothing may be yet. What is made there is removed when this is dropped, and stays
    /// if this process is killed.
    ///
    /// # Errors
    /// `AddrInUse` where something is there, `InvalidInput` for a path over [`MAX_PATH`], and what the folder or the
    /// limit of open files forbids.
    pub fn local(path: &Path) -> io::Result<Acceptor> {
        let socket = UnixListener::bind(path)?;
        let _name = Name::new(path.to_owned());
        socket.set_nonblocking(true)?;
        Ok(Acceptor {
            listening: Listening::Local { socket, _name },
        })
    }

    /// Listens at a TCP address; port 0 stands for any that is free.
    ///
    /// # Errors
    /// What `bind` and `listen` answer.
    pub fn tcp(address: SocketAddr) -> io::Result<Acceptor> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Acceptor {
            listening: Listening::Tcp(socket),
        })
    }

    /// The address that a TCP acceptor listens at, with its port.
    ///
    /// # Errors
    /// `Unsupported` for a local one.
    pub fn tcp_address(&self) -> io::Result<SocketAddr> {
        match &self.listening {
            Listening::Tcp(socket) => socket.local_addr(),
            Listening::Local { .. } => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// The next connection, if one is there, and the TCP address that it comes from.
    ///
    /// # Errors
    /// What `accept` answers, such as too many open files; the connection then waits on.
    pub fn accept(&self) -> io::Result<Option<(Stream, Option<SocketAddr>)>> {
        loop {
            let accepted = match &self.listening {
                Listening::Local { socket, .. } => socket
                    .accept()
                    .and_then(|(socket, _)| Ok((Stream::local(socket)?, None))),
                Listening::Tcp(socket) => socket
                    .accept()
                    .and_then(|(socket, from)| Ok((Stream::tcp(socket)?, Some(from)))),
            };
            match accepted {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(None),
                    // The one who wanted to connect has thought better of it.
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Acceptor {
    /// For waiting: readable when a connection is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.listening {
            Listening::Local { socket, .. } => socket.as_fd(),
            Listening::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl Name {
    fn new(path: PathBuf) -> Name {
        let file = identity(&path);
        Name { path, file }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|file| (file.dev(), file.ino()))
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // Nobody could be told.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Stream {
    /// Connects to whom listens at `path`, waiting until the deadline where too many others do.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` where nobody listens, `TimedOut`, `InvalidInput` for a path over
    /// [`MAX_PATH`], and what the folder or the limit of open files forbids.
    pub fn connect_local(path: &Path, deadline: Deadline) -> io::Result<Stream> {
        let (address, length) = local_address(path)?;
        // SAFETY: no pointer is passed.
        let socket = check(unsafe {
            libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: just made, nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        loop {
            // A blocking call: the kernel has no way to tell when a full queue has room again.
            limit_sending(&socket, deadline)?;
            // SAFETY: `address` is a live address of `length` bytes.
            let connected = check(unsafe {
                libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length)
            });
            match connected.map_err(|error| (error.kind(), error)) {
                Ok(_) => break,
                Err((ErrorKind::WouldBlock, _)) if deadline.has_passed() => {
                    return Err(ErrorKind::TimedOut.into());
                }
                // Interrupted, or the time that the kernel was given had been rounded.
                Err((ErrorKind::WouldBlock | ErrorKind::Interrupted, _)) => {}
                Err((_, error)) => return Err(error),
            }
        }
        Stream::local(UnixStream::from(socket))
    }

    /// Connects to a TCP address.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, and what else `connect` answers.
    pub fn connect_tcp(address: SocketAddr, deadline: Deadline) -> io::Result<Stream> {
        let connected = match deadline.remaining() {
            None => TcpStream::connect(address),
            Some(left) if left.is_zero() => Err(ErrorKind::TimedOut.into()),
            Some(left) => TcpStream::connect_timeout(&address, left),
        };
        Stream::tcp(connected?)
    }

    fn local(socket: UnixStream) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        Ok(Stream {
            socket: socket.into(),
            local: true,
        })
    }

    fn tcp(socket: TcpStream) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        // Messages are written whole; waiting for more of them only delays them.
        socket.set_nodelay(true)?;
        Ok(Stream {
            socket: socket.into(),
            local: false,
        })
    }

    /// Whether handles can travel beside the bytes.
    #[must_use]
    pub fn passes_handles(&self) -> bool {
        self.local
    }

    /// Whom the other end belongs to; `None` for TCP, which does not tell.
    #[must_use]
    pub fn user(&self) -> Option<User> {
        if !self.local {
            return None;
        }
        // SAFETY: takes nothing, cannot fail.
        let own = unsafe { libc::geteuid() };
        let unknown = User {
            id: u32::MAX,
            process: 0,
            is_trusted: false,
        };
        Some(
            crate::socket::peer(&self.socket).map_or(unknown, |peer| User {
                id: peer.uid,
                process: peer.pid.cast_unsigned(),
                is_trusted: peer.uid == own || peer.uid == 0,
            }),
        )
    }

    /// Says that nothing more is sent: the other end reads the end behind what was sent before.
    pub fn finish(&self) {
        // SAFETY: no pointer is passed. It fails only where the connection is gone anyway.
        unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_WR) };
    }

    /// Sends as many of the bytes as there is room for now, and with the first of them all of the handles, of which
    /// there may be [`HANDLES_A_SEND`]. `None` where there is no room.
    ///
    /// # Errors
    /// `BrokenPipe` or `ConnectionReset` where the other end is gone, and what `sendmsg` answers, such as too many
    /// handles in flight.
    ///
    /// # Panics
    /// Where there are handles and the stream passes none, no byte to go with them, or too many.
    pub fn send(&self, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> io::Result<Option<usize>> {
        assert!(
            handles.is_empty()
                || self.local && !bytes.is_empty() && handles.len() <= HANDLES_A_SEND,
            "{} handles cannot go with {} bytes",
            handles.len(),
            bytes.len(),
        );
        let mut control = Control::new();
        let part = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: a plain C structure of which all zeroes is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        // `sendmsg` reads through both pointers only.
        header.msg_iov = (&raw const part).cast_mut();
        header.msg_iovlen = 1;
        control.put(&mut header, handles);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: `header` describes the live `part` and `control`.
        let sent = restarting(|| unsafe {
            libc::sendmsg(self.socket.as_raw_fd(), &raw const header, flags)
        });
        moved(sent.map(|sent| usize::try_from(sent).unwrap_or(0)))
    }

    /// Reads up to `limit` of the bytes that are there behind what is in `buffer`, and the handles among them into
    /// `handles`; where the caller wants none, the kernel closes them. `None` where there is nothing now, 0 at the end.
    ///
    /// # Errors
    /// `InvalidData` where handles were lost because this process may not open as many, `ConnectionReset`, and what
    /// `recvmsg` answers.
    pub fn receive(
        &self,
        buffer: &mut Vec<u8>,
        limit: usize,
        handles: Option<&mut Vec<OwnedFd>>,
    ) -> io::Result<Option<usize>> {
        buffer.reserve(limit);
        let room: &mut [MaybeUninit<u8>] = &mut buffer.spare_capacity_mut()[..limit];
        let mut part = libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        };
        let mut control = Control::new();
        // SAFETY: a plain C structure of which all zeroes is a value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        if handles.is_some() {
            control.offer(&mut header);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: `header` describes the live `room` and `control`, both writable.
        let read = restarting(|| unsafe {
            libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, flags)
        });
        let Some(read) = moved(read.map(|read| usize::try_from(read).unwrap_or(0)))? else {
            return Ok(None);
        };
        let length = buffer.len() + read;
        // SAFETY: the kernel has written `read` bytes behind the first ones.
        unsafe { buffer.set_len(length) };
        if let Some(handles) = handles {
            control.take(&header, handles);
            if header.msg_flags & libc::MSG_CTRUNC != 0 {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "handles were lost on arrival: too many open files",
                ));
            }
        }
        Ok(Some(read))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn moved(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a blocking `connect` until the deadline.
fn limit_sending(socket: &OwnedFd, deadline: Deadline) -> io::Result<()> {
    let Some(left) = deadline.remaining() else {
        return Ok(());
    };
    // Zero would be without end.
    let micros = left.as_micros().max(1);
    let limit = libc::timeval {
        tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::try_from(micros % 1_000_000).unwrap_or(0),
    };
    let length = libc::socklen_t::try_from(size_of_val(&limit)).unwrap_or(0);
    // SAFETY: `limit` is a live value of that length.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const limit).cast(),
            length,
        )
    })
    .map(drop)
}

pub(crate) fn local_address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_PATH || bytes.contains(&0) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("the path of a local socket has 1 to {MAX_PATH} bytes and no zero among them"),
        ));
    }
    // SAFETY: a plain C structure of which all zeroes is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or(0);
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    Ok((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{Interest, poll};
    use std::time::Duration;

    fn folder() -> PathBuf {
        let path = std::env::temp_dir().join(format!(
            "multiproc-sys-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir(&path).unwrap();
        path
    }

    fn accept(acceptor: &Acceptor) -> Stream {
        let soon = Deadline::after(Duration::from_secs(60));
        assert!(poll([(acceptor.as_fd(), Interest::Read)], soon).unwrap()[0].readable);
        acceptor.accept().unwrap().unwrap().0
    }

    #[test]
    fn bytes_and_handles_arrive_in_order_and_the_name_goes_with_the_acceptor() {
        let folder = folder();
        let path = folder.join("socket");
        let acceptor = Acceptor::local(&path).unwrap();
        assert!(acceptor.accept().unwrap().is_none());
        let taken = Acceptor::local(&path).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let client = Stream::connect_local(&path, Deadline::now()).unwrap();
        let server = accept(&acceptor);
        let user = server.user().unwrap();
        assert!(user.is_trusted && user.process == std::process::id());
        let file = fs::File::open("/dev/null").unwrap();
        assert_eq!(client.send(b"ab", &[]).unwrap(), Some(2));
        assert_eq!(
            client.send(b"cd", &[file.as_fd(); HANDLES_A_SEND]).unwrap(),
            Some(2)
        );
        let (mut bytes, mut handles) = (vec![], vec![]);
        while bytes.len() < 4 {
            server
                .receive(&mut bytes, 16, Some(&mut handles))
                .unwrap()
                .unwrap();
            assert_eq!(handles.is_empty(), bytes.len() <= 2);
        }
        assert_eq!((&*bytes, handles.len()), (&b"abcd"[..], HANDLES_A_SEND));
        assert_eq!(server.receive(&mut bytes, 16, None).unwrap(), None);
        drop(client);
        assert_eq!(server.receive(&mut bytes, 16, None).unwrap(), Some(0));
        assert_eq!(
            server.send(b"x", &[]).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        drop(acceptor);
        assert!(!path.exists());
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn connecting_ends_at_its_deadline_where_nobody_accepts() {
        let folder = folder();
        let path = folder.join("socket");
        let acceptor = Acceptor::local(&path).unwrap();
        let mut waiting = vec![];
        let soon = || Deadline::after(Duration::from_millis(20));
        let error = loop {
            match Stream::connect_local(&path, soon()) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(acceptor);
        let gone = Stream::connect_local(&path, soon()).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        let long = Path::new("/").join("x".repeat(MAX_PATH));
        let error = Stream::connect_local(&long, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn what_has_taken_the_place_of_a_name_is_not_removed() {
        let folder = folder();
        let path = folder.join("socket");
        let acceptor = Acceptor::local(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        drop(acceptor);
        assert_eq!(fs::read(&path).unwrap(), b"another");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn tcp_passes_bytes_alone() {
        let acceptor = Acceptor::tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let soon = Deadline::after(Duration::from_secs(60));
        let client = Stream::connect_tcp(acceptor.tcp_address().unwrap(), soon).unwrap();
        let server = accept(&acceptor);
        assert!(!client.passes_handles() && client.user().is_none());
        assert_eq!(client.send(b"hello", &[]).unwrap(), Some(5));
        poll([(server.as_fd(), Interest::Read)], soon).unwrap();
        let mut bytes = vec![];
        assert_eq!(server.receive(&mut bytes, 3, None).unwrap(), Some(3));
        assert_eq!(bytes, b"hel");
        assert!(acceptor.accept().unwrap().is_none());
    }
}
