//! A queue whose messages are counted until they are done.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::time::Duration;

use multiproc_sync::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::builder::QueueBuilder;
use super::queue::{Queue, failing};
use super::travel;
use crate::error::{ChannelError, Stop};

/// A [`Queue`] whose takers say when they are through with a message, and that can be waited for until all are.
///
/// ```
/// use multiproc_channel::{JoinError, JoinableQueue};
/// use multiproc_process::Process;
///
/// let queue = JoinableQueue::new()?;
/// (0..3).try_for_each(|task: u32| queue.send(task))?;
/// let careless = Process::<()>::spawn(
///     |queue: JoinableQueue<u32>| {
///         queue.recv().unwrap();
///         std::process::abort()
///     },
///     queue.clone(),
/// )?;
/// assert!(careless.join().is_err());
/// for _ in 0..2 {
///     queue.recv()?;
///     queue.task_done()?;
/// }
/// assert!(matches!(queue.join(), Err(JoinError::Lost(1))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Differences from Python
/// Who has taken a message says that it is done: a process cannot do so for another. When a process ends with a
/// message in hand, [`join`](Self::join) says that it was lost, where Python's waits for ever.
#[doc(alias = "multiprocessing.JoinableQueue")]
pub struct JoinableQueue<T>(Queue<T>);

/// Why not all messages of a queue were done. See [`JoinableQueue::join`].
#[derive(Debug)]
pub enum JoinError {
    /// Nothing is left to wait for, but so many messages, in the queue's whole life, were in the hands of processes
    /// that ended without saying that they were done.
    Lost(u64),
    /// There was not enough time.
    Timeout,
    /// The queue is of no use any more.
    Failed(ChannelError),
}

/// A process has said more often that a message is done than it has taken one. See [`JoinableQueue::task_done`].
#[derive(Debug)]
pub enum TaskDoneError {
    /// This process has no message in hand.
    NothingInHand,
    /// The queue is of no use any more.
    Failed(ChannelError),
}

impl<T> JoinableQueue<T> {
    /// A queue that holds as many messages as there is memory for.
    ///
    /// # Errors
    /// As [`Queue::new`].
    pub fn new() -> io::Result<JoinableQueue<T>> {
        QueueBuilder::new().joinable()
    }

    /// A queue that holds at most so many messages.
    ///
    /// # Errors
    /// As [`Queue::bounded`].
    pub fn bounded(messages: usize) -> io::Result<JoinableQueue<T>> {
        QueueBuilder::new().bound(messages).joinable()
    }

    pub(super) fn over(queue: Queue<T>) -> JoinableQueue<T> {
        JoinableQueue(queue)
    }

    /// Says that this process is through with a message that it has taken.
    ///
    /// # Errors
    /// [`TaskDoneError::NothingInHand`] where it has none, which changes nothing.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        match failing(self.0.port.task_done()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TaskDoneError::NothingInHand),
            Err(error) => Err(TaskDoneError::Failed(error)),
        }
    }

    /// Waits until every message was taken and is done, as long as it takes.
    ///
    /// # Errors
    /// [`JoinError::Lost`] where some can never be done; [`JoinError::Failed`].
    pub fn join(&self) -> Result<(), JoinError> {
        self.join_until(Deadline::NEVER)
    }

    /// As [`join`](Self::join), for at most this long.
    ///
    /// # Errors
    /// As [`join`](Self::join), and [`JoinError::Timeout`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), JoinError> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&self, until: Deadline) -> Result<(), JoinError> {
        match self.0.port.join(until) {
            Ok(0) => Ok(()),
            Ok(lost) => Err(JoinError::Lost(lost)),
            Err(Stop::Failed(error)) => Err(JoinError::Failed(error)),
            Err(Stop::NotNow | Stop::Disconnected(_)) => Err(JoinError::Timeout),
        }
    }
}

/// Everything else is as with any queue.
impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue").finish_non_exhaustive()
    }
}

impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let port = travel::deserialize(deserializer, true)?;
        Ok(JoinableQueue(Queue::over(port)))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Lost(count) => write!(
                f,
                "{count} messages were in the hands of processes that ended before they were done"
            ),
            JoinError::Timeout => f.write_str("not all messages were done in time"),
            JoinError::Failed(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskDoneError::NothingInHand => {
                f.write_str("this process has no message of the queue in hand that could be done")
            }
            TaskDoneError::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for JoinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            JoinError::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl Error for TaskDoneError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TaskDoneError::Failed(error) => error.source(),
            TaskDoneError::NothingInHand => None,
        }
    }
}
