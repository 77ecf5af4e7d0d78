//! The typed ends, over a transport of bytes and handles.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use multiproc_shm::bulk::LENDER;
use multiproc_sync::Deadline;
use multiproc_wire::{Decoder, decode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::builder::ChannelBuilder;
use crate::encoding::transmit;
use crate::error::{
    ChannelError, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Stop, TryRecvError,
    TrySendError,
};
use crate::transport::{Got, Inlet, Outlet, Received, Rx, SHORT, Tx};

/// Both ends of a new channel, which holds 64 KiB of messages: beyond that, a sender waits for the receiver.
///
/// # Errors
/// Where there is no memory for it, or too many files are open.
///
/// # Differences from Python
/// A `multiprocessing.Pipe` has two ends that talk to each other, and two processes that write to one end at a
/// time spoil it. A channel has one direction and as many senders as you like.
#[doc(alias = "multiprocessing.Pipe")]
#[doc(alias = "unbounded")]
pub fn channel<T>() -> io::Result<(Sender<T>, Receiver<T>)> {
    ChannelBuilder::new().channel()
}

/// Both ends of a new channel that holds `bytes` bytes of messages, each of which takes 8 to 16 bytes
/// more than its encoded form. A longer message passes through piece by piece.
///
/// # Errors
/// `InvalidInput` where `bytes` is no power of two from 64 to 2³⁰; otherwise as [`channel`].
pub fn channel_with_capacity<T>(bytes: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    ChannelBuilder::new().capacity(bytes).channel()
}

/// Both ends of a new channel that holds at most so many messages, besides the one in the receiver's hand.
///
/// They also fit into 64 KiB: what is longer passes through piece by piece, and takes a receiver that takes
/// part. A queue holds its number of messages whatever their length.
///
/// # Errors
/// `InvalidInput` where `messages` is 0 or over 2³²; otherwise as [`channel`].
///
/// # Differences from Python
/// `multiprocessing.Queue(maxsize)` counts what a thread of the sending process has not written yet. Here a
/// message that was sent is in the channel.
pub fn bounded<T>(messages: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    ChannelBuilder::new().bound(messages).channel()
}

/// The sending end of a channel. Clones, here and in other processes, send to the same receiver, which learns of the end
/// when all of them are dropped: a program that keeps one for itself waits for itself.
pub struct Sender<T> {
    tx: Tx,
    messages: PhantomData<fn(T)>,
}

/// The receiving end of a channel, of which there is one; where many are to receive, that is a [`Queue`](crate::Queue).
///
/// To iterate over it gives each message in a `Result`, since one that cannot be decoded costs that message only.
///
/// It is a serde value: sent to another process it moves there, and the local one then answers that it has
/// [moved](crate::ChannelError::is_moved).
pub struct Receiver<T> {
    rx: Rx,
    messages: PhantomData<fn() -> T>,
}

impl<T> Sender<T> {
    pub(crate) fn new(tx: Tx) -> Sender<T> {
        Sender {
            tx,
            messages: PhantomData,
        }
    }

    pub(crate) fn tx(&self) -> &Tx {
        &self.tx
    }

    /// How many messages are there, wholly, that were not received yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tx.len()
    }

    /// Whether no message is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a [`bounded`] channel holds as many messages as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let len = self.len() as u64;
        self.tx.bound().is_some_and(|bound| len >= bound)
    }

    /// Whether a message sent now would be given back: the channel is closed, or its receiver gone, be it by
    /// `kill -9`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tx.is_closed()
    }

    /// Has nothing more sent, by this sender or any other, here or elsewhere. What was sent before is still received,
    /// and then the end. To say that only this sender is through, drop it.
    #[doc(alias = "multiprocessing.Connection.close")]
    pub fn close(&self) {
        self.tx.close();
    }
}

impl<T> Receiver<T> {
    pub(crate) fn new(rx: Rx) -> Receiver<T> {
        Receiver {
            rx,
            messages: PhantomData,
        }
    }

    pub(crate) fn rx(&self) -> &Rx {
        &self.rx
    }

    /// How many messages are there, wholly.
    ///
    /// # Errors
    /// Where the receiver has [moved](ChannelError::is_moved).
    pub fn len(&self) -> Result<usize, ChannelError> {
        self.rx.len()
    }

    /// Whether no message is there.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    #[doc(alias = "multiprocessing.Connection.poll")]
    pub fn is_empty(&self) -> Result<bool, ChannelError> {
        Ok(self.len()? == 0)
    }

    /// Has nothing more sent: senders are told that the channel is disconnected. What was sent before is still
    /// received, and then the end.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    #[doc(alias = "multiprocessing.Connection.close")]
    pub fn close(&self) -> Result<(), ChannelError> {
        self.rx.close()
    }
}

impl<T: Serialize> Sender<T> {
    /// Sends a message, waiting for room as long as it takes.
    ///
    /// # Errors
    /// [`SendError`] with the message: the receiver is gone, or the message cannot be sent.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.transmit(&message, Some(Deadline::NEVER)) {
            Ok(()) => Ok(()),
            Err(stop) => Err(SendError::new(message, stop)),
        }
    }

    /// Sends a message if there is room for all of it now and nobody else is sending.
    ///
    /// A message that is longer than the channel never has room: it needs a receiver that takes part.
    ///
    /// # Errors
    /// [`TrySendError`] with the message.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match self.transmit(&message, None) {
            Ok(()) => Ok(()),
            Err(stop) => Err(TrySendError::new(message, stop)),
        }
    }

    /// Sends a message, waiting for room at most this long.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message, of which then nothing arrives.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.transmit(&message, Some(Deadline::after(timeout))) {
            Ok(()) => Ok(()),
            Err(stop) => Err(SendTimeoutError::new(message, stop)),
        }
    }

    /// Sends a message if there is room now, for a future.
    pub(crate) fn offer(&self, message: &T) -> Result<(), Stop> {
        transmit(message, None, |bytes, handoff| {
            self.tx.offer(bytes, handoff)
        })
    }

    #[inline]
    fn transmit(&self, message: &T, until: Option<Deadline>) -> Result<(), Stop> {
        transmit(message, self.tx.lender(), |bytes, handoff| {
            self.tx.send(bytes, handoff, until)
        })
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next message, waited for as long as it takes.
    ///
    /// # Errors
    /// [`RecvError`]: all senders are gone, or a message could not be received.
    pub fn recv(&self) -> Result<T, RecvError> {
        Ok(self.take(Some(Deadline::NEVER))?)
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError`].
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        Ok(self.take(None)?)
    }

    /// The next message, waited for at most this long.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        Ok(self.take(Some(Deadline::after(timeout)))?)
    }

    #[inline]
    fn take(&self, until: Option<Deadline>) -> Result<T, Stop> {
        let mut short = [0; SHORT];
        let mut message = match self.rx.receive(&mut short, until)? {
            Got::Short(len) => return Ok(decode(&short[..len], Vec::new())?),
            Got::Message(message) => message,
        };
        let handles = message.take_handles();
        let decoder = Decoder::new(message.bytes(), handles).lending(&LENDER);
        let value = decoder.only();
        self.rx.give_back(message);
        Ok(value?)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender {
            tx: self.tx.clone(),
            messages: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.tx.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sender<T>, D::Error> {
        Tx::deserialize(deserializer).map(Sender::new)
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rx.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Receiver<T>, D::Error> {
        Rx::deserialize(deserializer).map(Receiver::new)
    }
}
