//! What can go wrong between a start and a join.

use std::fmt;
use std::io;

use multiproc_sys::signal;
use multiproc_sys::wait::ExitStatus;
use multiproc_wire::{DecodeError, EncodeError, Panic};

use crate::StartMethod;
use crate::function::LocateError;

/// A child could not be started, or did not give its result.
///
/// [`Debug`](fmt::Debug) says the same as [`Display`](fmt::Display): it is what a failed `unwrap` and a `main` that
/// returns an error show.
pub struct Error {
    kind: Box<Kind>,
    process: Option<Identity>,
    stderr: Option<String>,
}

/// Which child an error is about.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

#[derive(Debug)]
pub(crate) enum Kind {
    NotInitialized,
    Privileged,
    Exiting,
    TooDeep(u32),
    NoSuchMethod(String),
    MethodFixed(StartMethod),
    /// So many threads beside the forking one, which are not the library's.
    Threads(usize),
    ForkByHelper,
    Server(ServerFailure),
    Start(io::Error),
    Locate(LocateError),
    Encode(EncodeError),
    Refused(String),
    StartTimedOut,
    StartDied(ExitStatus),
    Wait(io::Error),
    Signal(i32, io::Error),
    TimedOut,
    Taken,
    Panicked(Panic),
    Died(ExitStatus),
    ArgumentsLost(String),
    ResultLost(String),
    Decode(DecodeError),
}

/// Why the fork server did not fork.
#[derive(Debug)]
pub(crate) enum ServerFailure {
    /// It ended, time and again.
    Ended(Option<ExitStatus>),
    /// It did not answer in time, and was killed.
    Silent,
    /// It cannot be one, and says why.
    Unfit(String),
    /// What it was to preload went wrong.
    Preload(Box<Error>),
}

impl Error {
    pub(crate) fn new(kind: Kind, process: Option<Identity>) -> Error {
        Error {
            kind: Box::new(kind),
            process,
            stderr: None,
        }
    }

    /// With the last bytes of the child's standard error, as far as they are text.
    pub(crate) fn with_stderr(mut self, bytes: Option<Vec<u8>>) -> Error {
        self.stderr = bytes.map(|bytes| {
            // The first character may have lost its first bytes.
            let cut = bytes.iter().take_while(|byte| **byte & 0xc0 == 0x80);
            String::from_utf8_lossy(&bytes[cut.count()..]).into_owned()
        });
        self
    }

    /// Whether a wait with a timeout came to its end first. The child runs on, and can be joined again;
    /// where it was a [start](Self::is_start) that took too long, the child is killed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            *self.kind,
            Kind::TimedOut | Kind::StartTimedOut | Kind::Server(ServerFailure::Silent)
        )
    }

    /// Whether the child could not be started, or ended before its function was called.
    #[must_use]
    pub fn is_start(&self) -> bool {
        matches!(
            *self.kind,
            Kind::NotInitialized
                | Kind::Privileged
                | Kind::Exiting
                | Kind::TooDeep(_)
                | Kind::Threads(_)
                | Kind::ForkByHelper
                | Kind::Server(_)
                | Kind::Start(_)
                | Kind::Locate(_)
                | Kind::Refused(_)
                | Kind::StartTimedOut
                | Kind::StartDied(_)
        )
    }

    /// The panic that ended the function.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match &*self.kind {
            Kind::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// How the child ended, where it ended without giving a result: killed, crashed, or by `exit`.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        match *self.kind {
            Kind::Died(status) | Kind::StartDied(status) => Some(status),
            _ => None,
        }
    }

    /// The last that the child has written to standard error, where that was
    /// [captured](crate::Stdio::captured).
    #[must_use]
    pub fn stderr_tail(&self) -> Option<&str> {
        self.stderr.as_deref()
    }

    /// The number of the child, if there was one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Identity { name, pid }) = &self.process {
            write!(f, "process {name} (pid {pid}) ")?;
        } else {
            f.write_str("a process ")?;
        }
        self.fmt_kind(f)?;
        match self.stderr.as_deref().map(str::trim_end) {
            // A panic has been printed there, too.
            Some(text) if !text.is_empty() && self.panic().is_none() => {
                write!(f, "; the last of its standard error:\n{text}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    fn fmt_kind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Privileged => f.write_str(
                "cannot be started: this program was started with more rights than its starter has",
            ),
            Kind::Exiting => f.write_str("cannot be started: this program is at its end"),
            Kind::NotInitialized => f.write_str(
                "cannot be started: the feature `auto-init` is off (or the platform has no hook before \
                 `main`), and `init()` was not called first in `main`",
            ),
            Kind::TooDeep(depth) => write!(
                f,
                "cannot be started: this process is {depth} levels of children deep, which is the limit; \
                 does a child start children without end?"
            ),
            Kind::NoSuchMethod(name) if name == "fork" => f.write_str(
                "cannot be forked without the promise that `StartMethod::Fork` takes",
            ),
            Kind::NoSuchMethod(name) => write!(
                f,
                "cannot be started by {name:?}: the start methods are spawn, forkserver and fork"
            ),
            Kind::MethodFixed(method) => write!(
                f,
                "is started by {method} here: that was chosen or used before, and cannot be chosen again"
            ),
            Kind::Threads(others) => write!(
                f,
                "cannot be forked: {others} other threads run in this one, whose locks would stay held in the \
                 child; `ForkPromise::among_threads` forks all the same"
            ),
            Kind::ForkByHelper => f.write_str(
                "cannot be forked on a thread of the library, which is what calls back at a child's end",
            ),
            Kind::Server(failure) => {
                f.write_str("cannot be started: the fork server ")?;
                match failure {
                    ServerFailure::Ended(Some(status)) => {
                        write!(f, "ended with {status} before it had forked")
                    }
                    ServerFailure::Ended(None) => f.write_str("was killed and does not end"),
                    ServerFailure::Silent => f.write_str("did not answer in time, and was killed"),
                    ServerFailure::Unfit(why) => write!(f, "cannot be one: {why}"),
                    ServerFailure::Preload(error) => write!(f, "could not preload: {error}"),
                }
            }
            Kind::Start(error) => write!(f, "cannot be started: {error}"),
            Kind::Locate(error) => write!(f, "cannot be started: {error}"),
            Kind::Encode(error) => write!(f, "cannot be started: {error}"),
            Kind::Refused(why) => write!(f, "could not run its function: {why}"),
            Kind::StartTimedOut => {
                f.write_str("had not come to its function within the time given, and was killed")
            }
            Kind::StartDied(status) => {
                write!(f, "ended with {status} before its function was called")
            }
            Kind::Wait(error) => write!(f, "cannot be waited for: {error}"),
            Kind::Signal(number, error) => {
                let name = signal::name(*number).unwrap_or("a signal");
                write!(f, "cannot be sent {name}: {error}")
            }
            Kind::TimedOut => f.write_str("had not ended within the time given"),
            Kind::Taken => f.write_str("was joined before, and its result was given then"),
            Kind::Panicked(panic) => fmt::Display::fmt(panic, f),
            Kind::Died(status) => write!(f, "ended with {status} before its function returned"),
            Kind::ArgumentsLost(why) => write!(f, "could not take its arguments: {why}"),
            Kind::ResultLost(why) => write!(f, "could not send its result: {why}"),
            Kind::Decode(error) => write!(f, "sent a result that cannot be taken: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            Kind::Start(error) | Kind::Wait(error) | Kind::Signal(_, error) => Some(error),
            Kind::Server(ServerFailure::Preload(error)) => Some(error),
            Kind::Locate(error) => Some(error),
            Kind::Encode(error) => Some(error),
            Kind::Panicked(panic) => Some(panic),
            Kind::Decode(error) => Some(error),
            _ => None,
        }
    }
}
