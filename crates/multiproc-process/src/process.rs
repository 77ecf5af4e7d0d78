//! A child, as its parent holds it.

use std::fmt;
use std::io::{self, PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, Interest, OwnedHandle, poll};
use multiproc_sys::signal;
use multiproc_wire::{Incoming, Link, Panic, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::error::{Error, Kind};
use crate::registry::Child;
use crate::stdio::{Streams, Which};
use crate::{ChildHandle, ExitStatus, MemoryCap, child as report, reaper};

/// A function running in another process, which returns an `R`.
///
/// Dropping it neither blocks nor ends the child, which is reaped when it ends.
///
/// # Differences from Python
/// A process is started when it is made. The function's result comes back from [`join`](Process::join).
#[doc(alias = "multiprocessing.Process")]
pub struct Process<R = ()> {
    child: Arc<Child>,
    link: Link,
    streams: Streams,
    heard: Mutex<Heard>,
    result: PhantomData<fn() -> R>,
}

/// What was heard from the child so far.
pub(crate) enum Heard {
    Nothing,
    /// That it is about to call its function.
    Started,
    Report(Said),
    /// It ended without a report.
    Silence,
    /// What there was has been given away.
    Taken,
}

/// The child's report.
pub(crate) enum Said {
    Result(Vec<u8>, Vec<Arc<OwnedHandle>>),
    Failed(Kind),
}

impl Process {
    /// A process to be started with a name, an environment, a folder, standard streams or limits of its own.
    ///
    /// ```
    /// use multiproc_process::{Process, Stdio};
    ///
    /// let child = Process::builder()
    ///     .name("counter")
    ///     .env("LIMIT", "3")
    ///     .stdout(Stdio::null())
    ///     .spawn(|()| std::env::var("LIMIT").unwrap_or_default(), ())?;
    /// assert_eq!(child.name(), "counter");
    /// assert_eq!(child.join()?, "3");
    /// # Ok::<(), multiproc_process::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<R> Process<R> {
    /// Starts a process that calls `function(arguments)`.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    #[doc(alias = "multiprocessing.Process.start")]
    pub fn spawn<A>(function: fn(A) -> R, arguments: A) -> Result<Process<R>, Error>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        Builder::new().spawn(function, arguments)
    }

    pub(crate) fn new(child: Arc<Child>, link: Link, streams: Streams) -> Process<R> {
        Process {
            child,
            link,
            streams,
            heard: Mutex::new(Heard::Nothing),
            result: PhantomData,
        }
    }

    /// The child without its result: a handle that can be cloned, and outlives this one.
    #[must_use]
    pub fn handle(&self) -> ChildHandle {
        ChildHandle::new(Arc::clone(&self.child))
    }

    /// The child's number.
    #[doc(alias = "multiprocessing.Process.pid")]
    #[doc(alias = "multiprocessing.Process.ident")]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The child's name.
    #[doc(alias = "multiprocessing.Process.name")]
    #[must_use]
    pub fn name(&self) -> &str {
        self.child.name()
    }

    /// By what the child's memory is [capped](Builder::memory_limit), if it is.
    ///
    /// ```
    /// use multiproc_process::{MemoryCap, Process};
    ///
    /// let child = Process::builder().memory_limit(1 << 30).spawn(|()| (), ())?;
    /// match child.memory_cap() {
    ///     Some(MemoryCap::ControlGroup) => println!("what it and its children use"),
    ///     Some(MemoryCap::AddressSpace) => println!("what it reserves"),
    ///     _ => unreachable!("it was asked for"),
    /// }
    /// # child.join()?;
    /// # Ok::<(), multiproc_process::Error>(())
    /// ```
    #[must_use]
    pub fn memory_cap(&self) -> Option<MemoryCap> {
        self.child.memory_cap()
    }

    /// Whether the child has not ended. One that is suspended has not.
    ///
    /// # Errors
    /// What the kernel answers to the question.
    #[doc(alias = "multiprocessing.Process.is_alive")]
    pub fn is_alive(&self) -> Result<bool, Error> {
        Ok(self.exit_status()?.is_none())
    }

    /// How the child ended; `None` while it runs. [`ExitStatus::exitcode`] is Python's number.
    ///
    /// # Errors
    /// What the kernel answers to the question.
    #[doc(alias = "multiprocessing.Process.exitcode")]
    pub fn exit_status(&self) -> Result<Option<ExitStatus>, Error> {
        self.handle().exit_status()
    }

    /// The status with which the child is about to end, if that is certain already: a child of many
    /// gigabytes takes long from its death until it can be reaped.
    #[must_use]
    pub fn early_exit_status(&self) -> Option<ExitStatus> {
        self.child.early_status()
    }

    /// The panic that the child has reported, if it has; without waiting. A program that aborts on panics
    /// reports before it does.
    #[must_use]
    pub fn reported_panic(&self) -> Option<Panic> {
        // Nothing to hear yet, or nothing that can be heard, is no panic.
        let _heard: Result<(), Kind> = self.listen(Deadline::now());
        match &*self.heard() {
            Heard::Report(Said::Failed(Kind::Panicked(panic))) => Some(panic.clone()),
            _ => None,
        }
    }

    /// A handle that is readable once the child has ended, for waiting on several things.
    #[doc(alias = "multiprocessing.Process.sentinel")]
    #[must_use]
    pub fn sentinel(&self) -> BorrowedHandle<'_> {
        self.child.sentinel()
    }

    /// Has `run` called, on a thread of the library, when the child has ended and is reaped; at once if it
    /// has. `run` must be quick: it keeps other children waiting.
    ///
    /// # Errors
    /// Where the child cannot be watched: no memory, or too many open files or threads.
    pub fn on_end(&self, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.handle().on_end(run)
    }

    /// Asks the child to end (`SIGTERM`, which ends it at once unless its function handles it). No error
    /// for one that has ended.
    ///
    /// # Errors
    /// What the kernel answers.
    #[doc(alias = "multiprocessing.Process.terminate")]
    pub fn terminate(&self) -> Result<(), Error> {
        self.handle().terminate()
    }

    /// Interrupts the child, as Ctrl-C does a program in a terminal (`SIGINT`, which ends it at once unless
    /// its function handles it). No error for one that has ended.
    ///
    /// # Errors
    /// What the kernel answers.
    ///
    /// # Differences from Python
    /// There is no exception that the function could catch: unless the signal is handled, the child ends,
    /// and [`Error::exit_status`] names the signal.
    #[doc(alias = "multiprocessing.Process.interrupt")]
    pub fn interrupt(&self) -> Result<(), Error> {
        self.handle().interrupt()
    }

    /// Ends the child and its process group (`SIGKILL`), suspended or not. No error for one that has
    /// ended.
    ///
    /// # Errors
    /// What the kernel answers.
    #[doc(alias = "multiprocessing.Process.kill")]
    pub fn kill(&self) -> Result<(), Error> {
        self.handle().kill()
    }

    /// Stops the child and its process group where they are (`SIGSTOP`), until [`resume`](Self::resume).
    /// No error for one that has ended. It is asked for at once, and has happened a moment later.
    ///
    /// What `terminate` and `interrupt` send meanwhile waits until then; `kill` and the parent's end do
    /// not. The end of the program waits for it as for any other, up to [`EXIT_WAIT`](crate::EXIT_WAIT).
    /// Children of the child lead groups of their own, and run on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn suspend(&self) -> Result<(), Error> {
        self.handle().suspend()
    }

    /// Has a suspended child and its process group go on (`SIGCONT`). No error for one that was not
    /// suspended, or has ended.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn resume(&self) -> Result<(), Error> {
        self.handle().resume()
    }

    /// The writing end of the child's standard input, where that is [piped](crate::Stdio::piped); given once.
    #[must_use]
    pub fn take_stdin(&self) -> Option<PipeWriter> {
        self.streams.take_input()
    }

    /// The reading end of the child's standard output, where that is [piped](crate::Stdio::piped); given
    /// once.
    #[must_use]
    pub fn take_stdout(&self) -> Option<PipeReader> {
        self.streams.take(Which::Output)
    }

    /// The reading end of the child's standard error, where that is [piped](crate::Stdio::piped); given once.
    #[must_use]
    pub fn take_stderr(&self) -> Option<PipeReader> {
        self.streams.take(Which::Error)
    }

    /// The last that the child has written to standard output up to now, where that is
    /// [captured](crate::Stdio::captured).
    #[must_use]
    pub fn stdout_tail(&self) -> Option<Vec<u8>> {
        self.streams.tail(Which::Output)
    }

    /// The last that the child has written to standard error up to now, where that is
    /// [captured](crate::Stdio::captured).
    #[must_use]
    pub fn stderr_tail(&self) -> Option<Vec<u8>> {
        self.streams.tail(Which::Error)
    }

    /// Lets go of the child: the end of the program does not wait for it. It still does not outlive this
    /// process, and is reaped when it ends before.
    pub fn detach(self) {
        self.child.detach();
    }

    /// Waits for the child to end and gives what its function returned.
    ///
    /// A future of it is the process itself: `child.await`, on any executor.
    ///
    /// The result is given once; [`exit_status`](Self::exit_status) can be asked for ever after.
    ///
    /// A child whose streams are [piped](crate::Stdio::piped) to nobody is not waited for in vain: an input
    /// that was not taken is closed, and what comes out is read and captured.
    ///
    /// # Errors
    /// - The function panicked: [`Error::panic`] has message, place and backtrace.
    /// - The child ended without a result, by a signal or by `exit`: [`Error::exit_status`] says how.
    /// - It could not be started: [`Error::is_start`].
    /// - Its argument could not be decoded there, or its result not be encoded there or decoded here.
    /// - The result was given before.
    ///
    /// # Differences from Python
    /// Returns the function's result, and what went wrong as an error.
    #[doc(alias = "multiprocessing.Process.join")]
    pub fn join(&self) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.free_the_child()?;
        self.join_until(Deadline::NEVER)
    }

    /// As [`join`](Self::join), for no longer than `timeout`, and with no change to piped streams.
    ///
    /// # Errors
    /// Those of `join`, and one for which [`Error::is_timeout`] holds: the child runs on, and can be
    /// joined again.
    pub fn join_timeout(&self, timeout: Duration) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.join_until(Deadline::after(timeout))
    }

    /// For a child that has ended.
    pub(crate) fn join_ended(&self) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.join_until(Deadline::now())
    }

    fn join_until(&self, deadline: Deadline) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        // Its report needs no reader to be complete, and is there when it has ended.
        let status = self
            .child
            .wait(deadline)
            .map_err(|error| self.error(Kind::Wait(error)))?;
        let status = status.ok_or_else(|| self.error(Kind::TimedOut))?;
        self.streams.settle();
        let mut heard = self.heard();
        if matches!(*heard, Heard::Nothing) {
            *heard = receive(&self.link, true);
        }
        let said = std::mem::replace(&mut *heard, Heard::Taken);
        drop(heard);
        match said {
            Heard::Report(Said::Result(bytes, handles)) => {
                decode(&bytes, handles).map_err(|error| self.error(Kind::Decode(error)))
            }
            Heard::Report(Said::Failed(kind)) => Err(self.error(kind)),
            Heard::Silence | Heard::Nothing | Heard::Started => Err(self.error(Kind::Died(status))),
            Heard::Taken => Err(self.error(Kind::Taken)),
        }
    }

    /// Hears that the child is about to call its function; one that is not by the deadline is killed.
    pub(crate) fn wait_for_start(&self, deadline: Deadline) -> Result<(), Error> {
        /// Until a killed child is reaped; one that takes longer is left to the reaper.
        const KILLED: Duration = Duration::from_secs(1);
        let heard = self.listen(deadline);
        let said = std::mem::replace(&mut *self.heard(), Heard::Nothing);
        let kind = match (heard, said) {
            (Ok(()), Heard::Started) => return Ok(()),
            (Ok(()), Heard::Report(Said::Failed(kind))) => kind,
            (Ok(()), _) => match self.child.wait(Deadline::after(KILLED)) {
                Ok(Some(status)) => Kind::StartDied(status),
                Ok(None) => Kind::StartTimedOut,
                Err(error) => Kind::Wait(error),
            },
            (Err(Kind::TimedOut), _) => Kind::StartTimedOut,
            (Err(kind), _) => kind,
        };
        // What cannot be killed or waited for ends with this process.
        let _killed = self.child.signal_group(signal::KILL);
        let _reaped = self.child.wait(Deadline::after(KILLED));
        Err(self.error(kind))
    }

    /// Hears the child's report, or that there is none because it has ended. Several threads may.
    fn listen(&self, deadline: Deadline) -> Result<(), Kind> {
        while matches!(*self.heard(), Heard::Nothing) {
            let ended = news(&self.link, self.sentinel(), deadline)?;
            let mut heard = self.heard();
            if matches!(*heard, Heard::Nothing) {
                *heard = receive(&self.link, ended);
            }
        }
        Ok(())
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn free_the_child(&self) -> Result<(), Error> {
        self.streams
            .free_the_child()
            .map_err(|error| self.error(Kind::Wait(error)))
    }

    fn error(&self, kind: Kind) -> Error {
        let stderr = self.stderr_tail();
        Error::new(kind, Some(self.child.identity())).with_stderr(stderr)
    }
}

/// Waits for something on the link, or the end of the process that reports on it; whether it has ended.
fn news(link: &Link, sentinel: BorrowedHandle<'_>, deadline: Deadline) -> Result<bool, Kind> {
    let sources = [
        (link.as_handle(), Interest::Read),
        (sentinel, Interest::Read),
    ];
    let [report, ended] = poll(sources, deadline).map_err(Kind::Wait)?;
    if report.any() || ended.any() {
        Ok(ended.any())
    } else {
        Err(Kind::TimedOut)
    }
}

/// What is on the link.
fn receive(link: &Link, ended: bool) -> Heard {
    // What a dead child said is there already: somebody it forked may keep the link open.
    match link.receive(Deadline::now()) {
        Ok(Incoming::Frame {
            kind: report::STARTED,
            ..
        }) => Heard::Started,
        Ok(Incoming::Frame {
            kind,
            body,
            handles,
        }) => Heard::Report(understand(kind, body, handles)),
        Ok(Incoming::TimedOut) if !ended => Heard::Nothing,
        Ok(Incoming::End | Incoming::TimedOut) => Heard::Silence,
        Err(error) => Heard::Report(Said::Failed(Kind::ResultLost(error.to_string()))),
    }
}

/// The next that is heard on a link, or silence where the process has ended.
pub(crate) fn hear(
    link: &Link,
    sentinel: BorrowedHandle<'_>,
    deadline: Deadline,
) -> Result<Heard, Kind> {
    loop {
        let ended = news(link, sentinel, deadline)?;
        match receive(link, ended) {
            Heard::Nothing => {}
            heard => return Ok(heard),
        }
    }
}

pub(crate) fn understand(kind: u8, body: Vec<u8>, handles: Vec<Arc<OwnedHandle>>) -> Said {
    let text = || String::from_utf8_lossy(&body).into_owned();
    Said::Failed(match kind {
        report::RESULT => return Said::Result(body, handles),
        report::PANICKED => match decode::<Panic>(&body, handles) {
            Ok(panic) => Kind::Panicked(panic),
            Err(error) => Kind::Decode(error),
        },
        report::REFUSED => Kind::Refused(text()),
        report::ARGUMENTS_LOST => Kind::ArgumentsLost(text()),
        report::RESULT_LOST => Kind::ResultLost(text()),
        other => Kind::ResultLost(format!("it sent a report of the unknown kind {other}")),
    })
}

/// The [`sentinel`](Process::sentinel).
impl<R> AsHandle for Process<R> {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.sentinel()
    }
}

impl<R> AsHandle for &Process<R> {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.sentinel()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if matches!(self.child.try_status(), Ok(None)) {
            // Else the end of the program reaps it.
            let _watched: io::Result<()> = reaper::watch(&self.child);
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}
