//! A connection: both directions, and whom it goes to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use multiproc_sys::stream::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::halves::{RecvHalf, SendHalf, Wire};

/// One end of an authenticated connection, which sends `S` and receives `R`.
///
/// Both sides must mean the same: what one sends is what the other receives. A message that is no value of the type
/// asked for is an error of that message alone.
///
/// Each direction is used by one thread at a time; [`split`](Self::split) makes two values of them. A side that only
/// sends while the other only sends too, each more than the system holds (some 200 KiB), waits for the other for ever.
///
/// # Differences from Python
/// Sent values are decoded, never executed. An end in the middle of a message is always an error, and never the
/// regular end. A message over the limit costs that message, not the connection.
#[doc(alias = "multiprocessing.connection.Connection")]
pub struct Connection<S, R = S> {
    sending: SendHalf<S>,
    receiving: RecvHalf<R>,
    peer: Peer,
}

/// The other side of a connection, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The TCP address that it connects from, or that was connected to.
    pub address: Option<SocketAddr>,
    /// The process that connected or listened, where the kernel tells.
    pub process: Option<u32>,
    /// The user it belonged to then, where the kernel tells.
    pub user: Option<u32>,
    /// Whether it is the same build of the same program, so that files and shared objects can travel.
    pub is_same_build: bool,
    /// Whether the kernel says that it belongs to this process's user or the superuser.
    pub(crate) is_trusted: bool,
}

impl Peer {
    pub(crate) fn of(stream: &Stream, address: Option<SocketAddr>) -> Peer {
        let user = stream.user();
        Peer {
            address,
            process: user.map(|user| user.process),
            user: user.map(|user| user.id),
            is_same_build: false,
            is_trusted: user.is_some_and(|user| user.is_trusted),
        }
    }
}

impl<S, R> Connection<S, R> {
    pub(crate) fn new(stream: Stream, peer: Peer, max_message: usize) -> Connection<S, R> {
        let wire = Arc::new(Wire {
            stream,
            same_build: peer.is_same_build,
            max_message,
        });
        Connection {
            sending: SendHalf::new(Arc::clone(&wire)),
            receiving: RecvHalf::new(wire),
            peer,
        }
    }

    /// Whom the connection goes to.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The two directions, for two threads.
    #[must_use]
    pub fn split(self) -> (SendHalf<S>, RecvHalf<R>) {
        (self.sending, self.receiving)
    }

    /// Sends a value, waiting for room as long as it takes. As [`SendHalf::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&mut self, value: &S) -> Result<(), Error>
    where
        S: Serialize,
    {
        self.sending.send(value)
    }

    /// Sends a value, waiting for room at most this long. As [`SendHalf::send_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn send_timeout(&mut self, value: &S, timeout: Duration) -> Result<(), Error>
    where
        S: Serialize,
    {
        self.sending.send_timeout(value, timeout)
    }

    /// Sends bytes as they are. As [`SendHalf::send_bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sending.send_bytes(bytes)
    }

    /// The next value, waited for as long as it takes. As [`RecvHalf::recv`].
    ///
    /// # Errors
    /// As there.
    pub fn recv(&mut self) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.receiving.recv()
    }

    /// The next value, waited for at most this long. As [`RecvHalf::recv_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.receiving.recv_timeout(timeout)
    }

    /// The next bytes. As [`RecvHalf::recv_bytes`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>, Error> {
        self.receiving.recv_bytes()
    }

    /// The next bytes, waited for at most this long. As [`RecvHalf::recv_bytes_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>, Error> {
        self.receiving.recv_bytes_timeout(timeout)
    }

    /// Whether a receiving call has an answer within this time. As [`RecvHalf::poll`].
    ///
    /// # Errors
    /// As there.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool, Error> {
        self.receiving.poll(timeout)
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
