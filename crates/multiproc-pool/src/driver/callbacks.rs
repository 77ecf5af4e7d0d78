//! What is called with results: on a thread of its own, so that it may take as long as it likes and nobody waits.
//!
//! The thread is started with the first callback, and ends with the pool, after the last.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use super::core::Call;

/// The thread, once there is one, and what it is still to call.
#[derive(Default)]
pub(super) struct Callbacks(Mutex<Option<Running>>);

struct Running {
    calls: Sender<Call>,
    thread: JoinHandle<()>,
}

impl Callbacks {
    /// Makes sure that there is a thread.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut running = self.lock();
        if running.is_some() {
            return Ok(());
        }
        let (calls, received) = channel::<Call>();
        let thread = thread::Builder::new()
            .name("multiproc-callbacks".to_string())
            .spawn(move || {
                for (callback, job) in received {
                    // A panic is told by the panic hook, and is the callback's own affair.
                    let _panicked = catch_unwind(AssertUnwindSafe(|| callback(job)));
                }
            })?;
        *running = Some(Running { calls, thread });
        Ok(())
    }

    /// Has them called, one after the other.
    pub(super) fn run(&self, calls: Vec<Call>) {
        if calls.is_empty() {
            return;
        }
        if let Some(running) = &*self.lock() {
            for call in calls {
                // The thread ends when this end is dropped, and not before.
                let _sent = running.calls.send(call);
            }
        }
    }

    /// Waits until all that was to be called has been, and there is no thread any more. Not from that thread.
    pub(super) fn finish(&self) {
        let running = self.lock().take();
        if let Some(Running { calls, thread }) = running {
            drop(calls);
            // It catches all panics.
            let _ended = thread.join();
        }
    }

    /// Whether this is the thread.
    pub(super) fn is_here(&self) -> bool {
        self.id() == Some(thread::current().id())
    }

    fn id(&self) -> Option<ThreadId> {
        self.lock()
            .as_ref()
            .map(|running| running.thread.thread().id())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
