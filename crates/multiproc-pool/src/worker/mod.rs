//! The worker's side: takes tasks from its ring, calls their functions, puts the results into the other.
//!
//! - [`orders`]: what the parent says
//! - [`work`]: a task, or several items in one
//! - [`run`]: several tasks in one record
//! - [`answers`]: what the parent is told
//! - [`remembered`]: what it keeps of what came with tasks
//! - [`state`]: what the tasks of one call have in common
//! - [`hook`]: what is called before the first task, and after the last
//! - [`asked`]: whether the task that runs is to stop
//!
//! It runs as the function of a process of the crate `multiproc-process`, which sees to its start, its end
//! with its parent, and its panics.

mod answers;
mod asked;
mod hook;
mod orders;
mod remembered;
mod run;
pub(crate) mod state;
mod work;

use std::time::Duration;

use multiproc_process::function::Callable;
use multiproc_shm::bulk::LENDER_BY_DESCRIPTOR;
use multiproc_shm::ring::{Assembler, Claiming, Consumer, ItemProducer, Producer, Spin};
use multiproc_shm::{Bells, Block, Lane};
use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::limits;
use multiproc_wire::handoff::Lender;
use multiproc_wire::{Descriptor, Failure, Link};
use serde::{Deserialize, Serialize};

use crate::protocol::{CALLER, READY, TIRED, WATCHER};
use crate::view::span::Told;
use asked::Asked;
pub use asked::cancelled;
pub(crate) use hook::Hook;
use orders::Order;
use remembered::Remembered;

/// What a worker is given at its start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) lane: Lane,
    pub(crate) bells: Bells,
    pub(crate) link: Descriptor,
    pub(crate) initializer: Option<Hook>,
    pub(crate) finalizer: Option<Hook>,
    pub(crate) max_memory: Option<u64>,
    /// Whether it is to say of each task when it began and ended.
    pub(crate) stamped: bool,
    /// Whether it is a thread of its parent.
    pub(crate) thread: bool,
}

/// The worker's function. What it cannot go on without it panics about, for its parent to hear of.
pub(crate) fn run(setup: Setup) {
    if let Err(failure) = serve(setup) {
        panic!("{failure:#}");
    }
}

/// As [`run`], with what it cannot go on without as an error.
pub(crate) fn serve(mut setup: Setup) -> Result<(), Failure> {
    let initializer = setup.initializer.take();
    let finalizer = setup.finalizer.take();
    let mut worker = Worker::new(setup)?;
    initializer.map_or(Ok(()), |hook| hook.run("initializer"))?;
    worker.put(READY, &[], &[])?;
    while let Some(order) = worker.next()? {
        match order {
            Order::Announce(body) => worker.learn(&body)?,
            Order::Ping => worker.put(READY, &[], &[])?,
            Order::Discard(ticket) => worker.discard(ticket)?,
            Order::Prepare { body, handles } => worker.prepare(&body, handles)?,
            Order::Forget(key) => state::forget(u32::from_le_bytes(key)),
            Order::LetGo(numbers) => worker.remembered.let_go(&numbers),
            Order::Span(body) => worker.span = Told::from_bytes(&body)?,
            Order::Task { body, tag } => {
                worker.work(&body, tag)?;
                worker.body = kept(body);
            }
        }
    }
    finalizer.map_or(Ok(()), |hook| hook.run("finalizer"))
}

struct Worker {
    lane: Lane,
    bells: Bells,
    link: Link,
    tasks: Consumer<Block>,
    /// Where it is in a record of several.
    claiming: Claiming,
    results: Producer<Block>,
    /// For results that are short.
    items: ItemProducer<Block>,
    incoming: Assembler,
    functions: Vec<Option<Result<Callable, String>>>,
    /// The ticket of the last handles that came.
    last_frame: Option<u32>,
    remembered: Remembered,
    /// By which long runs of bytes in results are lent to the parent, where that is another process.
    lender: Option<&'static Lender>,
    /// Kept for the next argument and the next result.
    body: Vec<u8>,
    result: Vec<u8>,
    spin: Spin,
    /// How many answers were published since whoever waits for them was told.
    untold: u32,
    /// How much memory it may have in use, and when to look next.
    max_memory: Option<(u64, Deadline)>,
    /// When the task began, where that is to be said; kept from when there was none.
    began: Option<u64>,
    asked: Asked,
    /// Of the tasks that come next.
    span: Told,
}

/// How often a worker looks how much memory it has in use, which takes ten microseconds.
const WEIGHED_EVERY: Duration = Duration::from_millis(5);

impl Worker {
    fn new(setup: Setup) -> Result<Worker, Failure> {
        let Setup {
            lane,
            bells,
            link,
            max_memory,
            stamped,
            thread,
            ..
        } = setup;
        let link = link
            .into_owned()
            .map_err(|_| "the worker's link is in use elsewhere")?;
        let asked = match thread {
            true => Asked::of_thread(&lane),
            false => {
                lane.hold_death_word()?;
                Asked::of_process(&lane)
            }
        };
        let (tasks, results, items) = lane.worker()?;
        Ok(Worker {
            lane,
            bells,
            link: Link::from(link),
            tasks,
            claiming: Claiming::new(),
            results,
            items,
            incoming: Assembler::default(),
            functions: Vec::new(),
            last_frame: None,
            remembered: Remembered::default(),
            lender: (!thread).then_some(&LENDER_BY_DESCRIPTOR),
            body: Vec::new(),
            result: Vec::new(),
            spin: Spin::new(),
            untold: 0,
            max_memory: max_memory.map(|bytes| (bytes, Deadline::now())),
            began: stamped.then_some(0),
            asked,
            span: Told::default(),
        })
    }

    /// Whether it has to look how much memory it has in use.
    fn is_weighed(&self) -> bool {
        self.max_memory.is_some()
    }

    /// Says so once where it has more memory in use than it may.
    fn weigh(&mut self) -> Result<(), Failure> {
        let Some((most, when)) = &mut self.max_memory else {
            return Ok(());
        };
        if !when.has_passed() {
            return Ok(());
        }
        *when = Deadline::after(WEIGHED_EVERY);
        if limits::memory_in_use()? <= *most {
            return Ok(());
        }
        self.max_memory = None;
        self.put(TIRED, &[], &[])
    }
}

/// A buffer for the next use, unless it has grown beyond what is worth keeping.
fn kept(buffer: Vec<u8>) -> Vec<u8> {
    const MOST: usize = 1 << 20;
    if buffer.capacity() <= MOST {
        buffer
    } else {
        Vec::new()
    }
}

/// For who drives the pool, be it a caller or the pool's own thread.
fn ring_both(bells: &Bells) {
    bells.ring(CALLER);
    bells.ring_after_fence(WATCHER);
}

/// The link's other end as it travels to the worker.
pub(crate) fn travelling(link: Link) -> Descriptor {
    Descriptor::from(OwnedHandle::from(link))
}
