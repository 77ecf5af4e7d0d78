//! A worker's end, and what is known of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use multiproc_process::ExitStatus;
use multiproc_shm::ring::Producer;
use multiproc_shm::{Block, Lane};
use multiproc_sys::clock::Deadline;
use multiproc_sys::robust::OWNER_DIED;
use multiproc_sys::signal::ABORT;
use multiproc_wire::Panic;

use super::body::Body;
use super::lent::LentOut;
use super::{Mark, Retired, Worker, claimed};
use crate::error::TaskError;

impl Worker {
    /// Whether the worker's thread has ended, by any means.
    pub(in crate::driver) fn is_dead(&self) -> bool {
        // Acquire: what the worker published before is seen; pairs with the kernel's mark, which comes
        // after, and with Release in `start`.
        self.lane.death().load(Ordering::Acquire) & OWNER_DIED != 0
            || self.reaped.load(Ordering::Acquire)
    }

    /// The word that the kernel marks at the worker's death, and what it holds now.
    pub(in crate::driver) fn death(&self) -> (Lane, u32) {
        (self.lane.clone(), self.lane.death().load(Ordering::Acquire))
    }

    pub(in crate::driver) fn ask_to_end(&mut self) {
        self.body.terminate();
        self.dismiss_thread();
    }

    pub(in crate::driver) fn kill(&mut self) {
        self.body.kill();
        self.dismiss_thread();
    }

    /// All that can be done to end a thread; as often as it has no room for that.
    fn dismiss_thread(&mut self) {
        if self.body.is_thread() {
            self.dismiss();
            self.publish();
        }
    }

    /// How the worker ends. Its thread is gone: where that was an `exit(0)`, the process looks as if it lived until its
    /// main thread has begun to end too, which is waited for, for a moment.
    fn status(&self) -> Option<ExitStatus> {
        const MOMENT: Duration = Duration::from_millis(3);
        const LOOK: Duration = Duration::from_micros(50);
        let until = Deadline::after(MOMENT);
        loop {
            let status = self.body.early_exit_status();
            let expected = self.dismissed || self.body.is_thread();
            if status.is_some() || expected || until.has_passed() {
                return status;
            }
            thread::sleep(LOOK);
        }
    }

    /// The worker is dead: what is known of its end. One that was told to end is left to do so.
    pub(in crate::driver) fn end(self) -> End {
        // Before it is killed below, which is not what it died of.
        let status = self.status();
        if !self.dismissed {
            // Its thread is gone; whatever else is left of it, and its group, is no use.
            self.body.kill();
        }
        let panic = self.body.reported_panic();
        let stderr = String::from_utf8_lossy(&self.body.stderr_tail())
            .trim_end()
            .to_string();
        End {
            pid: self.body.pid(),
            status: status.unwrap_or(ExitStatus::UNKNOWN),
            panic,
            stderr,
            distrusted: self.distrusted,
            was_dismissed: self.dismissed,
            was_idle: self.retired == Some(Retired::Idle),
            was_ready: self.ready,
            tasks: self.tasks,
            lent: self.lent,
            lane: self.lane,
            corpse: Corpse {
                body: self.body,
                reaped: self.reaped,
            },
        }
    }
}

/// A worker's end.
pub(in crate::driver) struct End {
    pid: u32,
    status: ExitStatus,
    panic: Option<Panic>,
    /// What it wrote last to standard error, as far as that is kept.
    stderr: String,
    distrusted: Option<String>,
    /// It was told to end.
    pub(in crate::driver) was_dismissed: bool,
    /// It was told to because it had nothing to do.
    pub(in crate::driver) was_idle: bool,
    pub(in crate::driver) was_ready: bool,
    tasks: Producer<Block>,
    lent: LentOut,
    lane: Lane,
    pub(in crate::driver) corpse: Corpse,
}

impl End {
    /// How many of so many tasks from that one on, which were sent together, the worker had started.
    pub(in crate::driver) fn had_started(&mut self, mark: Mark, count: usize) -> usize {
        if self.tasks.revoke(mark.position) {
            if mark.lent {
                self.lent.taken_back(mark.ticket());
            }
            return 0;
        }
        let claimed = claimed(&self.lane, mark);
        usize::from(claimed.saturating_sub(mark.index)).min(count)
    }

    /// Whether it was a signal that ended the worker, other than one it sends itself: to abort.
    pub(in crate::driver) fn was_signalled(&self) -> bool {
        self.status.signal().is_some_and(|signal| signal != ABORT)
    }

    /// What is said of the task that it ran.
    pub(in crate::driver) fn error(&self, task: usize, attempts: u32) -> TaskError {
        // Where panics unwind, a task's is caught and told of in its answer: what ended the worker is then
        // its own.
        if let Some(panic) = self.panic.as_ref().filter(|_| cfg!(panic = "abort")) {
            return TaskError::Panicked(panic.clone());
        }
        TaskError::WorkerLost {
            pid: self.pid,
            status: self.status,
            task,
            started: true,
            attempts,
            stderr: self.stderr.clone(),
        }
    }

    /// What the worker said that it could not go on with.
    pub(in crate::driver) fn panic(&self) -> Option<String> {
        self.panic.as_ref().map(|panic| panic.message.clone())
    }

    /// What the worker died of.
    pub(in crate::driver) fn what(&self) -> String {
        match (&self.panic, &self.distrusted) {
            (Some(panic), _) => format!("the panic: {}", panic.message),
            (None, Some(why)) => why.clone(),
            (None, None) => self.status.to_string(),
        }
    }
}

/// A worker that has died and is not yet reaped.
pub(in crate::driver) struct Corpse {
    body: Body,
    reaped: Arc<AtomicBool>,
}

impl Corpse {
    pub(in crate::driver) fn is_reaped(&self) -> bool {
        self.reaped.load(Ordering::Acquire)
    }

    pub(in crate::driver) fn kill(&self) {
        self.body.kill();
    }
}
