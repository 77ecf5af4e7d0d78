//! Whether the task that runs is asked to stop.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use multiproc_shm::Lane;

/// Of the worker that this process is.
static LANE: OnceLock<Lane> = OnceLock::new();

/// The ticket of the task that runs, and 1 added, or 0. Relaxed, as the other side is: who reads it is in the task.
static RUNNING: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The same of the worker that this thread is.
    static THREAD: RefCell<Option<(Lane, u32)>> = const { RefCell::new(None) };
}

/// Whether the task that runs in this process is asked to stop: it has had its
/// [`soft_timeout`](crate::Policy::soft_timeout), or was cancelled and is about to be ended. To be asked by the
/// task, or by a thread of it, now and then: it costs two loads. `false` in a process that is no worker, and between tasks.
/// Of a pool of threads, the task itself asks, and no thread of it.
///
/// ```
/// use std::time::Duration;
/// use multiproc_pool::{Pool, cancelled};
///
/// fn count(_: ()) -> u64 {
///     let mut n = 0;
///     while !cancelled() {
///         n += 1;
///     }
///     n
/// }
/// let pool = Pool::new(1)?;
/// let hurried = pool.with(|policy| policy.soft_timeout(Duration::from_millis(20)));
/// assert!(hurried.apply(count, ())? > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn cancelled() -> bool {
    let of_thread = THREAD.try_with(|thread| {
        let thread = thread.borrow();
        thread
            .as_ref()
            .map(|(lane, running)| is_asked(lane, *running))
    });
    if let Ok(Some(asked)) = of_thread {
        return asked;
    }
    let running = RUNNING.load(Ordering::Relaxed);
    running != 0 && LANE.get().is_some_and(|lane| is_asked(lane, running))
}

fn is_asked(lane: &Lane, running: u32) -> bool {
    running != 0 && lane.asked().load(Ordering::Relaxed) == running
}

/// Where a worker says which task it runs.
pub(super) enum Asked {
    /// To all threads of the process, which is one worker.
    Process,
    /// To this thread.
    Thread,
}

impl Asked {
    /// This process is the worker of that lane.
    pub(super) fn of_process(lane: &Lane) -> Asked {
        // A process is one worker.
        let _first = LANE.set(lane.clone());
        Asked::Process
    }

    /// This thread is the worker of that lane.
    pub(super) fn of_thread(lane: &Lane) -> Asked {
        THREAD.set(Some((lane.clone(), 0)));
        Asked::Thread
    }

    pub(super) fn begin(&self, ticket: [u8; 4]) {
        self.set(crate::protocol::asked_mark(u32::from_le_bytes(ticket)));
    }

    pub(super) fn end(&self) {
        self.set(0);
    }

    fn set(&self, running: u32) {
        match self {
            Asked::Process => RUNNING.store(running, Ordering::Relaxed),
            Asked::Thread => THREAD.with_borrow_mut(|thread| {
                if let Some((_, known)) = thread {
                    *known = running;
                }
            }),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if matches!(self, Asked::Thread) {
            THREAD.set(None);
        }
    }
}
