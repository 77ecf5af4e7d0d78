//! A queue that is not as [`Queue::new`] makes it.

use std::io;

use multiproc_shm::ring::DEFAULT_LIMIT;

use super::joinable::JoinableQueue;
use super::port::{Limits, Port};
use super::queue::Queue;
use super::simple::SimpleQueue;

/// What a queue is to be like.
///
/// ```
/// use multiproc_channel::QueueBuilder;
///
/// let queue = QueueBuilder::new().bound(2).max_message(100).queue()?;
/// queue.send("x".repeat(101)).unwrap_err();
/// queue.send("one".to_owned())?;
/// queue.send("two".to_owned())?;
/// queue.try_send("three".to_owned()).unwrap_err();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "`queue` or `joinable` makes it"]
pub struct QueueBuilder {
    messages: Option<usize>,
    max_message: usize,
}

impl QueueBuilder {
    /// A queue as [`Queue::new`] makes it.
    pub fn new() -> QueueBuilder {
        QueueBuilder {
            messages: None,
            max_message: DEFAULT_LIMIT,
        }
    }

    /// How many messages the queue holds at most, one or more. As many as there is memory for where nothing is asked
    /// for.
    pub fn bound(mut self, messages: usize) -> QueueBuilder {
        self.messages = Some(messages);
        self
    }

    /// The longest message, in bytes of its encoded form: 1 GiB where nothing is asked for.
    pub fn max_message(mut self, bytes: usize) -> QueueBuilder {
        self.max_message = bytes;
        self
    }

    /// Such a queue.
    ///
    /// # Errors
    /// `InvalidInput` for a bound of 0; where there is no memory for it, or too many files are open.
    pub fn queue<T>(&self) -> io::Result<Queue<T>> {
        self.port(false).map(Queue::over)
    }

    /// Such a queue, whose messages are counted until they are done.
    ///
    /// # Errors
    /// As [`queue`](Self::queue).
    pub fn joinable<T>(&self) -> io::Result<JoinableQueue<T>> {
        self.port(true).map(Queue::over).map(JoinableQueue::over)
    }

    /// Such a queue, with less to know about.
    ///
    /// # Errors
    /// As [`queue`](Self::queue).
    pub fn simple<T>(&self) -> io::Result<SimpleQueue<T>> {
        self.queue().map(SimpleQueue::over)
    }

    fn port(&self, joined: bool) -> io::Result<std::sync::Arc<Port>> {
        if self.messages == Some(0) {
            let why = "a queue that holds no message would pass none on";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Port::create(Limits {
            max_message: self.max_message,
            messages: self.messages.map(|messages| messages as u64),
            joined,
        })
    }
}

impl Default for QueueBuilder {
    fn default() -> QueueBuilder {
        QueueBuilder::new()
    }
}
