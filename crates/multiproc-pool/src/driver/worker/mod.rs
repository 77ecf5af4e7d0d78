//! One worker, as its parent holds it.
//!
//! - [`starting`]: its start
//! - [`sending`]: what goes into its ring of tasks, and comes back out of it
//! - [`hearing`]: what it says
//! - [`timing`]: how long it takes
//! - [`end`]: its end

mod end;
mod hearing;
mod sending;
mod starting;
mod timing;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use multiproc_process::Process;
use multiproc_shm::ring::{Assembler, Consumer, Outgoing, Position, Producer};
use multiproc_shm::{Block, Lane};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Link;

pub(super) use end::Corpse;
pub(super) use hearing::Heard;
pub(super) use sending::Push;

/// How a task that was sent is known again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(super) ticket: u32,
    pub(super) position: Position,
    handles: bool,
}

/// A worker and this end of all that leads to it.
pub(super) struct Worker {
    process: Process,
    /// Set when the process has ended and is reaped.
    reaped: Arc<AtomicBool>,
    lane: Lane,
    tasks: Producer<Block>,
    results: Consumer<Block>,
    link: Link,
    incoming: Assembler,
    /// A large task of which a part is in the ring.
    partial: Option<Outgoing<Vec<u8>>>,
    /// Whether the worker knows the function of that number.
    known: Vec<bool>,
    next_ticket: u32,
    /// Until when it is to have begun.
    ready_by: Deadline,
    /// A task that was seen not to be started, and from when on that is too long.
    waiting: Option<(u32, Deadline)>,
    ready: bool,
    dismissed: bool,
    /// Up to that ticket there are handles of tasks that were taken back, of which the worker is to be told.
    discard: Option<u32>,
    /// When it began what it has, or said something last.
    since: Deadline,
    /// Why it is not listened to any more.
    distrusted: Option<String>,
    /// Its oldest task, and until when that is to be finished.
    limit: Option<(u32, Deadline)>,
    /// It was asked to end, and will be killed then.
    ending: Option<Deadline>,
}

impl Worker {
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn has_started(&self, mark: Mark) -> bool {
        self.tasks.is_claimed(mark.position)
    }
}
