//! A deadline on every wait, and tasks whose length is their work.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition: short enough to time what takes a millisecond.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// Waits until `holds` answers true.
///
/// # Panics
/// When that has not happened after `deadline`; the message names `what` was waited for.
#[track_caller]
pub fn eventually(deadline: Duration, what: &str, holds: impl FnMut() -> bool) {
    assert!(poll(deadline, holds), "not within {deadline:?}: {what}");
}

/// Looks at `holds` until it answers true or `deadline` has passed, and once after that.
pub(crate) fn poll(deadline: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        // Taken before the look: a look that began in time counts, however long it took.
        let late = start.elapsed() >= deadline;
        if holds() {
            return true;
        }
        if late {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Runs `work` on a thread of its own and returns what it returns; its panic becomes the caller's.
///
/// # Panics
/// When `work` has not returned after `deadline`. Its thread is left behind: a thread cannot be stopped.
#[track_caller]
pub fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, wait) = sync_channel(1);
    let worker = thread::spawn(move || {
        // Fails only when the caller has given up.
        let _gave_up = done.send(work());
    });
    match wait.recv_timeout(deadline) {
        Ok(value) => {
            // Its descriptors and memory are given back before the test goes on.
            let _sent = worker.join();
            value
        }
        Err(RecvTimeoutError::Timeout) => panic!("no return within {deadline:?}"),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("a thread that returns has sent its value"),
        },
    }
}

/// A task that takes `duration`: the sleep is the work, never a way to wait for something else.
pub fn linger(duration: Duration) {
    thread::sleep(duration);
}

/// A task that never ends by itself.
pub fn forever() -> ! {
    loop {
        thread::park();
    }
}
