//! A queue with less to know about.

use std::fmt;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::builder::QueueBuilder;
use super::queue::Queue;
use crate::error::{ChannelError, RecvError, SendError};

/// An unbounded [`Queue`] that is only put to, taken from, and closed.
#[doc(alias = "multiprocessing.SimpleQueue")]
pub struct SimpleQueue<T>(Queue<T>);

impl<T> SimpleQueue<T> {
    /// An empty one.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new() -> io::Result<SimpleQueue<T>> {
        QueueBuilder::new().simple()
    }

    pub(super) fn over(queue: Queue<T>) -> SimpleQueue<T> {
        SimpleQueue(queue)
    }

    /// Whether no message is there.
    ///
    /// # Errors
    /// As [`Queue::len`].
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool, ChannelError> {
        self.0.is_empty()
    }

    /// As [`Queue::close`].
    ///
    /// # Errors
    /// As [`Queue::len`].
    pub fn close(&self) -> Result<(), ChannelError> {
        self.0.close()
    }

    /// Puts a message.
    ///
    /// # Errors
    /// As [`Queue::send`].
    #[doc(alias = "put")]
    pub fn send(&self, message: T) -> Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.0.send(message)
    }

    /// Takes the oldest message, waiting for one as long as it takes.
    ///
    /// # Errors
    /// As [`Queue::recv`].
    #[doc(alias = "get")]
    pub fn recv(&self) -> Result<T, RecvError>
    where
        T: DeserializeOwned,
    {
        self.0.recv()
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> SimpleQueue<T> {
        SimpleQueue(self.0.clone())
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueue").finish_non_exhaustive()
    }
}

impl<T> Serialize for SimpleQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for SimpleQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::deserialize(deserializer).map(SimpleQueue)
    }
}
