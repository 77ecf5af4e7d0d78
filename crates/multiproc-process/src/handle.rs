//! A child without its result: what can be asked of it and done to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle};
use multiproc_sys::signal;

use crate::error::{Error, Kind};
use crate::registry::{self, Child, Key};
use crate::{ExitStatus, MemoryCap, reaper};

/// A child without its result, which only its [`Process`](crate::Process) gives.
///
/// Made by [`Process::handle`](crate::Process::handle) and [`active_children`]; clones stand for the same
/// child. Its methods are those of the same names of `Process`, and differ in nothing.
#[derive(Clone)]
pub struct ChildHandle(Arc<Child>);

impl ChildHandle {
    pub(crate) fn new(child: Arc<Child>) -> ChildHandle {
        ChildHandle(child)
    }

    /// The child's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The child's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether the child is killed at the end of the program, rather than waited for.
    #[doc(alias = "multiprocessing.Process.daemon")]
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.0.is_daemon()
    }

    /// By what the child's memory is [capped](crate::Builder::memory_limit), if it is.
    #[must_use]
    pub fn memory_cap(&self) -> Option<MemoryCap> {
        self.0.memory_cap()
    }

    /// Whether the child has not ended.
    ///
    /// # Errors
    /// What the kernel answers to the question.
    pub fn is_alive(&self) -> Result<bool, Error> {
        Ok(self.exit_status()?.is_none())
    }

    /// How the child ended; `None` while it runs.
    ///
    /// # Errors
    /// What the kernel answers to the question.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>, Error> {
        self.0
            .try_status()
            .map_err(|error| self.error(Kind::Wait(error)))
    }

    /// Waits for the child's end, for ever where no timeout is given; `None` when it passes first.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<ExitStatus>, Error> {
        self.0
            .wait(Deadline::after_option(timeout))
            .map_err(|error| self.error(Kind::Wait(error)))
    }

    /// A handle that is readable once the child has ended.
    #[must_use]
    pub fn sentinel(&self) -> BorrowedHandle<'_> {
        self.0.sentinel()
    }

    /// Has `run` called when the child has ended and is reaped.
    ///
    /// # Errors
    /// Where the child cannot be watched: no memory, or too many open files or threads.
    pub fn on_end(&self, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.at_end(run).map(drop)
    }

    pub(crate) fn at_end(&self, run: impl FnOnce() + Send + 'static) -> Result<Key, Error> {
        let key = self.0.when_ended(Box::new(run));
        reaper::watch(&self.0).map_err(|error| {
            self.0.forget(key);
            self.error(Kind::Wait(error))
        })?;
        Ok(key)
    }

    pub(crate) fn forget(&self, key: Key) {
        self.0.forget(key);
    }

    /// Asks the child to end (`SIGTERM`).
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn terminate(&self) -> Result<(), Error> {
        self.signal(signal::TERMINATE)
    }

    /// Interrupts the child (`SIGINT`).
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn interrupt(&self) -> Result<(), Error> {
        self.signal(signal::INTERRUPT)
    }

    /// Ends the child and its process group (`SIGKILL`).
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn kill(&self) -> Result<(), Error> {
        self.signal_group(signal::KILL)
    }

    /// Stops the child and its process group where they are (`SIGSTOP`).
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn suspend(&self) -> Result<(), Error> {
        self.signal_group(signal::SUSPEND)
    }

    /// Has a suspended child and its process group go on (`SIGCONT`).
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal_group(signal::RESUME)
    }

    fn signal(&self, number: i32) -> Result<(), Error> {
        self.0
            .signal(number)
            .map_err(|error| self.error(Kind::Signal(number, error)))
    }

    fn signal_group(&self, number: i32) -> Result<(), Error> {
        self.0
            .signal_group(number)
            .map_err(|error| self.error(Kind::Signal(number, error)))
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, Some(self.0.identity()))
    }
}

/// The [`sentinel`](ChildHandle::sentinel).
impl AsHandle for ChildHandle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.sentinel()
    }
}

impl AsHandle for &ChildHandle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.sentinel()
    }
}

impl fmt::Debug for ChildHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The children of this process that have not ended, oldest first: also those whose
/// [`Process`](crate::Process) was dropped or detached, and a pool's workers. Those that have ended are
/// reaped.
///
/// ```
/// use multiproc_process::{Process, active_children};
///
/// let child = Process::<()>::spawn(|()| loop { std::thread::park() }, ())?;
/// for child in active_children() {
///     child.kill()?;
///     child.wait(None)?;
/// }
/// assert!(!child.is_alive()?);
/// # Ok::<(), multiproc_process::Error>(())
/// ```
///
/// # Differences from Python
/// These are handles without the function's result.
#[doc(alias = "multiprocessing.active_children")]
#[must_use]
pub fn active_children() -> Vec<ChildHandle> {
    registry::active().into_iter().map(ChildHandle).collect()
}

/// Waits for the first of several children to end, or until `timeout` has passed, if one is given: the
/// places in the list of all that have ended, in order, and none when the time has passed or the list is
/// empty.
///
/// Whatever has a handle can be waited for beside children: a pipe or socket is ready when there is
/// something to read or its other side is gone.
///
/// ```
/// use multiproc_process::{AsHandle, Process, wait_any};
///
/// let quick = Process::spawn(|n: u64| n + 1, 1)?;
/// let slow = Process::<()>::spawn(|()| loop { std::thread::park() }, ())?;
/// let ended = wait_any([&quick as &dyn AsHandle, &slow], None)?;
/// assert_eq!(ended, [0]);
/// assert_eq!(quick.join()?, 2);
/// slow.kill()?;
///
/// // Children of one type need no more than a list of them.
/// let children = vec![slow];
/// assert_eq!(wait_any(&children, None)?, [0]);
/// # Ok::<(), multiproc_process::Error>(())
/// ```
///
/// # Errors
/// What the kernel answers: more handles than the process may have open, no memory.
///
/// # Differences from Python
/// Gives places in the list, not the things themselves. An empty list is not waited for.
#[doc(alias = "multiprocessing.connection.wait")]
pub fn wait_any<'a, H: AsHandle + ?Sized + 'a>(
    things: impl IntoIterator<Item = &'a H>,
    timeout: Option<Duration>,
) -> Result<Vec<usize>, Error> {
    let deadline = Deadline::after_option(timeout);
    let handles: Vec<_> = things.into_iter().map(AsHandle::as_handle).collect();
    if handles.is_empty() {
        return Ok(Vec::new());
    }
    multiproc_sys::wait::ready(&handles, deadline)
        .map_err(|error| Error::new(Kind::Wait(error), None))
}
