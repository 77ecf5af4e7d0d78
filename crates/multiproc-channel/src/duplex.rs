//! Two ends that talk to each other.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multiproc_wire::handoff;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::builder::ChannelBuilder;
use crate::channel::{Receiver, Sender};
use crate::error::{
    ChannelError, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError,
    TrySendError,
};

/// Two ends, each of which receives what the other sends.
///
/// ```
/// use multiproc_channel::{Duplex, duplex};
/// use multiproc_process::Process;
///
/// let (here, there) = duplex()?;
/// let child = Process::spawn(
///     |end: Duplex<usize, String>| end.send(end.recv().unwrap().len()).is_ok(),
///     there,
/// )?;
/// here.send("four".to_owned())?;
/// assert_eq!(here.recv()?, 4);
/// assert!(child.join()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`channel`](crate::channel).
///
/// # Differences from Python
/// An end has a type of messages each way. It has one owner: sent to another process it moves there, where
/// Python's is copied, and two processes that use one end at a time spoil each other's messages. A message that its
/// sender did not get to finish never comes, where Python's reader gets an error in its middle. There is no limit at
/// which a message is too large for a reader's buffer, but the one that both ends were made with.
#[doc(alias = "multiprocessing.Pipe")]
pub fn duplex<A, B>() -> io::Result<(Duplex<A, B>, Duplex<B, A>)> {
    ChannelBuilder::new().duplex()
}

impl ChannelBuilder {
    /// Two ends as [`duplex`] makes them, each direction a channel as this builder makes it.
    ///
    /// # Errors
    /// As [`channel`](Self::channel).
    pub fn duplex<A, B>(&self) -> io::Result<(Duplex<A, B>, Duplex<B, A>)> {
        let (to_there, from_here) = self.channel()?;
        let (to_here, from_there) = self.channel()?;
        Ok((
            Duplex::new(to_there, from_there),
            Duplex::new(to_here, from_here),
        ))
    }
}

/// One of two ends that talk to each other: it sends `S` and receives `R`.
///
/// It is a serde value: sent to another process it moves there, and the local one then answers that it has
/// [moved](ChannelError::is_moved).
#[doc(alias = "multiprocessing.Connection")]
pub struct Duplex<S, R> {
    /// Nothing once the end has moved, so that it does not keep the other side waiting.
    sender: Arc<Mutex<Option<Sender<S>>>>,
    receiver: Receiver<R>,
}

impl<S, R> Duplex<S, R> {
    fn new(sender: Sender<S>, receiver: Receiver<R>) -> Duplex<S, R> {
        Duplex {
            sender: Arc::new(Mutex::new(Some(sender))),
            receiver,
        }
    }

    /// How many messages are there to be received.
    ///
    /// # Errors
    /// Where the end has [moved](ChannelError::is_moved).
    pub fn len(&self) -> Result<usize, ChannelError> {
        self.receiver.len()
    }

    /// Whether no message is there to be received.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    #[doc(alias = "multiprocessing.Connection.poll")]
    pub fn is_empty(&self) -> Result<bool, ChannelError> {
        self.receiver.is_empty()
    }

    /// Has nothing more sent, either way. What was sent before is still received on both sides, and then the end.
    ///
    /// # Errors
    /// Where the end has [moved](ChannelError::is_moved).
    #[doc(alias = "multiprocessing.Connection.close")]
    pub fn close(&self) -> Result<(), ChannelError> {
        self.receiver.close()?;
        if let Some(sender) = self.sender() {
            sender.close();
        }
        Ok(())
    }

    /// The half that receives, to iterate over or to wait for, or for [`recv_async`](Receiver::recv_async).
    #[must_use]
    pub fn receiver(&self) -> &Receiver<R> {
        &self.receiver
    }

    /// Both halves, each to go its own way. The first is `None` where the end has moved.
    #[must_use]
    pub fn into_halves(self) -> (Option<Sender<S>>, Receiver<R>) {
        let sender = lock(&self.sender).take();
        (sender, self.receiver)
    }

    /// One more handle of the half that sends, for another thread or for [`send_async`](Sender::send_async); `None` where
    /// the end has moved. The other side learns of this side's end when it is dropped, too.
    #[must_use]
    pub fn sender(&self) -> Option<Sender<S>> {
        lock(&self.sender).clone()
    }
}

impl<S: Serialize, R> Duplex<S, R> {
    /// Sends a message, waiting for room as long as it takes.
    ///
    /// # Errors
    /// As [`Sender::send`]; and where the end has [moved](ChannelError::is_moved).
    pub fn send(&self, message: S) -> Result<(), SendError<S>> {
        match self.sender() {
            Some(sender) => sender.send(message),
            None => Err(SendError::Failed(message, ChannelError::MOVED)),
        }
    }

    /// Sends a message if there is room for all of it now.
    ///
    /// # Errors
    /// As [`Sender::try_send`]; and where the end has [moved](ChannelError::is_moved).
    pub fn try_send(&self, message: S) -> Result<(), TrySendError<S>> {
        match self.sender() {
            Some(sender) => sender.try_send(message),
            None => Err(TrySendError::Failed(message, ChannelError::MOVED)),
        }
    }

    /// Sends a message, waiting for room at most this long.
    ///
    /// # Errors
    /// As [`Sender::send_timeout`]; and where the end has [moved](ChannelError::is_moved).
    pub fn send_timeout(&self, message: S, timeout: Duration) -> Result<(), SendTimeoutError<S>> {
        match self.sender() {
            Some(sender) => sender.send_timeout(message, timeout),
            None => Err(SendTimeoutError::Failed(message, ChannelError::MOVED)),
        }
    }
}

impl<S, R: DeserializeOwned> Duplex<S, R> {
    /// The next message, waited for as long as it takes.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn recv(&self) -> Result<R, RecvError> {
        self.receiver.recv()
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    /// As [`Receiver::try_recv`].
    pub fn try_recv(&self) -> Result<R, TryRecvError> {
        self.receiver.try_recv()
    }

    /// The next message, waited for at most this long.
    ///
    /// # Errors
    /// As [`Receiver::recv_timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout)
    }
}

fn lock<S>(sender: &Mutex<Option<Sender<S>>>) -> MutexGuard<'_, Option<Sender<S>>> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, R> fmt::Debug for Duplex<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplex").finish_non_exhaustive()
    }
}

impl<S: 'static, R> Serialize for Duplex<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let Some(sender) = self.sender() else {
            return Err(ser::Error::custom("the end was sent to another process"));
        };
        let place = Arc::clone(&self.sender);
        handoff::when_sent(move || drop(lock(&place).take())).map_err(ser::Error::custom)?;
        (sender, &self.receiver).serialize(serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Duplex<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (sender, receiver) = <(Sender<S>, Receiver<R>)>::deserialize(deserializer)?;
        Ok(Duplex::new(sender, receiver))
    }
}
