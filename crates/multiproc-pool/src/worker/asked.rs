//! Whether the task that runs is asked to stop.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use multiproc_shm::Lane;

/// Of the worker that this process is.
static LANE: OnceLock<Lane> = OnceLock::new();

/// The ticket of the task that runs, and 1 added, or 0. Relaxed, as the other side is: who reads it is in the task.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Whether the task that runs in this process is asked to stop: it has had its
/// [`soft_timeout`](crate::Policy::soft_timeout), or was cancelled and is about to be ended. To be asked by the
/// task, or by a thread of it, now and then: it costs two loads. `false` in a process that is no worker, and between tasks.
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
    let running = RUNNING.load(Ordering::Relaxed);
    running != 0
        && LANE
            .get()
            .is_some_and(|lane| lane.asked().load(Ordering::Relaxed) == running)
}

/// This process is the worker of that lane.
pub(super) fn listen(lane: &Lane) {
    // A process is one worker.
    let _first = LANE.set(lane.clone());
}

pub(super) fn begin(ticket: [u8; 4]) {
    let mark = crate::protocol::asked_mark(u32::from_le_bytes(ticket));
    RUNNING.store(mark, Ordering::Relaxed);
}

pub(super) fn end() {
    RUNNING.store(0, Ordering::Relaxed);
}
