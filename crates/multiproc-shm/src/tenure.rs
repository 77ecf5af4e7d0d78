//! Who has the contents of a segment to itself: the lock, and a note of the process that holds it.
//!
//! The lock is a thread's, and passes on when that thread is killed. What it gives access to is not the
//! thread's alone: slices of it may be in other threads of the process, which run for some microseconds more.
//! And it may be lent out in pieces (`lending.rs`) to other processes. So the holder leaves a note, and who
//! takes the lock and finds one waits until nobody can use the contents any more.
//!
//! # State
//!
//! | lock | `holder` | meaning |
//! |---|---|---|
//! | free | 0 | nobody has access |
//! | held | 0 | the holder is about to get access, or has given it up |
//! | held | a process | it has access, or its successor waits until it has none |
//! | free, marked by the kernel or given back by a successor that gave up | a process | it may have access still |
//!
//! # Invariants
//!
//! 1. `holder` names a process from before a guard exists in it until after the guard was dropped, or until
//!    the process is over. It is written under the lock only.
//! 2. A guard is given out under the lock when `holder` was 0, or its process was found to be over, and no piece
//!    was in use after that.
//!
//! # Orderings
//!
//! Relaxed: `holder` is read and written under the lock, whose Acquire and Release order it; for a dead
//! holder, whose mark by the kernel comes after all that the dead thread did.
//!
//! # Death
//!
//! | killed | what the next taker finds |
//! |---|---|
//! | lock taken, before the note | 0: nobody had access |
//! | with the note | waits until the process is over, which takes microseconds, and until pieces are free |
//! | note removed, before the unlock | 0 |
//! | waiting for the predecessor | the predecessor's note |

use std::marker::PhantomData;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};
use std::thread;

use multiproc_sync::{Deadline, Held};
use multiproc_sys::identity::Identity;

use crate::segment::Segment;

/// Why there is no use in waiting.
pub(crate) const NEVER: &str = "elements of this array are used by the calling thread, or by a guard that a \
    thread of this process leaked before it ended";

/// The right to the contents of a segment, until dropped.
///
/// As small as can be, and built in place: a guard that is handed up through several results, with more in it,
/// costs a hundred nanoseconds in copies, four times the lock itself.
#[must_use]
pub(crate) struct Tenure<'a> {
    segment: &'a Arc<Segment>,
    /// Whether a panic was already under way.
    panicking: bool,
    /// Not `Send`: the lock is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a> Tenure<'a> {
    /// Waits for it without end.
    #[inline]
    pub(crate) fn take(segment: &'a Arc<Segment>) -> Tenure<'a> {
        match Tenure::take_until(segment, Deadline::NEVER) {
            Some(tenure) => tenure,
            None => panic!("{NEVER}"),
        }
    }

    /// Waits for it until the deadline. Where it can never be had, that is known at once.
    #[inline]
    pub(crate) fn take_until(segment: &'a Arc<Segment>, deadline: Deadline) -> Option<Tenure<'a>> {
        // SAFETY: the memory stays mapped while `segment` is borrowed by the guard, and if the guard is
        // leaked, `Segment`'s drop does not unmap it.
        let held = unsafe { segment.words().lock.hold_until(deadline) };
        Tenure::begin(segment, held, || deadline)
    }

    /// Takes it if nobody has it.
    #[inline]
    pub(crate) fn try_take(segment: &'a Arc<Segment>) -> Option<Tenure<'a>> {
        // SAFETY: as in `take_until`.
        let held = unsafe { segment.words().lock.try_hold() };
        Tenure::begin(segment, held, Deadline::now)
    }

    #[inline]
    fn begin(
        segment: &'a Arc<Segment>,
        held: bool,
        deadline: impl FnOnce() -> Deadline,
    ) -> Option<Tenure<'a>> {
        if !held {
            return None;
        }
        if !note(segment, deadline) {
            // SAFETY: nobody got access.
            unsafe { segment.words().lock.unlock() };
            return None;
        }
        Some(Tenure {
            segment,
            panicking: thread::panicking(),
            thread: PhantomData,
        })
    }

    /// Gives it up, until [`retake`](Self::retake). Dropped in between, it does nothing.
    ///
    /// # Safety
    /// The contents are not accessed on the strength of it in between.
    #[inline]
    pub(crate) unsafe fn release(&mut self) {
        let words = self.segment.words();
        // Not a thread's that has released it, nor that of a forked child, which has a copy of its parent's guards.
        if words.lock.is_mine() {
            words.holder.store(0, Relaxed);
            // SAFETY: passed on to the caller.
            unsafe { words.lock.unlock() };
        }
    }

    /// Takes it again, however long that takes.
    pub(crate) fn retake(&mut self) -> Held {
        // SAFETY: as in `take_until`.
        let held = unsafe { self.segment.words().lock.hold_until(Deadline::NEVER) };
        assert!(held && note(self.segment, || Deadline::NEVER), "{NEVER}");
        self.held()
    }

    /// What is said to its taker.
    #[inline]
    pub(crate) fn held(&self) -> Held {
        self.segment.words().lock.told()
    }

    pub(crate) fn segment(&self) -> &'a Arc<Segment> {
        self.segment
    }
}

/// Leaves the note, once the predecessor is done; `false` where that takes too long. Under the lock.
#[inline]
fn note(segment: &Segment, deadline: impl FnOnce() -> Deadline) -> bool {
    let holder = &segment.words().holder;
    if let Some(predecessor) = Identity::from_bits(holder.load(Relaxed))
        && !succeed(segment, predecessor, deadline())
    {
        return false;
    }
    holder.store(Identity::own().to_bits(), Relaxed);
    true
}

/// Waits until the predecessor and those it has lent pieces to are done; `false` at the deadline, and at once
/// where the predecessor is this process itself.
#[cold]
fn succeed(segment: &Segment, predecessor: Identity, deadline: Deadline) -> bool {
    predecessor != Identity::own()
        && predecessor.wait_until_over(deadline)
        && segment.lending().end(deadline)
}

impl Drop for Tenure<'_> {
    #[inline]
    fn drop(&mut self) {
        let lock = &self.segment.words().lock;
        if !self.panicking && thread::panicking() && lock.is_mine() {
            lock.poison();
        }
        // SAFETY: what it gave access to is borrowed from it, and it ends here.
        unsafe { self.release() };
    }
}
