//! What goes wrong with connections.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use multiproc_wire::{DecodeError, EncodeError};

use crate::address::Address;

/// Something went wrong with a listener, a client or a connection. [`kind`](Error::kind) tells what.
pub struct Error(Box<Why>);

/// What went wrong, for a program to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The deadline passed first.
    TimedOut,
    /// The other side is gone, and everything it sent was received.
    Disconnected,
    /// The other side went away in the middle of a message or of the handshake.
    Truncated,
    /// What is at the other end does not speak this protocol.
    NotThisProtocol,
    /// The other side speaks another version of this protocol.
    WrongVersion,
    /// The other side has another key.
    WrongKey,
    /// The other side names another protocol in its settings.
    WrongProtocol,
    /// The other side is another build, where the same is asked for.
    OtherBuild,
    /// The other side belongs to another user.
    OtherUser,
    /// A message is longer than the settings allow. It is passed over; the connection goes on.
    TooLong,
    /// A value cannot be encoded, or what arrived is no such value. The connection goes on.
    Codec,
    /// Bytes came where a value was asked for, or the other way round. The message is lost; the connection goes on.
    WrongForm,
    /// Files or shared objects cannot travel over this connection. It goes on.
    NoHandles,
    /// The other side sent what it never sends. The connection is of no use any more.
    Malformed,
    /// The connection broke at an earlier call.
    Broken,
    /// An address, a key or a setting is not one.
    Invalid,
    /// The system refused something; [`source`](StdError::source) says what.
    Io,
}

#[derive(Debug)]
pub(crate) enum Why {
    TimedOut(&'static str),
    Disconnected,
    Truncated(&'static str),
    NotThisProtocol,
    WrongVersion {
        ours: u16,
        theirs: u16,
    },
    WrongKey,
    WrongProtocol {
        ours: String,
        theirs: String,
    },
    OtherBuild,
    OtherUser(Option<u32>),
    TooLong {
        length: u64,
        limit: usize,
    },
    Encode(EncodeError),
    Decode(DecodeError),
    WrongForm {
        wanted: &'static str,
    },
    HandlesOverTcp,
    HandlesBetweenBuilds,
    TooManyHandles {
        count: usize,
        limit: usize,
    },
    Malformed(&'static str),
    Broken,
    EmptyKey,
    LongProtocol(usize),
    NoAddress(String),
    Address {
        doing: &'static str,
        address: Address,
        error: io::Error,
    },
    Io(&'static str, io::Error),
}

impl Error {
    /// What went wrong, for a program to act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Why::TimedOut(_) => ErrorKind::TimedOut,
            Why::Disconnected => ErrorKind::Disconnected,
            Why::Truncated(_) => ErrorKind::Truncated,
            Why::NotThisProtocol => ErrorKind::NotThisProtocol,
            Why::WrongVersion { .. } => ErrorKind::WrongVersion,
            Why::WrongKey => ErrorKind::WrongKey,
            Why::WrongProtocol { .. } => ErrorKind::WrongProtocol,
            Why::OtherBuild => ErrorKind::OtherBuild,
            Why::OtherUser(_) => ErrorKind::OtherUser,
            Why::TooLong { .. } => ErrorKind::TooLong,
            Why::Encode(_) | Why::Decode(_) => ErrorKind::Codec,
            Why::WrongForm { .. } => ErrorKind::WrongForm,
            Why::HandlesOverTcp | Why::HandlesBetweenBuilds | Why::TooManyHandles { .. } => {
                ErrorKind::NoHandles
            }
            Why::Malformed(_) => ErrorKind::Malformed,
            Why::Broken => ErrorKind::Broken,
            Why::EmptyKey | Why::LongProtocol(_) | Why::NoAddress(_) => ErrorKind::Invalid,
            Why::Address { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
                ErrorKind::TimedOut
            }
            Why::Address { .. } | Why::Io(..) => ErrorKind::Io,
        }
    }

    /// Whether the deadline passed first. Nothing is lost then: the call can be repeated.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// Whether the other side is gone, and everything it sent was received: the regular end.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.kind() == ErrorKind::Disconnected
    }
}

impl From<Why> for Error {
    #[cold]
    fn from(why: Why) -> Error {
        Error(Box::new(why))
    }
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Error {
        Why::Encode(error).into()
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        Why::Decode(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Why::TimedOut(what) => write!(f, "{what} in time"),
            Why::Disconnected => f.write_str("the other side of the connection is gone"),
            Why::Truncated(what) => {
                write!(
                    f,
                    "the other side of the connection went away in the middle of {what}"
                )
            }
            Why::NotThisProtocol => {
                f.write_str("what is at the other end is no listener or client of multiproc")
            }
            Why::WrongVersion { ours, theirs } => write!(
                f,
                "the other side speaks version {theirs} of the connection's protocol, this side version {ours}"
            ),
            Why::WrongKey => f.write_str("the other side has another key"),
            Why::WrongProtocol { ours, theirs } => {
                write!(f, "the other side speaks {theirs:?}, this side {ours:?}")
            }
            Why::OtherBuild => {
                f.write_str("the other side is another build of the program, or another program")
            }
            Why::OtherUser(Some(user)) => {
                write!(
                    f,
                    "the other side belongs to user {user}, who is not let in"
                )
            }
            Why::OtherUser(None) => f.write_str("the listener lets in no process of this user"),
            Why::TooLong { length, limit } => {
                write!(
                    f,
                    "a message of {length} bytes is over the limit of {limit}"
                )
            }
            Why::Encode(error) => error.fmt(f),
            Why::Decode(error) => error.fmt(f),
            Why::WrongForm { wanted } => {
                write!(
                    f,
                    "what was received is not {wanted}: it was sent by the other call"
                )
            }
            Why::HandlesOverTcp => f.write_str(
                "files, sockets and shared objects cannot travel over TCP, only over a Unix socket",
            ),
            Why::HandlesBetweenBuilds => f.write_str(
                "files, sockets and shared objects travel only between processes of the same build",
            ),
            Why::TooManyHandles { count, limit } => {
                write!(
                    f,
                    "a message with {count} files or shared objects is over the limit of {limit}"
                )
            }
            Why::Malformed(what) => {
                write!(f, "the other side of the connection misbehaves: {what}")
            }
            Why::Broken => f.write_str("the connection broke at an earlier call"),
            Why::EmptyKey => f.write_str("a key has at least one byte"),
            Why::LongProtocol(length) => write!(
                f,
                "a protocol's name of {length} bytes is over the limit of {}",
                crate::settings::MAX_PROTOCOL
            ),
            Why::NoAddress(text) => {
                write!(
                    f,
                    "{text:?} is no address, such as unix:/path or tcp:127.0.0.1:4000"
                )
            }
            Why::Address {
                doing,
                address,
                error,
            } => write!(f, "cannot {doing} {address}: {error}"),
            Why::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error")
            .field(&self.kind())
            .field(&self.to_string())
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Why::Encode(error) => Some(error),
            Why::Decode(error) => Some(error),
            Why::Address { error, .. } | Why::Io(_, error) => Some(error),
            _ => None,
        }
    }
}
