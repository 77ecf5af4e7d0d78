//! Threads of the library itself, and how a fork meets them.
//!
//! A forked child has one thread, and whatever another one held stays held in it for ever. The library's own
//! threads (the reaper's, the one that reads streams, and the main thread of a child while its function runs on
//! another) mostly wait, and hold nothing then. So they work only under a gate, of which any number of them can
//! hold a share, and a fork holds all of it.
//!
//! # Invariants
//! 1. A helper that is counted holds its share ([`Busy`]), or is in the one system call that it waits in, or on
//!    its way between the two, where it allocates nothing and takes no lock but the gate.
//! 2. Whoever holds the whole gate ([`quiesce`]) holds it across the fork, in both processes.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;

static GATE: RwLock<()> = RwLock::new(());
/// Relaxed: changed under a share of the gate, read under the whole of it.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_HELPER: Cell<bool> = const { Cell::new(false) };
}

/// A share of the gate: while it is held, nothing forks.
#[derive(Debug)]
pub(crate) struct Busy {
    _share: RwLockReadGuard<'static, ()>,
}

/// The whole gate: while it is held, no helper works.
#[derive(Debug)]
pub(crate) struct Quiet {
    _whole: RwLockWriteGuard<'static, ()>,
}

/// Waits for a fork that is under way, and keeps others from beginning.
pub(crate) fn busy() -> Busy {
    Busy {
        _share: GATE.read().unwrap_or_else(PoisonError::into_inner),
    }
}

/// Waits until every helper waits. `None` on a helper, which would wait for itself.
pub(crate) fn quiesce() -> Option<Quiet> {
    if IS_HELPER.get() {
        return None;
    }
    Some(Quiet {
        _whole: GATE.write().unwrap_or_else(PoisonError::into_inner),
    })
}

impl Quiet {
    /// How many threads of this process are helpers.
    pub(crate) fn count(&self) -> usize {
        COUNT.load(Ordering::Relaxed)
    }

    /// In a child that was just forked, where there are none.
    pub(crate) fn forget(&self) {
        COUNT.store(0, Ordering::Relaxed);
    }
}

impl Busy {
    /// Makes this thread a helper, which waits from the end of this share on.
    pub(crate) fn count_this_thread(&self) {
        IS_HELPER.set(true);
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts a helper, which begins with a share of the gate.
pub(crate) fn start(name: &str, run: impl FnOnce(Busy) + Send + 'static) -> io::Result<()> {
    let (begin, begun) = sync_channel(1);
    thread::Builder::new()
        .name(name.to_string())
        .stack_size(64 << 10)
        .spawn(move || {
            let busy = busy();
            busy.count_this_thread();
            // Whoever started it waits for this, and forks only afterwards.
            let _heard = begin.send(());
            drop(begin);
            run(busy);
        })?;
    // It cannot end before it has sent.
    let _begun = begun.recv();
    Ok(())
}
