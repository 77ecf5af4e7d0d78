//! A child's standard streams: where they lead, and the parent's side of those that lead to it.

use std::io::{self, PipeReader, PipeWriter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::process as sys;

use crate::capture::{self, Tail};

/// How many of its last bytes a stream keeps that is [captured](Stdio::captured): two or three backtraces.
pub const TAIL: usize = 16 << 10;

/// Where a standard stream of a child leads.
///
/// Made from a file, a pipe's end or a socket by `Stdio::from`.
#[derive(Debug)]
pub struct Stdio(Kind);

#[derive(Debug)]
enum Kind {
    Plain(sys::Stdio),
    Piped,
    Captured(usize),
}

impl Stdio {
    /// Where the parent's leads.
    #[must_use]
    pub fn inherit() -> Stdio {
        Stdio(Kind::Plain(sys::Stdio::Inherit))
    }

    /// Nowhere: empty to read, swallowing what is written.
    #[must_use]
    pub fn null() -> Stdio {
        Stdio(Kind::Plain(sys::Stdio::Null))
    }

    /// To the parent, which takes its end by [`Process::take_stdin`](crate::Process::take_stdin),
    /// [`take_stdout`](crate::Process::take_stdout) or [`take_stderr`](crate::Process::take_stderr).
    ///
    /// A child that writes more than a pipe holds waits for a reader; [`join`](crate::Process::join) reads
    /// what nobody has taken.
    #[must_use]
    pub fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }

    /// To the parent, which keeps the last [`TAIL`] bytes of it: as
    /// [`Process::stdout_tail`](crate::Process::stdout_tail), as
    /// [`stderr_tail`](crate::Process::stderr_tail), and with the error of a child that fails.
    ///
    /// The child never waits: a thread of the library, one for all children, reads what they write.
    ///
    /// ```
    /// use multiproc_process::{Process, Stdio};
    ///
    /// let child = Process::builder().stderr(Stdio::captured()).spawn(
    ///     |()| {
    ///         eprintln!("no more coffee");
    ///         std::process::exit(3)
    ///     },
    ///     (),
    /// )?;
    /// let error = child.join().map(|()| "done").unwrap_err();
    /// assert_eq!(error.stderr_tail(), Some("no more coffee\n"));
    /// assert!(error.to_string().contains("no more coffee"));
    /// # Ok::<(), multiproc_process::Error>(())
    /// ```
    #[must_use]
    pub fn captured() -> Stdio {
        Stdio::captured_last(TAIL)
    }

    /// As [`captured`](Self::captured), with so many of the last bytes kept.
    #[must_use]
    pub fn captured_last(bytes: usize) -> Stdio {
        Stdio(Kind::Captured(bytes))
    }

    /// For standard input: the child's side, and the parent's.
    pub(crate) fn input(self) -> io::Result<(sys::Stdio, Option<PipeWriter>)> {
        match self.0 {
            Kind::Plain(plain) => Ok((plain, None)),
            Kind::Piped => {
                let (theirs, ours) = io::pipe()?;
                Ok((sys::Stdio::Handle(theirs.into()), Some(ours)))
            }
            Kind::Captured(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input cannot be captured",
            )),
        }
    }

    /// For standard output or error: the child's side, and the parent's.
    pub(crate) fn output(self) -> io::Result<(sys::Stdio, Output)> {
        let most = match self.0 {
            Kind::Plain(plain) => return Ok((plain, Output::Elsewhere)),
            Kind::Piped => None,
            Kind::Captured(most) => Some(most),
        };
        let (ours, theirs) = io::pipe()?;
        let output = match most {
            None => Output::Piped(ours),
            Some(most) => Output::Captured(capture::start(ours, most)?),
        };
        Ok((sys::Stdio::Handle(theirs.into()), output))
    }
}

impl<T: Into<OwnedHandle>> From<T> for Stdio {
    fn from(handle: T) -> Stdio {
        Stdio(Kind::Plain(sys::Stdio::Handle(handle.into())))
    }
}

/// The parent's side of what a child writes.
#[derive(Debug)]
pub(crate) enum Output {
    /// There is none, or it was taken.
    Elsewhere,
    Piped(PipeReader),
    Captured(Arc<Tail>),
}

/// The parent's side of a child's streams.
#[derive(Debug)]
pub(crate) struct Streams {
    input: Mutex<Option<PipeWriter>>,
    /// Standard output and error.
    outputs: [Mutex<Output>; 2],
}

/// Which of the two.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Output,
    Error,
}

impl Streams {
    /// Both sides of the three.
    pub(crate) fn new(streams: [Stdio; 3]) -> io::Result<([sys::Stdio; 3], Streams)> {
        let [input, output, error] = streams;
        let (child_reads, input) = input.input()?;
        let (child_writes, output) = output.output()?;
        let (child_complains, error) = error.output()?;
        let streams = Streams {
            input: Mutex::new(input),
            outputs: [Mutex::new(output), Mutex::new(error)],
        };
        Ok(([child_reads, child_writes, child_complains], streams))
    }

    pub(crate) fn take_input(&self) -> Option<PipeWriter> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.take()
    }

    pub(crate) fn take(&self, which: Which) -> Option<PipeReader> {
        let mut output = self.output(which);
        match std::mem::replace(&mut *output, Output::Elsewhere) {
            Output::Piped(pipe) => Some(pipe),
            other => {
                *output = other;
                None
            }
        }
    }

    /// For a forked child, in which they are not the parent's sides any more.
    pub(crate) fn close(&self) {
        drop(self.take_input());
        for which in [Which::Output, Which::Error] {
            drop(self.take(which));
        }
    }

    /// What was written last, as far as it was kept.
    pub(crate) fn tail(&self, which: Which) -> Option<Vec<u8>> {
        match &*self.output(which) {
            Output::Captured(tail) => Some(tail.so_far()),
            _ => None,
        }
    }

    /// Leaves the child nothing to wait for: closes the input that nobody took, and captures what is
    /// piped to nobody.
    pub(crate) fn free_the_child(&self) -> io::Result<()> {
        drop(self.take_input());
        for which in [Which::Output, Which::Error] {
            if let Some(pipe) = self.take(which) {
                *self.output(which) = Output::Captured(capture::start(pipe, TAIL)?);
            }
        }
        Ok(())
    }

    /// Closes what is captured and has come to its end.
    pub(crate) fn settle(&self) {
        for which in [Which::Output, Which::Error] {
            if let Output::Captured(tail) = &*self.output(which) {
                tail.settle();
            }
        }
    }

    fn output(&self, which: Which) -> MutexGuard<'_, Output> {
        let output = &self.outputs[which as usize];
        output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.settle();
    }
}
