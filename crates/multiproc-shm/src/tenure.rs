//! Who has the contents of a segment to itself: the lock, and a note of the process that holds it.
//!
//! The lock is a thread's, and passes on when that thread is killed. What it gives access to is not the
//! thread's alone: slices of it may be in other threads of the process, which run for some microseconds more.
//! And it may be lent out in pieces (`lending/`) to other processes. So the holder leaves a note, and who
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

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use multiproc_sync::{Deadline, Held, LockGuard, LockTimeoutError, PoisonError, TryLockError};
use multiproc_sys::identity::Identity;

use crate::segment::Segment;

/// Why there is no use in waiting.
pub(crate) const NEVER: &str = "elements of this array are used by the calling thread, or by a guard that a \
    thread of this process leaked before it ended";

/// The right to the contents of a segment, until dropped.
#[must_use]
pub(crate) struct Tenure<'a> {
    segment: &'a Arc<Segment>,
    /// Dropped after the note was removed.
    lock: LockGuard<'a>,
    /// Whether the note is there.
    noted: bool,
}

impl<'a> Tenure<'a> {
    /// Waits for it without end.
    #[inline]
    pub(crate) fn take(segment: &'a Arc<Segment>) -> Result<Tenure<'a>, PoisonError<Tenure<'a>>> {
        match Tenure::take_until(segment, Deadline::NEVER) {
            Ok(tenure) => Ok(tenure),
            Err(LockTimeoutError::Poisoned(error)) => Err(error),
            Err(LockTimeoutError::TimedOut) => panic!("{NEVER}"),
        }
    }

    /// Waits for it until the deadline. Where it can never be had, that is known at once.
    #[inline]
    pub(crate) fn take_until(
        segment: &'a Arc<Segment>,
        deadline: Deadline,
    ) -> Result<Tenure<'a>, LockTimeoutError<Tenure<'a>>> {
        // SAFETY: the memory stays mapped while `segment` is borrowed by the guard, and if the guard is
        // leaked, `Segment`'s drop does not unmap it.
        let lock = match unsafe { segment.words().lock.guard_until(deadline) } {
            Ok(lock) => lock,
            Err(LockTimeoutError::Poisoned(error)) => error.into_inner(),
            Err(LockTimeoutError::TimedOut) => return Err(LockTimeoutError::TimedOut),
        };
        match Tenure::begin(segment, lock, || deadline) {
            Some(tenure) => Ok(tenure.told()?),
            None => Err(LockTimeoutError::TimedOut),
        }
    }

    /// Takes it if nobody has it.
    #[inline]
    pub(crate) fn try_take(
        segment: &'a Arc<Segment>,
    ) -> Result<Tenure<'a>, TryLockError<Tenure<'a>>> {
        // SAFETY: as in `take_until`.
        let lock = match unsafe { segment.words().lock.try_guard() } {
            Ok(lock) => lock,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(TryLockError::WouldBlock),
        };
        match Tenure::begin(segment, lock, Deadline::now) {
            Some(tenure) => Ok(tenure.told()?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    #[inline]
    fn begin(
        segment: &'a Arc<Segment>,
        lock: LockGuard<'a>,
        deadline: impl FnOnce() -> Deadline,
    ) -> Option<Tenure<'a>> {
        let mut tenure = Tenure {
            segment,
            lock,
            noted: false,
        };
        tenure.note(deadline).then_some(tenure)
    }

    /// Leaves the note, once the predecessor is done; `false` where that takes too long.
    #[inline]
    fn note(&mut self, deadline: impl FnOnce() -> Deadline) -> bool {
        let holder = &self.segment.words().holder;
        if let Some(predecessor) = Identity::from_bits(holder.load(Relaxed))
            && !succeed(self.segment, predecessor, deadline())
        {
            return false;
        }
        holder.store(Identity::own().to_bits(), Relaxed);
        self.noted = true;
        true
    }

    /// A forked child has a copy of its parent's guards, whose drop must not remove the parent's note.
    #[inline]
    fn remove_note(&mut self) {
        let holder = &self.segment.words().holder;
        if self.noted && holder.load(Relaxed) == Identity::own().to_bits() {
            holder.store(0, Relaxed);
        }
        self.noted = false;
    }

    /// Gives it up, until [`retake`](Self::retake). Dropped in between, it does nothing.
    ///
    /// # Safety
    /// The contents are not accessed on the strength of it in between.
    pub(crate) unsafe fn release(&mut self) {
        self.remove_note();
        // SAFETY: passed on to the caller.
        unsafe { self.lock.release() };
    }

    /// Takes it again, however long that takes.
    pub(crate) fn retake(&mut self) -> Held {
        // SAFETY: as in `take_until`.
        let _told: Held = unsafe { self.lock.retake() };
        assert!(self.note(|| Deadline::NEVER), "{NEVER}");
        self.segment.words().lock.told()
    }

    /// With a word of warning where somebody died or panicked.
    #[inline]
    pub(crate) fn told(self) -> Result<Tenure<'a>, PoisonError<Tenure<'a>>> {
        self.segment.words().lock.told().with(self)
    }

    pub(crate) fn segment(&self) -> &'a Arc<Segment> {
        self.segment
    }
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
        self.remove_note();
    }
}
