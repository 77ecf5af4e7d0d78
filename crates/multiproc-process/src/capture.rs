//! What children write, read by one thread for all of them so that none of them waits, and of which the
//! last bytes are kept.
//!
//! A stream is read under its own lock, by the thread when there is something and by whoever wants to know
//! what there is: so that what a child wrote before its end is known once its end is, whether the thread
//! has come to it or not. Whoever finds the end of a stream closes it: on a busy machine the thread may come
//! to it much later, and others need the descriptor. Somebody whom the child has started may hold the pipe open for ever after; that
//! keeps the thread at it, and nobody else.

use std::collections::{HashMap, VecDeque};
use std::io::{self, PipeReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, Interest, poll};
use multiproc_sys::wait::WaitSet;

use crate::helper::{self, Busy};

/// What is read at once: as much as a pipe holds, unless somebody has made it larger.
const CHUNK: usize = 64 << 10;
/// What is read before an answer is given, of a stream that does not run dry: as much as a pipe without
/// privileges can be made to hold.
const BEFORE_AN_ANSWER: usize = 1 << 20;

/// The last bytes of what is written into a pipe.
#[derive(Debug)]
pub(crate) struct Tail {
    key: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once somebody has found that everybody who could write is gone.
    pipe: Option<PipeReader>,
    last: VecDeque<u8>,
    most: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Bytes(usize),
    Nothing,
    End,
}

/// Begins to read `pipe`.
///
/// # Errors
/// Where the thread cannot be started or the pipe not be watched: no memory, too many open files or
/// threads.
pub(crate) fn start(pipe: PipeReader, most: usize) -> io::Result<Arc<Tail>> {
    /// Relaxed: only distinct.
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let collector = collector()?;
    let key = KEYS.fetch_add(1, Ordering::Relaxed);
    let state = Mutex::new(State {
        pipe: Some(pipe),
        last: VecDeque::new(),
        most,
    });
    let tail = Arc::new(Tail { key, state });
    collector.tails().insert(key, Arc::clone(&tail));
    let watched = match &tail.state().pipe {
        Some(pipe) => collector.set.add(pipe.as_handle(), key),
        None => Ok(()),
    };
    watched.inspect_err(|_| drop(collector.tails().remove(&key)))?;
    Ok(tail)
}

impl Tail {
    /// The last bytes of all that was written up to now.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.settle();
        self.state().last.iter().copied().collect()
    }

    /// Reads what was written up to now; at its end the pipe is closed.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        if state.pipe.is_none() {
            return;
        }
        let mut chunk = vec![0; CHUNK];
        let mut read = 0;
        while read < BEFORE_AN_ANSWER {
            match state.read(&mut chunk) {
                Found::Bytes(length) => read += length,
                Found::Nothing => return,
                Found::End => {
                    drop(state);
                    // The thread, if it was told of something, finds that there is nothing to do.
                    if let Some(collector) = own_collector() {
                        drop(collector.tails().remove(&self.key));
                    }
                    return;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads once, if there is something, and closes the pipe at its end. Never waits: nobody else reads it.
    fn read(&mut self, chunk: &mut [u8]) -> Found {
        let Some(pipe) = &mut self.pipe else {
            return Found::End;
        };
        let found = poll([(pipe.as_handle(), Interest::Read)], Deadline::now());
        if !found.is_ok_and(|[found]| found.any()) {
            return Found::Nothing;
        }
        match pipe.read(chunk) {
            Ok(length @ 1..) => {
                self.keep(&chunk[..length]);
                Found::Bytes(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Found::Nothing,
            Ok(0) | Err(_) => {
                self.pipe = None;
                Found::End
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.most)..];
        let too_many = (self.last.len() + bytes.len()).saturating_sub(self.most);
        self.last.drain(..too_many);
        self.last.extend(bytes);
    }
}

struct Collector {
    /// A forked copy of this process has the memory, and not the thread.
    made_by: u32,
    set: WaitSet,
    tails: Mutex<HashMap<u64, Arc<Tail>>>,
}

/// There once its thread runs.
static COLLECTOR: Mutex<Option<Arc<Collector>>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<Arc<Collector>>> {
    COLLECTOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process's, if there is one.
fn own_collector() -> Option<Arc<Collector>> {
    let own = std::process::id();
    let running = running();
    let collector = running.as_ref().filter(|known| known.made_by == own);
    collector.cloned()
}

fn collector() -> io::Result<Arc<Collector>> {
    let mut running = running();
    let own = std::process::id();
    if let Some(collector) = running.as_ref().filter(|known| known.made_by == own) {
        return Ok(Arc::clone(collector));
    }
    let collector = Arc::new(Collector {
        made_by: own,
        set: WaitSet::new()?,
        tails: Mutex::default(),
    });
    let runs = Arc::clone(&collector);
    helper::start("multiproc-capture", move |busy| runs.run(busy))?;
    *running = Some(Arc::clone(&collector));
    Ok(collector)
}

impl Collector {
    fn run(&self, mut busy: Busy) {
        let mut chunk = vec![0; CHUNK];
        loop {
            drop(busy);
            // The set cannot fail to be waited for: it is open for good, and there is room for an answer.
            let Ok(key) = self.set.wait() else { return };
            busy = helper::busy();
            let Some(tail) = self.tails().get(&key).cloned() else {
                continue;
            };
            let mut state = tail.state();
            let _found = state.read(&mut chunk);
            let again = match &state.pipe {
                Some(pipe) => self.set.again(pipe.as_handle(), key).is_ok(),
                None => false,
            };
            drop(state);
            if !again {
                drop(self.tails().remove(&key));
            }
        }
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<u64, Arc<Tail>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_bytes_are_kept_and_no_more() {
        let mut state = State {
            pipe: None,
            last: VecDeque::new(),
            most: 4,
        };
        for (written, kept) in [
            ("", ""),
            ("ab", "ab"),
            ("cd", "abcd"),
            ("e", "bcde"),
            ("0123456789", "6789"),
        ] {
            state.keep(written.as_bytes());
            assert!(state.last.iter().eq(kept.as_bytes()), "{kept}");
        }
    }

    #[test]
    fn what_was_written_is_there_at_once_and_an_open_pipe_is_not_waited_for() {
        let (input, mut output) = io::pipe().unwrap();
        let tail = start(input, 100).unwrap();
        assert_eq!(tail.so_far(), b"");
        for sum in ["1", "12", "123"] {
            output.write_all(&sum.as_bytes()[sum.len() - 1..]).unwrap();
            assert_eq!(tail.so_far(), sum.as_bytes());
        }
    }
}
