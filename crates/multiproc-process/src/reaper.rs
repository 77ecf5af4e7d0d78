//! One thread that waits for the children that nobody else waits for.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multiproc_sys::wait::WaitSet;

use crate::helper::{self, Busy};
use crate::registry::Child;

struct Reaper {
    /// A forked copy of this process has the memory, and not the thread.
    made_by: u32,
    set: WaitSet,
    children: Mutex<HashMap<u64, Arc<Child>>>,
}

/// There once its thread runs.
static REAPER: Mutex<Option<Arc<Reaper>>> = Mutex::new(None);

/// Has `child` reaped when it ends; it may be watched already.
///
/// # Errors
/// Where the thread cannot be started or the child not be watched; it is then reaped by whoever asks for
/// it, or at the end of the program.
pub(crate) fn watch(child: &Arc<Child>) -> io::Result<()> {
    /// Relaxed: only distinct.
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let reaper = reaper()?;
    let key = KEYS.fetch_add(1, Ordering::Relaxed);
    reaper.children().insert(key, Arc::clone(child));
    reaper.set.add(child.sentinel(), key).or_else(|error| {
        reaper.children().remove(&key);
        match error.kind() {
            // Under the key of an earlier call.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        }
    })
}

fn reaper() -> io::Result<Arc<Reaper>> {
    let mut running = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let own = std::process::id();
    if let Some(reaper) = running.as_ref().filter(|reaper| reaper.made_by == own) {
        return Ok(Arc::clone(reaper));
    }
    let reaper = Arc::new(Reaper {
        made_by: own,
        set: WaitSet::new()?,
        children: Mutex::default(),
    });
    let runs = Arc::clone(&reaper);
    helper::start("multiproc-reaper", move |busy| runs.run(busy))?;
    *running = Some(Arc::clone(&reaper));
    Ok(reaper)
}

impl Reaper {
    fn run(&self, mut busy: Busy) {
        loop {
            drop(busy);
            // The set cannot fail to be waited for: it is open for good, and there is room for an answer.
            let Ok(key) = self.set.wait() else { return };
            busy = helper::busy();
            let child = self.children().remove(&key);
            // A child that somebody else has reaped meanwhile is none the less ended.
            let _status = child.map(|child| child.try_status());
        }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<u64, Arc<Child>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
