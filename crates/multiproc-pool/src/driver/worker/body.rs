//! What a worker is: a process, or a thread of this one.
//!
//! Both run the same loop over a lane. A thread cannot be ended from outside, so it is told to end, by the record that
//! tells any worker so, and does when it has returned from its task.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use multiproc_process::{ExitStatus, Process};
use multiproc_wire::Panic;

use crate::worker::{self, Setup};

/// See the module's documentation.
pub(super) enum Body {
    Process(Process),
    Thread(Thread),
}

/// A thread that is a worker.
pub(super) struct Thread {
    /// Why it ended that was not told to.
    panic: Arc<OnceLock<Panic>>,
}

/// As much as the main thread of a program has.
const STACK: usize = 8 << 20;

impl Thread {
    /// Starts one. `end` is called when it has ended, and has let go of all that it was given.
    pub(super) fn start(
        name: String,
        setup: Setup,
        end: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        let panic = Arc::new(OnceLock::new());
        let reported = Arc::clone(&panic);
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| worker::serve(setup)));
            let message = match ended {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(format!("{failure:#}")),
                Err(payload) => Some(message_of(&*payload)),
            };
            if let Some(message) = message {
                // It is set here only.
                let _set = reported.set(Panic {
                    message,
                    location: None,
                    backtrace: None,
                });
            }
            end();
        };
        // It is known by its end, and not joined.
        let builder = std::thread::Builder::new().name(name).stack_size(STACK);
        builder.spawn(run).map(|_| Thread { panic })
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(the panic's payload is no text)".to_string())
}

impl Body {
    /// The number of the process that runs the worker's tasks.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Body::Process(process) => process.pid(),
            Body::Thread(_) => std::process::id(),
        }
    }

    pub(super) fn is_thread(&self) -> bool {
        matches!(self, Body::Thread(_))
    }

    pub(super) fn terminate(&self) {
        if let Body::Process(process) = self {
            // Where it cannot be asked it will be killed.
            let _asked = process.terminate();
        }
    }

    pub(super) fn kill(&self) {
        if let Body::Process(process) = self {
            // Where it cannot be killed it has ended, or changed its user, which nothing here can help.
            let _killed = process.kill();
        }
    }

    /// How the kernel says that it ends, or is about to.
    pub(super) fn early_exit_status(&self) -> Option<ExitStatus> {
        match self {
            Body::Process(process) => process.early_exit_status(),
            Body::Thread(_) => None,
        }
    }

    pub(super) fn reported_panic(&self) -> Option<Panic> {
        match self {
            Body::Process(process) => process.reported_panic(),
            Body::Thread(thread) => thread.panic.get().cloned(),
        }
    }

    /// What it wrote last to standard error, as far as that is kept.
    pub(super) fn stderr_tail(&self) -> Vec<u8> {
        match self {
            Body::Process(process) => process.stderr_tail().unwrap_or_default(),
            Body::Thread(_) => Vec::new(),
        }
    }
}
