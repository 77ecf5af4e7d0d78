//! What carries a channel's messages, and the contract that all of it meets.
//!
//! [`Outlet`] and [`Inlet`] are that contract: bytes and handles go in on one side and come out on the other.
//! Values, and what is told to users, are the business of the crate's upper half, which knows a transport as a
//! [`Tx`] and an [`Rx`] only. `tests/conformance.rs` holds each transport to the contract, as users see it.

use std::io;
use std::sync::Arc;
use std::task::Waker;

use multiproc_sync::Deadline;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::wait::Watch;
use multiproc_wire::Handoff;
use multiproc_wire::handoff::Lender;
use serde::{Deserialize, Serialize};

use crate::error::{ChannelError, Stop};
#[cfg(feature = "ipc")]
use crate::ipc;
use crate::reactor;
use crate::ring;
use crate::words;

/// What carries a channel's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A ring in shared memory: no system call while both sides keep up.
    #[default]
    Ring,
    /// An `ipc-channel`: two system calls and a buffer of 200 KiB a message, and a folder in the temporary directory
    /// for a moment at each start and arrival, which a process that is killed in that moment leaves behind. Holds what its socket holds, whatever capacity is asked for; cannot be
    /// bounded in messages. Needs the feature `ipc`.
    #[cfg(feature = "ipc")]
    Ipc,
}

/// What a channel is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) transport: Transport,
    /// How many bytes the channel holds.
    pub(crate) bytes: usize,
    /// How many messages it holds, if that is limited.
    pub(crate) messages: Option<usize>,
    /// The longest message, in bytes.
    pub(crate) max_message: usize,
}

/// What a message is given in front of it, for the transport's own use.
pub(crate) const PREFIX: usize = 12;

/// The longest message that is received without a buffer of its own.
pub(crate) const SHORT: usize = 64;

/// A channel's sending end. Clones, and what arrives in other processes, send to the same receiver.
///
/// - A message arrives wholly or not at all, whoever is killed when; its handles arrive with it, however many.
/// - Those of one end arrive in order.
/// - Of what a `send` that fails was given, nothing arrives, and none of its handles stays open for it.
/// - When the last end is gone, in whatever way and wherever it was, the [`Inlet`] learns of it.
pub(crate) trait Outlet: Clone + Serialize + for<'de> Deserialize<'de> {
    /// Sends what lies behind the first [`PREFIX`] bytes of `message`, with its handles, before the deadline;
    /// without one, now or not at all.
    ///
    /// # Errors
    /// [`Stop::NotNow`] where there was no room in time, [`Stop::Disconnected`] where the receiver is gone or
    /// closed, or else what is wrong with the message or the channel.
    fn send(
        &self,
        message: &mut [u8],
        handoff: &Handoff,
        until: Option<Deadline>,
    ) -> Result<(), Stop>;

    /// Sends as [`send`](Self::send) does without a deadline, for a future: a message of any length, and waiting a
    /// moment for whoever is in the middle of a send.
    ///
    /// # Errors
    /// As of [`send`](Self::send).
    fn offer(&self, message: &mut [u8], handoff: &Handoff) -> Result<(), Stop>;

    /// Has `waker` woken once an offer may find room, or an end: to be made once more after this, and then when woken.
    ///
    /// # Errors
    /// Too many open files, or threads.
    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop>;

    /// How many messages are there.
    fn len(&self) -> usize;

    /// How many there may be, if that is limited.
    fn bound(&self) -> Option<u64>;

    /// Whether a send would find the channel closed, or its receiver gone.
    fn is_closed(&self) -> bool;

    /// Has nothing more sent, by any end. What was sent before is still received, and then the end.
    fn close(&self);
}

/// By what a future is told that it is to look again, until dropped.
#[derive(Debug)]
#[must_use = "nobody is told when it is dropped"]
pub(crate) struct Told {
    _word: Option<words::Entry>,
    _handles: [Option<reactor::Entry>; 2],
}

impl Told {
    pub(crate) fn by_word(entry: words::Entry) -> Told {
        Told {
            _word: Some(entry),
            _handles: [None, None],
        }
    }

    pub(crate) fn by_word_and_handle(word: words::Entry, handle: reactor::Entry) -> Told {
        Told {
            _word: Some(word),
            _handles: [Some(handle), None],
        }
    }

    #[cfg(feature = "ipc")]
    pub(crate) fn by_handles(handles: [reactor::Entry; 2]) -> Told {
        Told {
            _word: None,
            _handles: handles.map(Some),
        }
    }
}

/// A channel's receiving end, of which there is one. Serialized it is *packed*, and when that message was sent it
/// has *moved*: packed or moved it receives nothing. It stays if the message is given up.
pub(crate) trait Inlet: Serialize + for<'de> Deserialize<'de> {
    /// What was received.
    type Message: Received;

    /// The next message before the deadline; without one, now or not at all. One that is short and has no handles may
    /// be copied to `short`.
    ///
    /// # Errors
    /// [`Stop::NotNow`] where none came in time; [`Stop::Disconnected`] where none will come, all that was sent
    /// having been received; [`ChannelError::MOVED`]; or what is wrong with the message
    /// or the channel. A message that is wrong is passed over.
    fn receive(
        &self,
        short: &mut [u8; SHORT],
        until: Option<Deadline>,
    ) -> Result<Got<Self::Message>, Stop>;

    /// Takes a message's buffer back, for the next.
    fn give_back(&self, message: Self::Message);

    /// How many messages are there.
    ///
    /// # Errors
    /// [`ChannelError::MOVED`].
    fn len(&self) -> Result<usize, ChannelError>;

    /// Whether [`receive`](Self::receive) would answer now, if only by an error.
    fn is_ready(&self) -> bool {
        self.len().is_ok_and(|len| len > 0)
    }

    /// As of a [`Source`](multiproc_sys::wait::Source): what to sleep on until it may be ready.
    ///
    /// # Errors
    /// Too many open files.
    fn watch(&self) -> io::Result<Watch<'_>> {
        Ok(Watch::Look)
    }

    /// The sleep is over.
    fn unwatch(&self) {}

    /// Has nothing more sent. What was sent before is still received, and then the end.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn close(&self) -> Result<(), ChannelError>;
}

/// What was received.
#[derive(Debug)]
pub(crate) enum Got<M> {
    /// So many bytes, at the place for short messages.
    Short(usize),
    Message(M),
}

impl<M> Got<M> {
    #[inline]
    fn map<N>(self, map: impl FnOnce(M) -> N) -> Got<N> {
        match self {
            Got::Short(len) => Got::Short(len),
            Got::Message(message) => Got::Message(map(message)),
        }
    }
}

/// A message as it was received.
pub(crate) trait Received {
    fn bytes(&self) -> &[u8];
    fn take_handles(&mut self) -> Vec<Arc<OwnedHandle>>;
}

/// The sending end over any transport.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Tx {
    Ring(ring::Tx),
    #[cfg(feature = "ipc")]
    Ipc(ipc::Tx),
}

/// The receiving end over any transport.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Rx {
    Ring(ring::Rx),
    #[cfg(feature = "ipc")]
    Ipc(ipc::Rx),
}

/// A message over any transport.
#[derive(Debug)]
pub(crate) enum Message {
    Ring(ring::Message),
    #[cfg(feature = "ipc")]
    Ipc(ipc::Message),
}

/// Both ends of a new channel.
pub(crate) fn create(settings: &Settings) -> io::Result<(Tx, Rx)> {
    match settings.transport {
        Transport::Ring => {
            let (tx, rx) = ring::create(settings)?;
            Ok((Tx::Ring(tx), Rx::Ring(rx)))
        }
        #[cfg(feature = "ipc")]
        Transport::Ipc => {
            let (tx, rx) = ipc::create(settings)?;
            Ok((Tx::Ipc(tx), Rx::Ipc(rx)))
        }
    }
}

impl Tx {
    /// By which long runs of bytes are lent to the receiver.
    #[inline]
    pub(crate) fn lender(&self) -> Option<&'static Lender> {
        match self {
            Tx::Ring(tx) => tx.lender(),
            #[cfg(feature = "ipc")]
            Tx::Ipc(_) => None,
        }
    }
}

impl Outlet for Tx {
    #[inline]
    fn send(
        &self,
        message: &mut [u8],
        handoff: &Handoff,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        match self {
            Tx::Ring(tx) => tx.send(message, handoff, until),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.send(message, handoff, until),
        }
    }

    fn offer(&self, message: &mut [u8], handoff: &Handoff) -> Result<(), Stop> {
        match self {
            Tx::Ring(tx) => tx.offer(message, handoff),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.offer(message, handoff),
        }
    }

    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop> {
        match self {
            Tx::Ring(tx) => tx.watch_room(waker),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.watch_room(waker),
        }
    }

    fn len(&self) -> usize {
        match self {
            Tx::Ring(tx) => tx.len(),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.len(),
        }
    }

    fn bound(&self) -> Option<u64> {
        match self {
            Tx::Ring(tx) => tx.bound(),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.bound(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Tx::Ring(tx) => tx.is_closed(),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.is_closed(),
        }
    }

    fn close(&self) {
        match self {
            Tx::Ring(tx) => tx.close(),
            #[cfg(feature = "ipc")]
            Tx::Ipc(tx) => tx.close(),
        }
    }
}

impl Inlet for Rx {
    type Message = Message;

    #[inline]
    fn receive(
        &self,
        short: &mut [u8; SHORT],
        until: Option<Deadline>,
    ) -> Result<Got<Message>, Stop> {
        match self {
            Rx::Ring(rx) => Ok(rx.receive(short, until)?.map(Message::Ring)),
            #[cfg(feature = "ipc")]
            Rx::Ipc(rx) => Ok(rx.receive(short, until)?.map(Message::Ipc)),
        }
    }

    #[inline]
    fn give_back(&self, message: Message) {
        match (self, message) {
            (Rx::Ring(rx), Message::Ring(message)) => rx.give_back(message),
            #[cfg(feature = "ipc")]
            (Rx::Ipc(rx), Message::Ipc(message)) => rx.give_back(message),
            // A message of another channel has no buffer of this one's.
            #[cfg(feature = "ipc")]
            _ => {}
        }
    }

    fn len(&self) -> Result<usize, ChannelError> {
        match self {
            Rx::Ring(rx) => rx.len(),
            #[cfg(feature = "ipc")]
            Rx::Ipc(rx) => rx.len(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Rx::Ring(rx) => rx.is_ready(),
            #[cfg(feature = "ipc")]
            Rx::Ipc(rx) => rx.is_ready(),
        }
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        match self {
            Rx::Ring(rx) => rx.watch(),
            #[cfg(feature = "ipc")]
            Rx::Ipc(rx) => rx.watch(),
        }
    }

    fn unwatch(&self) {
        match self {
            Rx::Ring(rx) => rx.unwatch(),
            #[cfg(feature = "ipc")]
            Rx::Ipc(rx) => rx.unwatch(),
        }
    }

    fn close(&self) -> Result<(), ChannelError> {
        match self {
            Rx::Ring(rx) => rx.close(),
            #[cfg(feature = "ipc")]
            Rx::Ipc(rx) => rx.close(),
        }
    }
}

impl Received for Message {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Message::Ring(message) => message.bytes(),
            #[cfg(feature = "ipc")]
            Message::Ipc(message) => message.bytes(),
        }
    }

    #[inline]
    fn take_handles(&mut self) -> Vec<Arc<OwnedHandle>> {
        match self {
            Message::Ring(message) => message.take_handles(),
            #[cfg(feature = "ipc")]
            Message::Ipc(message) => message.take_handles(),
        }
    }
}
