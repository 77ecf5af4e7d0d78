//! The queue that users have.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use multiproc_sync::Deadline;
use multiproc_wire::decode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::builder::QueueBuilder;
use super::port::Port;
use super::travel;
use crate::encoding::{KEPT, transmit};
use crate::error::{
    ChannelError, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Stop, TryRecvError,
    TrySendError,
};
use crate::transport::Told;
use crate::words;

/// A queue into which many processes put messages, and from which many take them: each message goes to one.
///
/// It is a serde value: clones, here and in other processes, are handles of the same queue.
///
/// ```
/// use multiproc_channel::Queue;
/// use multiproc_process::Process;
///
/// let (tasks, results) = (Queue::new()?, Queue::new()?);
/// let work = |(tasks, results): (Queue<u64>, Queue<u64>)| {
///     for task in &tasks {
///         results.send(task.unwrap().pow(2)).unwrap();
///     }
/// };
/// let workers = [(); 2].map(|()| Process::spawn(work, (tasks.clone(), results.clone())));
/// (1..=3).try_for_each(|task| tasks.send(task))?;
/// tasks.close()?;
/// for worker in workers {
///     worker?.join()?;
/// }
/// let mut sum = 0;
/// while let Ok(result) = results.try_recv() {
///     sum += result;
/// }
/// assert_eq!(sum, 1 + 4 + 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
/// A message that it was putting is in the queue wholly or not at all. Of what it was taking, the one message in its
/// hand is lost at most. Nobody waits for it.
///
/// # Differences from Python
/// A message that was put is in the queue: no thread of the process writes it later, so that there is nothing to
/// wait for before it exits, and a process that exits or is killed right after `send` has sent. A process that is
/// killed while it has the queue's lock does not keep the others waiting. `close` is for all processes and has
/// takers told when nothing more will come; Python's closes one process's handle.
///
/// What cannot be encoded is an error of the call that puts it, which gives it back; Python prints a traceback in a
/// thread and drops it. A message is as it was when it was put. `len`, `is_empty` and `is_full` say what is so at that
/// moment, where Python's are approximate; and messages come out in the order in which they were put, whoever put
/// them.
#[doc(alias = "multiprocessing.Queue")]
pub struct Queue<T> {
    pub(super) port: Arc<Port>,
    messages: PhantomData<fn(T) -> T>,
}

thread_local! {
    /// Into which the thread's next message is taken.
    static TAKEN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<T> Queue<T> {
    /// A queue that holds as many messages as there is memory for: a gibibyte of them, and longer ones beside.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<Queue<T>> {
        QueueBuilder::new().queue()
    }

    /// A queue that holds at most so many messages.
    ///
    /// # Errors
    /// `InvalidInput` for 0; otherwise as [`new`](Self::new).
    #[doc(alias = "maxsize")]
    pub fn bounded(messages: usize) -> io::Result<Queue<T>> {
        QueueBuilder::new().bound(messages).queue()
    }

    pub(super) fn over(port: Arc<Port>) -> Queue<T> {
        Queue {
            port,
            messages: PhantomData,
        }
    }

    pub(crate) fn port(&self) -> &Port {
        &self.port
    }

    /// Has `waker` woken once there may be room.
    pub(crate) fn watch_room(&self, waker: &Waker) -> Result<Told, Stop> {
        let seen = self.port.watch_room()?;
        let entry = words::enter(Arc::clone(&self.port) as Arc<_>, seen, waker)?;
        Ok(Told::by_word(entry))
    }

    /// How many messages are there.
    ///
    /// # Errors
    /// Where the queue's memory was [spoiled](ChannelError::is_corrupt).
    #[doc(alias = "qsize")]
    pub fn len(&self) -> Result<usize, ChannelError> {
        let len = failing(self.port.len())?;
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Whether no message is there.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> Result<bool, ChannelError> {
        Ok(self.len()? == 0)
    }

    /// Whether a bounded queue holds as many messages as it may.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    #[doc(alias = "full")]
    pub fn is_full(&self) -> Result<bool, ChannelError> {
        let len = failing(self.port.len())?;
        Ok(self.port.limits.messages.is_some_and(|bound| len >= bound))
    }

    /// Has nothing more put, by any process. What is there is still taken, and then takers are told that the queue
    /// is disconnected.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn close(&self) -> Result<(), ChannelError> {
        failing(self.port.close())
    }

    /// Whether the queue was closed.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_closed(&self) -> Result<bool, ChannelError> {
        failing(self.port.is_closed())
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts a message, waiting for room as long as it takes.
    ///
    /// # Errors
    /// [`SendError`] with the message: the queue is closed, or the message cannot be sent.
    #[doc(alias = "put")]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.put(&message, Some(Deadline::NEVER)) {
            Ok(()) => Ok(()),
            Err(stop) => Err(SendError::new(message, stop)),
        }
    }

    /// Puts a message if there is room now.
    ///
    /// # Errors
    /// [`TrySendError`] with the message.
    #[doc(alias = "put_nowait")]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match self.put(&message, None) {
            Ok(()) => Ok(()),
            Err(stop) => Err(TrySendError::new(message, stop)),
        }
    }

    /// Puts a message, waiting for room at most this long.
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the message.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match self.put(&message, Some(Deadline::after(timeout))) {
            Ok(()) => Ok(()),
            Err(stop) => Err(SendTimeoutError::new(message, stop)),
        }
    }

    pub(crate) fn put(&self, message: &T, until: Option<Deadline>) -> Result<(), Stop> {
        transmit(message, None, |bytes, handoff| {
            self.port.send(bytes, handoff.handles(), until)
        })
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the oldest message, waiting for one as long as it takes.
    ///
    /// # Errors
    /// [`RecvError`]: the queue is closed and empty, or a message could not be received, which is lost then.
    #[doc(alias = "get")]
    pub fn recv(&self) -> Result<T, RecvError> {
        Ok(self.take(Some(Deadline::NEVER))?)
    }

    /// Takes the oldest message, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError`].
    #[doc(alias = "get_nowait")]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        Ok(self.take(None)?)
    }

    /// Takes the oldest message, waiting for one at most this long.
    ///
    /// # Errors
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        Ok(self.take(Some(Deadline::after(timeout)))?)
    }

    /// Takes message after message, waiting for each, until the queue is closed and empty.
    ///
    /// An item that is an error is a message that could not be received; the ones after it still are.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            queue: self,
            ended: false,
        }
    }

    fn take(&self, until: Option<Deadline>) -> Result<T, Stop> {
        let message = self.port.receive(TAKEN.take(), until)?;
        let value = decode(&message.bytes[message.start..], message.handles);
        if message.bytes.capacity() <= KEPT {
            TAKEN.set(message.bytes);
        }
        Ok(value?)
    }
}

/// Takes message after message from a queue. See [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    queue: &'a Queue<T>,
    ended: bool,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, ChannelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.queue.recv() {
            Ok(message) => Some(Ok(message)),
            Err(RecvError::Disconnected(_)) => None,
            Err(RecvError::Failed(error)) => {
                self.ended = error.is_corrupt();
                Some(Err(error))
            }
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Queue<T> {
    type Item = Result<T, ChannelError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// What waited for the lock without end, and so did not stop for want of time, nor for a queue that is closed.
pub(super) fn failing<R>(result: Result<R, Stop>) -> Result<R, ChannelError> {
    result.map_err(|stop| match stop {
        Stop::Failed(error) => error,
        Stop::NotNow | Stop::Disconnected(_) => unreachable!("nothing was waited for"),
    })
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue::over(Arc::clone(&self.port))
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        travel::serialize(&self.port, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Queue<T>, D::Error> {
        travel::deserialize(deserializer, false).map(Queue::over)
    }
}
