//! What sending and receiving answer when they fail.

use std::error::Error;
use std::fmt;
use std::io;

use multiproc_shm::ring::{AssembleError, Corrupt};
use multiproc_wire::{DecodeError, EncodeError};

use crate::peer::PeerEnd;
use crate::queue::MAX_HANDS;

/// Why a message could not be sent or received although the other side may well be there.
#[derive(Debug)]
pub struct ChannelError(Kind);

#[derive(Debug)]
enum Kind {
    Moved,
    TooLong { len: usize, limit: usize },
    Encode(EncodeError),
    Decode(DecodeError),
    Assemble(AssembleError),
    Corrupt(Corrupt),
    HandlesLost,
    Spoilt,
    TooManyTakers,
    TooManyHandles(usize),
    Io(io::Error),
}

impl ChannelError {
    pub(crate) const MOVED: ChannelError = ChannelError(Kind::Moved);
    pub(crate) const HANDLES_LOST: ChannelError = ChannelError(Kind::HandlesLost);
    pub(crate) const SPOILT: ChannelError = ChannelError(Kind::Spoilt);
    pub(crate) const TOO_MANY_TAKERS: ChannelError = ChannelError(Kind::TooManyTakers);

    #[cold]
    pub(crate) fn too_many_handles(handles: usize) -> ChannelError {
        ChannelError(Kind::TooManyHandles(handles))
    }

    #[cold]
    pub(crate) fn too_long(len: usize, limit: usize) -> ChannelError {
        ChannelError(Kind::TooLong { len, limit })
    }

    /// The receiver was sent to another process and works there.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        matches!(self.0, Kind::Moved)
    }

    /// The message is longer than the channel accepts.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(
            self.0,
            Kind::TooLong { .. } | Kind::Assemble(AssembleError::TooLong { .. })
        )
    }

    /// The value cannot be encoded, or what arrived is no such value. The channel goes on.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        matches!(self.0, Kind::Encode(_) | Kind::Decode(_))
    }

    /// The memory that both sides share was spoiled. The channel is of no use any more.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(
            self.0,
            Kind::Corrupt(_) | Kind::Spoilt | Kind::Assemble(AssembleError::Corrupt(_))
        )
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Moved => {
                f.write_str("the receiver was sent to another process, which has it now")
            }
            Kind::TooLong { len, limit } => {
                write!(f, "a message of {len} bytes is over the limit of {limit}")
            }
            Kind::Encode(error) => error.fmt(f),
            Kind::Decode(error) => error.fmt(f),
            Kind::Assemble(error) => write!(f, "a message could not be received: {error}"),
            Kind::Corrupt(error) => write!(f, "the channel's memory was spoiled: {error}"),
            Kind::HandlesLost => f.write_str(
                "a message was received without the files and shared objects in it; \
                 a process that has too many files open cannot take more",
            ),
            Kind::Spoilt => f.write_str("the queue's memory was spoiled"),
            Kind::TooManyTakers => write!(
                f,
                "more processes take from the queue than the {MAX_HANDS} of which it can note what they have in hand"
            ),
            Kind::TooManyHandles(handles) => write!(
                f,
                "{handles} files and shared objects are more than can wait in one message"
            ),
            Kind::Io(error) => write!(f, "the channel's memory or socket failed: {error}"),
        }
    }
}

impl Error for ChannelError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Encode(error) => Some(error),
            Kind::Decode(error) => Some(error),
            Kind::Assemble(error) => Some(error),
            Kind::Corrupt(error) => Some(error),
            Kind::Io(error) => Some(error),
            Kind::Moved
            | Kind::TooLong { .. }
            | Kind::HandlesLost
            | Kind::Spoilt
            | Kind::TooManyTakers
            | Kind::TooManyHandles(_) => None,
        }
    }
}

impl From<EncodeError> for ChannelError {
    fn from(error: EncodeError) -> ChannelError {
        ChannelError(Kind::Encode(error))
    }
}

impl From<DecodeError> for ChannelError {
    fn from(error: DecodeError) -> ChannelError {
        ChannelError(Kind::Decode(error))
    }
}

impl From<AssembleError> for ChannelError {
    fn from(error: AssembleError) -> ChannelError {
        ChannelError(Kind::Assemble(error))
    }
}

impl From<Corrupt> for ChannelError {
    fn from(error: Corrupt) -> ChannelError {
        ChannelError(Kind::Corrupt(error))
    }
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> ChannelError {
        ChannelError(Kind::Io(error))
    }
}

/// Why nothing passed, as the transport tells it; the public types below are made of this.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Full, or empty, until the deadline.
    NotNow,
    Disconnected(PeerEnd),
    Failed(ChannelError),
}

impl<E: Into<ChannelError>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Failed(error.into())
    }
}

/// [`Sender::send`](crate::Sender::send) has not sent the message, which is inside.
pub enum SendError<T> {
    /// The receiver is gone, or the channel or queue closed.
    Disconnected(T, PeerEnd),
    /// The message could not be sent.
    Failed(T, ChannelError),
}

/// [`Sender::try_send`](crate::Sender::try_send) has not sent the message, which is inside.
pub enum TrySendError<T> {
    /// There is no room for it now, or somebody else is sending.
    Full(T),
    /// The receiver is gone, or the channel or queue closed.
    Disconnected(T, PeerEnd),
    /// The message could not be sent.
    Failed(T, ChannelError),
}

/// [`Sender::send_timeout`](crate::Sender::send_timeout) has not sent the message, which is inside.
pub enum SendTimeoutError<T> {
    /// There was no room for it in time.
    Timeout(T),
    /// The receiver is gone, or the channel or queue closed.
    Disconnected(T, PeerEnd),
    /// The message could not be sent.
    Failed(T, ChannelError),
}

/// [`Receiver::recv`](crate::Receiver::recv) has no message.
#[derive(Debug)]
pub enum RecvError {
    /// All senders are gone, or the channel or queue closed, and everything that was sent was received.
    Disconnected(PeerEnd),
    /// A message could not be received.
    Failed(ChannelError),
}

/// [`Receiver::try_recv`](crate::Receiver::try_recv) has no message.
#[derive(Debug)]
pub enum TryRecvError {
    /// There is none now.
    Empty,
    /// All senders are gone, or the channel or queue closed, and everything that was sent was received.
    Disconnected(PeerEnd),
    /// A message could not be received.
    Failed(ChannelError),
}

/// [`Receiver::recv_timeout`](crate::Receiver::recv_timeout) has no message.
#[derive(Debug)]
pub enum RecvTimeoutError {
    /// There was none in time.
    Timeout,
    /// All senders are gone, or the channel or queue closed, and everything that was sent was received.
    Disconnected(PeerEnd),
    /// A message could not be received.
    Failed(ChannelError),
}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Disconnected(message, _) | SendError::Failed(message, _) => message,
        }
    }

    pub(crate) fn new(message: T, stop: Stop) -> SendError<T> {
        match stop {
            Stop::Disconnected(peer) => SendError::Disconnected(message, peer),
            Stop::Failed(error) => SendError::Failed(message, error),
            Stop::NotNow => unreachable!("a wait without end timed out"),
        }
    }

    fn reason(&self) -> Reason<'_> {
        match self {
            SendError::Disconnected(_, peer) => Reason::Disconnected(peer),
            SendError::Failed(_, error) => Reason::Failed(error),
        }
    }
}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(message)
            | TrySendError::Disconnected(message, _)
            | TrySendError::Failed(message, _) => message,
        }
    }

    pub(crate) fn new(message: T, stop: Stop) -> TrySendError<T> {
        match stop {
            Stop::NotNow => TrySendError::Full(message),
            Stop::Disconnected(peer) => TrySendError::Disconnected(message, peer),
            Stop::Failed(error) => TrySendError::Failed(message, error),
        }
    }

    fn reason(&self) -> Reason<'_> {
        match self {
            TrySendError::Full(_) => Reason::NotNow("Full", "there is no room now"),
            TrySendError::Disconnected(_, peer) => Reason::Disconnected(peer),
            TrySendError::Failed(_, error) => Reason::Failed(error),
        }
    }
}

impl<T> SendTimeoutError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(message)
            | SendTimeoutError::Disconnected(message, _)
            | SendTimeoutError::Failed(message, _) => message,
        }
    }

    pub(crate) fn new(message: T, stop: Stop) -> SendTimeoutError<T> {
        match stop {
            Stop::NotNow => SendTimeoutError::Timeout(message),
            Stop::Disconnected(peer) => SendTimeoutError::Disconnected(message, peer),
            Stop::Failed(error) => SendTimeoutError::Failed(message, error),
        }
    }

    fn reason(&self) -> Reason<'_> {
        match self {
            SendTimeoutError::Timeout(_) => {
                Reason::NotNow("Timeout", "there was no room in the channel in time")
            }
            SendTimeoutError::Disconnected(_, peer) => Reason::Disconnected(peer),
            SendTimeoutError::Failed(_, error) => Reason::Failed(error),
        }
    }
}

impl From<Stop> for RecvError {
    fn from(stop: Stop) -> RecvError {
        match stop {
            Stop::Disconnected(peer) => RecvError::Disconnected(peer),
            Stop::Failed(error) => RecvError::Failed(error),
            Stop::NotNow => unreachable!("a wait without end timed out"),
        }
    }
}

impl From<Stop> for TryRecvError {
    fn from(stop: Stop) -> TryRecvError {
        match stop {
            Stop::NotNow => TryRecvError::Empty,
            Stop::Disconnected(peer) => TryRecvError::Disconnected(peer),
            Stop::Failed(error) => TryRecvError::Failed(error),
        }
    }
}

impl From<Stop> for RecvTimeoutError {
    fn from(stop: Stop) -> RecvTimeoutError {
        match stop {
            Stop::NotNow => RecvTimeoutError::Timeout,
            Stop::Disconnected(peer) => RecvTimeoutError::Disconnected(peer),
            Stop::Failed(error) => RecvTimeoutError::Failed(error),
        }
    }
}

/// What the errors that hold a message say, which says nothing of the message.
enum Reason<'a> {
    /// The variant's name, and a sentence.
    NotNow(&'static str, &'static str),
    Disconnected(&'a PeerEnd),
    Failed(&'a ChannelError),
}

macro_rules! error_with_a_message {
    ($Error:ident) => {
        impl<T> fmt::Debug for $Error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.reason() {
                    Reason::NotNow(variant, _) => f.write_str(variant),
                    Reason::Disconnected(peer) => {
                        f.debug_tuple("Disconnected").field(peer).finish()
                    }
                    Reason::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
                }
            }
        }

        impl<T> fmt::Display for $Error<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.reason() {
                    Reason::NotNow(_, sentence) => f.write_str(sentence),
                    Reason::Disconnected(peer) if peer.died() => {
                        write!(f, "the channel's receiver is gone{peer}")
                    }
                    Reason::Disconnected(_) => f.write_str(
                        "nothing more can be sent: the channel or queue is closed, or its receiver gone",
                    ),
                    Reason::Failed(error) => error.fmt(f),
                }
            }
        }

        impl<T> Error for $Error<T> {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                match self.reason() {
                    Reason::Failed(error) => error.source(),
                    _ => None,
                }
            }
        }
    };
}

error_with_a_message!(SendError);
error_with_a_message!(TrySendError);
error_with_a_message!(SendTimeoutError);

macro_rules! error_without_a_message {
    ($Error:ident $(, $not_now:ident: $sentence:literal)?) => {
        impl fmt::Display for $Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($Error::$not_now => f.write_str($sentence),)?
                    $Error::Disconnected(peer) if peer.died() => {
                        write!(f, "all senders of the channel are gone{peer}")
                    }
                    $Error::Disconnected(_) => {
                        f.write_str("nothing more will come: the channel or queue is closed, or all its senders gone")
                    }
                    $Error::Failed(error) => error.fmt(f),
                }
            }
        }

        impl Error for $Error {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                match self {
                    $Error::Failed(error) => error.source(),
                    _ => None,
                }
            }
        }
    };
}

error_without_a_message!(RecvError);
error_without_a_message!(TryRecvError, Empty: "no message is there");
error_without_a_message!(RecvTimeoutError, Timeout: "no message came in time");
