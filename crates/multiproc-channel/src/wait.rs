//! Waiting on many things at once.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use multiproc_sync::Deadline;
use multiproc_sync::primitive::{Woken, futex};
use multiproc_sys::flag::Flag;
use multiproc_sys::handle::{AsHandle, BorrowedHandle};
use multiproc_sys::wait::{Source, Watch, ready};

use crate::channel::Receiver;
use crate::duplex::Duplex;
use crate::error::Stop;
use crate::queue::{JoinableQueue, Queue};
use crate::transport::Inlet;
use crate::words::{LOOK, LOOK_AGAIN, WORDS};

/// Waits until some of `sources` are ready, or the timeout, if there is one; gives the places of all that are, in
/// order, and none at the timeout.
///
/// A receiver or queue is ready when it has a message, or an error or an end to tell; a handle, as
/// [`Readable`](crate::Readable), when it can be read from or its other side is gone, so that the sentinel of a process
/// is when that has ended; a moment ([`Deadline`](crate::Deadline)) when it has come; an event while it is set.
///
/// ```
/// use std::time::Duration;
/// use multiproc_channel::{Deadline, Queue, Readable, channel, wait};
/// use multiproc_process::Process;
///
/// let ((sender, receiver), queue) = (channel::<u8>()?, Queue::<u8>::new()?);
/// let child = Process::spawn(|()| (), ())?;
/// let (sentinel, soon) = (Readable(child.sentinel()), Deadline::after(Duration::from_secs(60)));
/// assert_eq!(wait(&[&receiver, &queue, &sentinel, &soon], None)?, [2], "the child has ended");
/// sender.send(1)?;
/// assert_eq!(wait(&[&receiver, &queue], None)?, [0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Whoever waits sleeps until one of them is told, or a second has passed, and then looks again. Events and handles
/// together take a second thread while they are waited for.
///
/// # Errors
/// Too many open files; no memory.
///
/// # Differences from Python
/// What is ready are places in the list, not the objects.
#[doc(alias = "multiprocessing.connection.wait")]
#[doc(alias = "select")]
pub fn wait(sources: &[&dyn Source], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    let until = Deadline::after_option(timeout);
    loop {
        let found = which_are_ready(sources);
        if !found.is_empty() || until.has_passed() {
            return Ok(found);
        }
        let mut watched = Watched(Vec::with_capacity(sources.len()));
        sleep(sources, &mut watched, until)?;
    }
}

fn which_are_ready(sources: &[&dyn Source]) -> Vec<usize> {
    let ready = sources.iter().enumerate();
    ready
        .filter(|(_, source)| source.is_ready())
        .map(|(place, _)| place)
        .collect()
}

/// What is to be told that the sleep is over.
struct Watched<'a>(Vec<&'a dyn Source>);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|source| source.unwatch());
    }
}

fn sleep<'a>(
    sources: &[&'a dyn Source],
    watched: &mut Watched<'a>,
    until: Deadline,
) -> io::Result<()> {
    let mut until = until.or(Deadline::after(LOOK_AGAIN));
    let mut watches = Vec::with_capacity(sources.len());
    for source in sources {
        watches.push(source.watch()?);
        watched.0.push(*source);
    }
    let mut handles: Vec<BorrowedHandle<'_>> = Vec::with_capacity(watches.len());
    let mut words: Vec<(&AtomicU32, u32)> = Vec::new();
    for watch in &watches {
        match watch {
            Watch::Handle(handle) => handles.push(*handle),
            Watch::Owned(handle) => handles.push(handle.as_handle()),
            Watch::Until(moment) => until = until.or(*moment),
            Watch::Word(word, seen) if words.len() < WORDS => words.push((*word, *seen)),
            Watch::Word(..) | Watch::Look => until = until.or(Deadline::after(LOOK)),
        }
    }
    // What came before it was watched is not told.
    if sources.iter().any(|source| source.is_ready()) {
        return Ok(());
    }
    match (handles.is_empty(), words.is_empty()) {
        (_, true) => ready(&handles, until).map(drop),
        (true, false) => {
            // Whatever it was, it is looked for.
            let _woken: Woken = futex::wait_any(&words, until);
            Ok(())
        }
        (false, false) => sleep_on_both(&handles, &words, until),
    }
}

/// Sleeps on handles, and has another thread sleep on the words: there is no call that does both.
fn sleep_on_both(
    handles: &[BorrowedHandle<'_>],
    words: &[(&AtomicU32, u32)],
    until: Deadline,
) -> io::Result<()> {
    let (flag, over) = (Flag::new()?, AtomicU32::new(0));
    let changed = |words: &[(&AtomicU32, u32)]| {
        // Relaxed: who finds that one has changed goes on to look, which acquires.
        let mut words = words.iter();
        words.any(|(word, seen)| word.load(Ordering::Relaxed) != *seen)
    };
    let watch = || {
        let all = [words, &[(&over, 0)]].concat();
        while !changed(&all) && futex::wait_any(&all, until) != Woken::TimedOut {}
        if changed(words) {
            // Nothing can be wrong with a flag of one's own.
            let _raised: io::Result<()> = flag.raise();
        }
    };
    thread::scope(|scope| {
        let watching = thread::Builder::new()
            .name("multiproc-wait".into())
            .spawn_scoped(scope, watch);
        // Where there are as many threads as there can be, the words are looked at.
        let until = match watching {
            Ok(_) => until,
            Err(_) => until.or(Deadline::after(LOOK)),
        };
        let slept = ready(&[handles, &[flag.as_handle()]].concat(), until);
        over.store(1, Ordering::Relaxed);
        futex::wake(&over, 1);
        slept.map(drop)
    })
}

impl<T> Source for Receiver<T> {
    fn is_ready(&self) -> bool {
        self.rx().is_ready()
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        self.rx().watch()
    }

    fn unwatch(&self) {
        self.rx().unwatch();
    }
}

impl<S, R> Source for Duplex<S, R> {
    fn is_ready(&self) -> bool {
        self.receiver().is_ready()
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        self.receiver().watch()
    }

    fn unwatch(&self) {
        self.receiver().unwatch();
    }
}

impl<T> Source for Queue<T> {
    fn is_ready(&self) -> bool {
        self.port().is_ready()
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        match self.port().poll() {
            Ok(handle) => Ok(Watch::Handle(handle)),
            Err(Stop::Failed(error)) => Err(io::Error::other(error)),
            Err(_) => Ok(Watch::Look),
        }
    }
}

impl<T> Source for JoinableQueue<T> {
    fn is_ready(&self) -> bool {
        self.port().is_ready()
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        Queue::watch(self)
    }
}
