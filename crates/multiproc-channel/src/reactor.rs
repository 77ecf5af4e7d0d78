//! One thread that sleeps for all futures of this process.
//!
//! It starts with the first future that has to wait, and lives as long as the process; one that was forked starts its own. A future that waits has an
//! entry: its handle, which is the entry's own, and its waker. An event takes the entry out, and so does the drop
//! of the future; whoever takes it out closes the handle, and nobody else does.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;

use multiproc_sys::handle::{AsHandle, Interest, OwnedHandle};
use multiproc_sys::wait::WaitSet;

#[derive(Debug)]
struct Reactor {
    process: u32,
    set: WaitSet,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    waiting: HashMap<u64, (OwnedHandle, Waker)>,
}

/// The process's, or that of the process it was forked from.
static REACTOR: Mutex<Option<Arc<Reactor>>> = Mutex::new(None);

/// An entry, until dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    reactor: Arc<Reactor>,
    key: u64,
}

/// Has `waker` woken once what `interest` says is so of `handle`, or its other side is gone.
pub(crate) fn enter(handle: OwnedHandle, interest: Interest, waker: &Waker) -> io::Result<Entry> {
    let reactor = reactor()?;
    let mut entries = reactor.entries();
    let key = entries.next;
    entries.next += 1;
    reactor.set.add_for(handle.as_handle(), interest, key)?;
    entries.waiting.insert(key, (handle, waker.clone()));
    drop(entries);
    Ok(Entry { reactor, key })
}

fn reactor() -> io::Result<Arc<Reactor>> {
    let mut current = REACTOR.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some(reactor) = current.as_ref().filter(|it| it.process == process) {
        return Ok(Arc::clone(reactor));
    }
    let reactor = Arc::new(Reactor {
        process,
        set: WaitSet::new()?,
        entries: Mutex::default(),
    });
    let its_thread = Arc::clone(&reactor);
    thread::Builder::new()
        .name("multiproc-channel".into())
        .spawn(move || its_thread.run())?;
    *current = Some(Arc::clone(&reactor));
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
        // A copy in a process that was forked has nothing to take out: the set is the parent's, too.
        if self.reactor.process == std::process::id() {
            let _waker: Option<Waker> = self.reactor.take(self.key);
        }
    }
}
