//! The children of this process that are not yet reaped, and what becomes of them at its end.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use multiproc_sys::cgroup::{self, MemoryGroup};
use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::BorrowedHandle;
use multiproc_sys::wait::{ExitStatus, Waiter};
use multiproc_sys::{process as sys, signal};

use crate::error::Identity;
use crate::{MemoryCap, forkserver};

/// How long the end of the program waits for children that are not daemonic.
pub const EXIT_WAIT: Duration = Duration::from_secs(60);

/// How long those may take who are left in a child's control group.
const LEAVING: Duration = Duration::from_millis(100);

/// Set once, when the end of the program has begun.
static EXITING: AtomicBool = AtomicBool::new(false);

/// Whether the end of the program has begun: nothing is started any more.
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Acquire)
}

/// A child, from its start until nobody asks for it any more.
pub(crate) struct Child {
    name: String,
    waiter: Waiter,
    daemon: bool,
    /// Relaxed: no other memory depends on it.
    detached: AtomicBool,
    /// The process that started it: a forked copy of that has the registry, and not the children.
    started_by: u32,
    memory_cap: Option<MemoryCap>,
    state: Mutex<State>,
}

/// Which of those that are to be called at a child's end.
pub(crate) type Key = u64;

#[derive(Default)]
struct State {
    status: Option<ExitStatus>,
    /// Until it is reaped.
    memory: Option<MemoryGroup>,
    at_end: Vec<(Key, Box<dyn FnOnce() + Send>)>,
    next: Key,
}

impl State {
    /// A status that the kernel gives, with what is known of the memory.
    fn judged(&self, status: ExitStatus) -> ExitStatus {
        let told = self.memory.as_ref().map(MemoryGroup::was_out_of_memory);
        match told {
            Some(Ok(true)) => status.of_out_of_memory(),
            // Where it cannot be asked any more, nothing is known.
            _ => status,
        }
    }
}

static CHILDREN: Mutex<Vec<Arc<Child>>> = Mutex::new(Vec::new());

pub(crate) fn children() -> MutexGuard<'static, Vec<Arc<Child>>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has what is left to do at the end of the program be done.
pub(crate) fn note_exit() {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(|| {
        OWNER.store(std::process::id(), Ordering::Relaxed);
        // Without memory for it, children are left to the lifeline.
        let _noted = sys::at_exit(at_exit);
    });
}

impl Child {
    /// Enters a child that was just started.
    pub(crate) fn register(
        name: String,
        waiter: Waiter,
        daemon: bool,
        memory: Option<(MemoryCap, Option<MemoryGroup>)>,
    ) -> Arc<Child> {
        note_exit();
        let (memory_cap, memory) = memory.unzip();
        let child = Arc::new(Child {
            name,
            waiter,
            daemon,
            detached: AtomicBool::new(false),
            started_by: std::process::id(),
            memory_cap,
            state: Mutex::new(State {
                memory: memory.flatten(),
                ..State::default()
            }),
        });
        children().push(Arc::clone(&child));
        child
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.waiter.pid()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            pid: self.pid(),
        }
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.daemon
    }

    pub(crate) fn memory_cap(&self) -> Option<MemoryCap> {
        self.memory_cap
    }

    /// The end of the program neither waits for this child nor kills it: the lifeline does.
    pub(crate) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    /// Readable once the child has ended.
    pub(crate) fn sentinel(&self) -> BorrowedHandle<'_> {
        multiproc_sys::handle::AsHandle::as_handle(&self.waiter)
    }

    /// How the child ended, if it has; reaps it then.
    pub(crate) fn try_status(self: &Arc<Child>) -> io::Result<Option<ExitStatus>> {
        let mut state = self.state();
        if state.status.is_some() {
            return Ok(state.status);
        }
        // While it is not reaped its number is still its group's.
        if self.daemon && self.waiter.wait(Deadline::now())? {
            self.waiter.kill_group(signal::KILL)?;
        }
        let status = self.waiter.try_reap()?.map(|status| state.judged(status));
        if status.is_some() {
            state.status = status;
            state.memory = None;
            let at_end = std::mem::take(&mut state.at_end);
            drop(state);
            children().retain(|child| !Arc::ptr_eq(child, self));
            multiproc_sys::robust::process_ended(self.pid());
            for (_, run) in at_end {
                // Whose panic this is has been told by the panic hook; the others still have to be called.
                let _panicked = panic::catch_unwind(AssertUnwindSafe(run));
            }
        }
        Ok(status)
    }

    /// The status the child is about to end with, if that is certain already.
    pub(crate) fn early_status(self: &Arc<Child>) -> Option<ExitStatus> {
        let state = self.state();
        let early = || Some(state.judged(self.waiter.early_status()?));
        state.status.or_else(early)
    }

    /// Waits for the child's end; `None` at the deadline.
    pub(crate) fn wait(self: &Arc<Child>, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
        // Asked for its status before it has ended, it would be asked twice.
        let known = self.state().status;
        if known.is_some() {
            return Ok(known);
        }
        while self.waiter.wait(deadline)? {
            if let Some(status) = self.try_status()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Has `run` called, on some thread, when the child has ended and is reaped; at once if it has.
    pub(crate) fn when_ended(self: &Arc<Child>, run: Box<dyn FnOnce() + Send>) -> Key {
        let mut state = self.state();
        let key = state.next;
        if state.status.is_none() {
            state.next += 1;
            state.at_end.push((key, run));
            return key;
        }
        drop(state);
        run();
        key
    }

    /// Has what was to be called at the child's end not be called, unless it was.
    pub(crate) fn forget(&self, key: Key) {
        let mut state = self.state();
        let forgotten = state.at_end.extract_if(.., |(other, _)| *other == key);
        let forgotten: Vec<_> = forgotten.collect();
        drop(state);
        // What it owns may do anything at its end.
        drop(forgotten);
    }

    pub(crate) fn signal(&self, number: i32) -> io::Result<()> {
        self.waiter.kill(number)
    }

    /// Sends a signal to the child and its process group.
    pub(crate) fn signal_group(&self, number: i32) -> io::Result<()> {
        // Held so that nobody reaps the child meanwhile, and its number stays its own.
        let state = self.state();
        if state.status.is_some() {
            return Ok(());
        }
        self.waiter.kill_group(number)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The children of this process that have not ended; those that have are reaped.
pub(crate) fn active() -> Vec<Arc<Child>> {
    let own = std::process::id();
    let mut known = children().clone();
    // One that cannot be asked is not known to have ended.
    known.retain(|child| child.started_by == own && !matches!(child.try_status(), Ok(Some(_))));
    known
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("status", &self.state().status)
            .finish_non_exhaustive()
    }
}

/// The process whose children these are: one that it forks without exec has none of them.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// In a child that was just forked: it has none of its parent's children, and those that it starts are its own.
pub(crate) fn after_fork(mut children: MutexGuard<'static, Vec<Arc<Child>>>) {
    // What they own (who waits for their end, say) is the parent's, too: nothing of it is run or dropped here.
    let _parents = ManuallyDrop::new(std::mem::take(&mut *children));
    // Relaxed: nobody else is there. Where the parent's exit handler is not registered yet, ours will be.
    OWNER.store(std::process::id(), Ordering::Relaxed);
}

/// The end of a process that does not run exit handlers.
pub(crate) fn end() {
    at_exit();
}

extern "C" fn at_exit() {
    // Relaxed: written before this function was registered.
    if OWNER.load(Ordering::Relaxed) != std::process::id() {
        return;
    }
    // Release: pairs with Acquire in `is_exiting`. Whoever looks later starts nothing that nobody ends.
    EXITING.store(true, Ordering::Release);
    let left = std::mem::take(&mut *children());
    // What cannot be killed or waited for is left to the lifeline, which ends it with this process.
    let (daemons, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|child| child.daemon);
    for child in &daemons {
        let _killed = child.signal_group(signal::KILL);
    }
    let deadline = Deadline::after(EXIT_WAIT);
    let waited_for = others
        .iter()
        .filter(|child| !child.detached.load(Ordering::Relaxed));
    for child in daemons.iter().chain(waited_for) {
        let _ended = child.wait(deadline);
    }
    forkserver::end();
    // Whom a child has left behind is about to end, and its group can be removed then; at the latest by who makes another.
    cgroup::remove_left(Deadline::after(LEAVING));
}
