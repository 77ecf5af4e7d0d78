//! One thread that waits for the children that nobody else waits for.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use multiproc_sys::wait::WaitSet;

use crate::registry::Child;

struct Reaper {
    set: WaitSet,
    children: Mutex<HashMap<u64, Arc<Child>>>,
}

static REAPER: OnceLock<Reaper> = OnceLock::new();

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
    reaper.set.add(child.waiter(), key).or_else(|error| {
        reaper.children().remove(&key);
        match error.kind() {
            // Under the key of an earlier call.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        }
    })
}

fn reaper() -> io::Result<&'static Reaper> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reaper) = REAPER.get() {
        return Ok(reaper);
    }
    let fresh = Reaper {
        set: WaitSet::new()?,
        children: Mutex::default(),
    };
    let reaper = REAPER.get_or_init(|| fresh);
    thread::Builder::new()
        .name("multiproc-reaper".to_string())
        .stack_size(64 << 10)
        .spawn(|| reaper.run())?;
    Ok(reaper)
}

impl Reaper {
    fn run(&self) {
        // The set cannot fail to be waited for: it is open for good, and there is room for an answer.
        while let Ok(key) = self.set.wait() {
            let child = self.children().remove(&key);
            // A child that somebody else has reaped meanwhile is none the less ended.
            let _status = child.map(|child| child.try_status());
        }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<u64, Arc<Child>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
