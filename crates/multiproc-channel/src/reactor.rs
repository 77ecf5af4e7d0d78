//! One thread that sleeps for all futures of this process.
//!
//! It starts with the first future that has to wait, and lives as long as the process. A future that waits has an
//! entry: its handle, which is the entry's own, and its waker. An event takes the entry out, and so does the drop
//! of the future; whoever takes it out closes the handle, and nobody else does.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread;

use multiproc_sys::handle::{AsHandle, Interest, OwnedHandle};
use multiproc_sys::wait::WaitSet;

struct Reactor {
    set: WaitSet,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    waiting: HashMap<u64, (OwnedHandle, Waker)>,
}

static REACTOR: OnceLock<Reactor> = OnceLock::new();

/// An entry, until dropped.
#[derive(Debug)]
pub(crate) struct Entry(u64);

/// Has `waker` woken once what `interest` says is so of `handle`, or its other side is gone.
pub(crate) fn enter(handle: OwnedHandle, interest: Interest, waker: &Waker) -> io::Result<Entry> {
    let reactor = reactor()?;
    let mut entries = reactor.entries();
    let key = entries.next;
    entries.next += 1;
    reactor.set.add_for(handle.as_handle(), interest, key)?;
    entries.waiting.insert(key, (handle, waker.clone()));
    Ok(Entry(key))
}

fn reactor() -> io::Result<&'static Reactor> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reactor) = REACTOR.get() {
        return Ok(reactor);
    }
    let set = WaitSet::new()?;
    let reactor = Reactor {
        set,
        entries: Mutex::default(),
    };
    let reactor = REACTOR.get_or_init(|| reactor);
    thread::Builder::new()
        .name("multiproc-channel".into())
        .spawn(|| reactor.run())?;
    Ok(reactor)
}

impl Reactor {
    fn run(&self) {
        // An error would be of the set itself, which nobody else has.
        while let Ok(key) = self.set.wait() {
            if let Some(waker) = self.take(key) {
                waker.wake();
            }
        }
    }

    fn take(&self, key: u64) -> Option<Waker> {
        let (handle, waker) = self.entries().waiting.remove(&key)?;
        // Its file is open elsewhere too, so that closing it here would not take it out.
        let _was_in: io::Result<()> = self.set.remove(handle.as_handle());
        Some(waker)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _waker = REACTOR.get().and_then(|reactor| reactor.take(self.0));
    }
}
