//! What can go wrong with a pool, and with a task.

use std::fmt;
use std::time::Duration;

use multiproc_process::ExitStatus;
use multiproc_wire::{DecodeError, EncodeError, Panic};

/// A task gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// The task's function panicked. The worker lives on, unless the program aborts on panics; then another
    /// takes its place.
    Panicked(Panic),
    /// The worker ended while it ran the task: killed, crashed, or by `exit`. No other task is affected,
    /// and another worker takes its place.
    WorkerLost {
        /// The number of the worker's process.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
        /// The task's place among the items of its `map`; 0 for an `apply`.
        task: usize,
        /// Whether it was this task that the worker ran. It is not where a pool has broken
        /// ([`FailureMode::BreakAll`](crate::FailureMode::BreakAll)) with the one it ran.
        started: bool,
        /// How often the task was started.
        attempts: u32,
        /// What the worker wrote last to standard error, where the pool keeps that
        /// ([`stderr_tail`](crate::Builder::stderr_tail)).
        stderr: String,
    },
    /// The argument cannot be encoded. Nothing was sent.
    Encode(EncodeError),
    /// The encoded argument is longer than is sent. Nothing was sent.
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// The longest that is sent.
        limit: usize,
    },
    /// The argument has more handles in it than are sent. Nothing was sent.
    TooManyHandles {
        /// How many.
        count: usize,
        /// The most that are sent.
        limit: usize,
    },
    /// The worker could not decode the argument, or find the function.
    ArgumentsLost(String),
    /// The worker could not encode the result.
    ResultLost(String),
    /// The result cannot be decoded here.
    Decode(DecodeError),
    /// The function is in no image that another process could have loaded.
    Function(String),
    /// The task was cancelled, or still open when the pool was terminated or dropped.
    Cancelled,
    /// The task ran longer than the pool allows, and was ended with its worker.
    TimedOut {
        /// How long the pool allows.
        after: Duration,
    },
    /// The pool takes no more tasks: it was closed.
    PoolClosed,
    /// There are as many tasks as there may be that are not settled, and the call was not to wait.
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// Chunks of no items were asked for.
    NoChunk,
    /// The array that was to be changed is poisoned: who changed it before did not finish.
    Poisoned,
    /// The pool is the parent's, of which this process is a forked copy: there no wait waits, and nothing is ever ready.
    Forked,
    /// The pool has given up: that many workers in a row ended before they were ready for a task.
    RestartLimit {
        /// How many.
        starts: u32,
        /// What became of the last.
        last: String,
    },
    /// The pool's workers are threads, which cannot do what was asked of the task.
    NotForThreads {
        /// What was asked.
        what: &'static str,
    },
    /// The result had not come within the time given. The task goes on, and can be waited for again.
    NotReady,
    /// The result was given before.
    Taken,
}

impl TaskError {
    /// The same error, as it is told of a task that the lost worker did not run.
    pub(crate) fn of_another(mut self) -> TaskError {
        if let TaskError::WorkerLost { started, .. } = &mut self {
            *started = false;
        }
        self
    }

    /// Whether a wait with a timeout came to its end first: the task goes on.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, TaskError::NotReady)
    }

    /// The panic that ended the task.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            TaskError::Panicked(panic) => Some(panic),
            _ => None,
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Panicked(panic) => write!(f, "the task {panic}"),
            TaskError::WorkerLost {
                pid,
                status,
                task,
                attempts,
                stderr,
                ..
            } => {
                write!(
                    f,
                    "the worker (pid {pid}) that ran task {task} ended with {status}"
                )?;
                if *attempts > 1 {
                    write!(
                        f,
                        ", as did those before it: the task was begun {attempts} times"
                    )?;
                }
                match stderr.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; it last wrote to standard error:\n{stderr}"),
                }
            }
            TaskError::Encode(error) => write!(f, "the task could not be sent: {error}"),
            TaskError::TooLarge { length, limit } => write!(
                f,
                "the task could not be sent: its argument takes {length} bytes, and {limit} is the limit"
            ),
            TaskError::TooManyHandles { count, limit } => write!(
                f,
                "the task could not be sent: its argument has {count} handles in it, and {limit} is the limit"
            ),
            TaskError::ArgumentsLost(why) => {
                write!(f, "the worker could not take up the task: {why}")
            }
            TaskError::ResultLost(why) => write!(f, "the task's result could not be sent: {why}"),
            TaskError::Decode(error) => write!(f, "the task's result cannot be taken: {error}"),
            TaskError::Function(why) => write!(f, "the task cannot be sent: {why}"),
            TaskError::Cancelled => f.write_str("the task was cancelled"),
            TaskError::TimedOut { after } => {
                write!(
                    f,
                    "the task was ended since it ran for longer than {after:?}"
                )
            }
            TaskError::Full { limit } => write!(
                f,
                "the pool takes no more tasks for now: the {limit} it may have are not settled"
            ),
            TaskError::NoChunk => f.write_str("a chunk needs at least one item"),
            TaskError::Poisoned => f.write_str(
                "the array is poisoned: who changed it did not finish, and nobody has cleared that",
            ),
            TaskError::Forked => f.write_str(
                "the pool belongs to the process of which this one is a forked copy: make one here",
            ),
            TaskError::PoolClosed => f.write_str("the pool takes no more tasks: it was closed"),
            TaskError::RestartLimit { starts, last } => write!(
                f,
                "the pool has given up: {starts} workers in a row ended before they were ready, \
                 the last with {last}"
            ),
            TaskError::NotForThreads { what } => {
                write!(
                    f,
                    "the task could not be sent: {what} is not for a pool of threads"
                )
            }
            TaskError::NotReady => f.write_str("the task had no result within the time given"),
            TaskError::Taken => f.write_str("the task's result was given before"),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TaskError::Panicked(panic) => Some(panic),
            TaskError::Encode(error) => Some(error),
            TaskError::Decode(error) => Some(error),
            _ => None,
        }
    }
}

/// A pool could not be made, or not be joined.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    NoWorkers,
    TooManyWorkers(usize),
    NotForThreads(&'static str),
    Initializer(TaskError),
    Finalizer(String),
    NoTasks,
    NoRoom,
    InCallback,
    Ended(TaskError),
    Forked,
    Start(multiproc_process::Error),
    Io(std::io::Error),
    StillOpen,
    TimedOut,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Error {
        Error(kind)
    }

    /// Whether a wait with a timeout came to its end first.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error(Kind::Io(error))
    }
}

impl From<multiproc_process::Error> for Error {
    fn from(error: multiproc_process::Error) -> Error {
        Error(Kind::Start(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::NoWorkers => f.write_str("a pool needs at least one worker"),
            Kind::TooManyWorkers(workers) => {
                write!(
                    f,
                    "a pool of {workers} workers is more than a machine can run"
                )
            }
            Kind::NotForThreads(what) => write!(f, "{what} is not for a pool of threads"),
            Kind::Initializer(error) => write!(f, "the pool's initializer cannot be used: {error}"),
            Kind::Finalizer(why) => write!(f, "the pool's finalizer: {why}"),
            Kind::NoTasks => f.write_str("a worker has to run at least one task before it is replaced"),
            Kind::NoRoom => f.write_str("a pool has to take at least one task at a time"),
            Kind::InCallback => f.write_str(
                "a callback cannot join its own pool, which ends only after it: close it, and join elsewhere",
            ),
            Kind::Forked => f.write_str(
                "the pool belongs to the process of which this one is a forked copy",
            ),
            Kind::Ended(error) => write!(f, "the pool cannot be changed: {error}"),
            Kind::Start(error) => write!(f, "a worker of the pool could not be started: {error}"),
            Kind::Io(error) => write!(f, "the pool could not be made: {error}"),
            Kind::StillOpen => {
                f.write_str("the pool is still open: close or terminate it before joining it")
            }
            Kind::TimedOut => f.write_str("the pool had not ended within the time given"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Initializer(error) | Kind::Ended(error) => Some(error),
            Kind::Start(error) => Some(error),
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }
}
