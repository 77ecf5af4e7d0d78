//! One worker, as its parent holds it.
//!
//! - [`body`]: a process or a thread
//! - [`starting`]: its start
//! - [`sending`]: what goes into its ring of tasks, and comes back out of it
//! - [`hearing`]: what it says
//! - [`lent`]: what it was lent, and may still read
//! - [`remembered`]: what it has of what it was sent before
//! - [`timing`]: how long it takes
//! - [`end`]: its end
//! - [`seen`]: what is told of it

mod body;
mod end;
mod hearing;
mod lent;
mod remembered;
mod seen;
mod sending;
mod starting;
mod timing;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use multiproc_shm::ring::{Assembler, Consumer, ItemConsumer, Outgoing, Position, Producer};
use multiproc_shm::{Block, Lane};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Link;

use crate::scheduler;
use crate::view::span::Context;
use body::Body;
pub(super) use end::Corpse;
pub(crate) use hearing::Heard;
#[cfg(any(test, fuzzing))]
pub(crate) use hearing::understand;
use lent::LentOut;
use remembered::Remembered;
use seen::Seen;
pub(super) use sending::Push;

/// How a task that was sent is known again, and those behind it in the same record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The ticket of the first task of its record.
    first: u32,
    /// How many tasks were in that.
    count: u16,
    /// Which of them it is.
    index: u16,
    position: Position,
    /// Whether descriptors were sent with it.
    handles: bool,
    /// Whether something was lent with it.
    lent: bool,
}

impl Mark {
    #[inline]
    pub(super) fn ticket(self) -> u32 {
        self.first.wrapping_add(u32::from(self.index))
    }
}

impl scheduler::Mark for Mark {
    #[inline]
    fn later(self, tasks: usize) -> Mark {
        // No more than there are in a record.
        let tasks = u16::try_from(tasks).unwrap_or(u16::MAX);
        Mark {
            index: self.index.saturating_add(tasks),
            ..self
        }
    }
}

/// How many of the tasks of a record its worker has claimed, which has claimed the record.
fn claimed(lane: &Lane, mark: Mark) -> u16 {
    match mark.count {
        1 => 1,
        // It has gone on to others where it says nothing of these.
        count => lane.claims().claimed(mark.first).unwrap_or(count),
    }
}

/// Why a worker is to end that could go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retired {
    /// It has done enough, or takes too much memory.
    Spent,
    /// It is one too many.
    Surplus,
    /// There is nothing to do.
    Idle,
}

/// A worker and this end of all that leads to it.
pub(super) struct Worker {
    body: Body,
    /// Set when the process has ended and is reaped, or the thread has ended.
    reaped: Arc<AtomicBool>,
    lane: Lane,
    tasks: Producer<Block>,
    results: Consumer<Block>,
    /// Results that are short.
    items: ItemConsumer<Block>,
    link: Link,
    incoming: Assembler,
    /// A large task of which a part is in the ring.
    partial: Option<Outgoing<Vec<u8>>>,
    /// Whether the worker knows the function of that number.
    known: Vec<bool>,
    /// What the worker was told that tasks have in common, and what of it it is to forget.
    states: Vec<u32>,
    forgotten: Vec<u32>,
    remembered: Remembered,
    lent: LentOut,
    next_ticket: u32,
    /// The span that it was told of last.
    span: Option<Context>,
    /// Until when it is to have begun.
    ready_by: Deadline,
    /// A task that was seen not to be started, and from when on that is too long.
    waiting: Option<(u32, Deadline)>,
    ready: bool,
    dismissed: bool,
    /// It is to be given nothing more, and dismissed when it has nothing left.
    retired: Option<Retired>,
    /// How many tasks it has finished.
    finished: u64,
    /// It has nothing to do, and is kept until then.
    idle_until: Deadline,
    /// Up to that ticket there are handles of tasks that were taken back, of which the worker is to be told.
    discard: Option<u32>,
    /// When it began what it has, or said something last.
    since: Deadline,
    /// Why it is not listened to any more.
    distrusted: Option<String>,
    /// Its oldest task, and since when it is that.
    oldest: Option<(u32, Deadline)>,
    /// It was asked to end, and will be killed then.
    ending: Option<Deadline>,
    seen: Seen,
}

impl Worker {
    /// Whether it is to be given nothing more.
    pub(super) fn is_leaving(&self) -> bool {
        self.dismissed
            || self.retired.is_some()
            || self.distrusted.is_some()
            || self.ending.is_some()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn pid(&self) -> u32 {
        self.body.pid()
    }

    /// So many tasks are finished: how many are in all.
    pub(super) fn count(&mut self, tasks: u32) -> u64 {
        self.finished += u64::from(tasks);
        self.finished
    }

    /// How many tasks it has finished.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    pub(super) fn has_started(&self, mark: Mark) -> bool {
        self.tasks.is_claimed(mark.position) && claimed(&self.lane, mark) > mark.index
    }
}
