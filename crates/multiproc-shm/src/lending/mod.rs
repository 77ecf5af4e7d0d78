//! Pieces of an array, each in use by one thread of one process at a time.
//!
//! Who holds the array's lock lends the elements out in pieces of equal length. A piece is a number: there is
//! nothing to make or to free, however many there are. Who uses one enters its number in a *slot*, of which
//! the segment has a few hundred, and then looks whether it is still lent and whether another slot has the same
//! number. The lender ends the lending before it looks at the slots, and waits for those in use.
//!
//! # State
//!
//! `lending` in the segment's words counts beginnings and ends: it is odd while pieces are lent out, and each
//! time is another. `chunk` is the length of a piece.
//!
//! | a slot's lock | its `holder` | its `piece` | meaning |
//! |---|---|---|---|
//! | free | 0 | 0 | nobody's |
//! | held | any | 0 | being taken or given back |
//! | held | a process | n + 1 | piece n is in use there, or is about to be given back for it was refused |
//! | free, marked by the kernel | a process | n + 1 | its user's thread is dead: whoever needs the slot or the piece *recovers* it |
//!
//! # Invariants
//!
//! 1. `lending` and `chunk` are written under the array's lock only, and `chunk` while nothing is lent.
//! 2. A slot's `holder` and `piece` are written under its lock only. While a thread has access to piece n, it
//!    holds the lock of a slot with `piece` n + 1 and its process's name in `holder`.
//! 3. A thread has access to a piece when, after it entered it, it found `lending` unchanged and no other slot
//!    with the same piece.
//! 4. `slots_used` only grows, and is above the number of any slot with a piece in it.
//!
//! Of two that take the same piece, the later in the order of their fences sees the other's entry; both may,
//! and then neither gets it. Of a taker and a lender that ends, likewise: the taker sees the end, or the lender
//! sees the entry and waits for it.
//!
//! # Orderings
//!
//! The two fences are SeqCst, and pair with each other: store, fence, load on both sides. `piece` is stored with
//! Release and read with Acquire: who sees it changed sees what its last user did to the elements. `lending` is
//! stored with Release, read with Acquire: a taker sees what the lender did. `holder` and `chunk` are Relaxed,
//! under a lock or published by `lending`.
//!
//! # Death
//!
//! | killed | what others find |
//! |---|---|
//! | the user, with the slot's lock, before its entry | `piece` 0: the slot is taken over |
//! | the user, between its entry and its exit | the lock is marked: whoever recovers the slot waits until the whole process is over, poisons the array in its name, and empties the slot |
//! | who recovers, anywhere | the slot as it was, or empty |
//! | the lender | the next to take the array's lock ends the lending in its place (`tenure.rs`) |

#![cfg_attr(
    not(loom),
    expect(unreachable_pub, reason = "reached from outside by the models alone")
)]

use std::error::Error;
use std::fmt;
use std::iter;
use std::marker::PhantomData;
use std::ptr;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use multiproc_sync::Deadline;
use multiproc_sync::primitive::Ordering::{Acquire, Relaxed, Release, SeqCst};
use multiproc_sync::primitive::{Identity, fence};

mod words;

pub use words::{Slot, Words};

/// Why a piece cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PieceError {
    /// The array is not lent out any more, or again and in other pieces.
    Ended,
    /// The piece is in use, here or in another process, or two tried to take it at once.
    InUse,
    /// As many pieces of the array are in use as can be: 256.
    TooMany,
}

impl fmt::Display for PieceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PieceError::Ended => "the array that this is a piece of is not lent out any more",
            PieceError::InUse => "this piece of the array is in use",
            PieceError::TooMany => "too many pieces of the array are in use at a time",
        })
    }
}

impl Error for PieceError {}

/// How long to wait for a process that has lost a thread which used a piece. One that was killed is over in
/// microseconds; one that still runs after this has leaked a guard, and keeps the piece.
const DYING: Duration = Duration::from_secs(1);

/// What a segment has to lend its contents with.
#[derive(Clone, Copy, Debug)]
pub struct Lending<'a> {
    /// Shared.
    pub words: &'a Words,
    /// Shared.
    pub slots: &'a [Slot],
    /// Private: which slot this process used last.
    pub hint: &'a AtomicUsize,
}

impl<'a> Lending<'a> {
    /// Begins to lend pieces of `chunk` elements, and says which lending it is. The caller holds the
    /// array's lock, and nothing is lent.
    pub fn begin(self, chunk: u64) -> u64 {
        self.words.chunk.store(chunk, Relaxed);
        let lending = self.words.lending.load(Relaxed).wrapping_add(1) | 1;
        // Release: publishes the chunk and the elements; pairs with the Acquire in `take`.
        self.words.lending.store(lending, Release);
        lending
    }

    /// Ends the lending, if there is one, and waits until no piece is in use. Says `false` at the deadline,
    /// and at once where waiting is of no use: the calling thread uses a piece, or one of this process has
    /// ended and leaked the guard of one. No piece can be taken any more all the same. The caller holds the
    /// array's lock.
    pub fn end(self, deadline: Deadline) -> bool {
        let lending = self.words.lending.load(Relaxed);
        let even = lending.wrapping_add(lending & 1);
        self.words.lending.store(even, Relaxed);
        fence(SeqCst);
        self.slots_used().iter().all(|slot| {
            // Acquire: pairs with the Release of who gave it back.
            slot.piece.load(Acquire) == 0 || self.wait_until_free(slot, deadline)
        })
    }

    fn wait_until_free(self, slot: &Slot, deadline: Deadline) -> bool {
        // SAFETY: the memory stays mapped while the words are borrowed.
        if unsafe { slot.lock.lock(deadline) }.is_err() {
            return false;
        }
        let recovered = self.recover(slot, deadline);
        // SAFETY: nothing was accessed.
        unsafe { slot.lock.unlock() };
        recovered
    }

    /// Takes piece `index` of the given lending.
    ///
    /// # Errors
    /// [`PieceError`].
    ///
    /// # Panics
    /// If the thread holds 1,024 locks shared by processes.
    pub fn take(self, lending: u64, chunk: u64, index: u64) -> Result<PieceUse<'a>, PieceError> {
        let (number, slot) = self.take_slot(index)?;
        // From here on dropping it gives the slot back.
        let taken = PieceUse {
            words: self.words,
            slot,
            panicking: thread::panicking(),
            thread: PhantomData,
        };
        slot.holder.store(Identity::own().to_bits(), Relaxed);
        if self.words.slots_used.load(Relaxed) <= number {
            self.words.slots_used.fetch_max(number + 1, Relaxed);
        }
        // Release: hands on what the slot's last user did to its piece, to who reads this number over it.
        slot.piece.store(index + 1, Release);
        fence(SeqCst);
        // Acquire: pairs with the Release in `begin`.
        if self.words.lending.load(Acquire) != lending || self.words.chunk.load(Relaxed) != chunk {
            return Err(PieceError::Ended);
        }
        for other in self.slots_used() {
            // Acquire: pairs with the Release of who gave the piece back in this slot.
            if other.piece.load(Acquire) == index + 1
                && !ptr::eq(other, slot)
                && !self.was_dead(other)
            {
                return Err(PieceError::InUse);
            }
        }
        Ok(taken)
    }

    /// A slot that nobody uses, its lock taken, for that piece.
    fn take_slot(self, index: u64) -> Result<(u32, &'a Slot), PieceError> {
        let hint = self.hint.load(Relaxed);
        let taken = iter::once(hint)
            .chain(0..self.slots.len())
            .find_map(|at| self.try_slot(at));
        if let Some(taken) = taken {
            return Ok(taken);
        }
        // Pieces are no more than slots, up to 256: then all slots are held only if this piece is in use, or if somebody
        // is between two steps, for whom it is waited.
        let mut between = None;
        for (at, slot) in self.slots.iter().enumerate() {
            // Relaxed: nothing is read of what is seen here.
            match slot.piece.load(Relaxed) {
                0 => between = Some(at),
                piece if piece == index + 1 => return Err(PieceError::InUse),
                _ => {}
            }
        }
        let taken = between.and_then(|at| self.wait_for_slot(at));
        taken.ok_or(PieceError::TooMany)
    }

    /// That slot, if nobody uses it, its lock taken.
    fn try_slot(self, at: usize) -> Option<(u32, &'a Slot)> {
        let slot = self.slots.get(at)?;
        // SAFETY: the memory stays mapped while the words are borrowed, and if the use is leaked,
        // `Segment`'s drop does not unmap it.
        let _taken = unsafe { slot.lock.try_lock() }?;
        self.use_slot(at, slot)
    }

    /// That slot, which is being taken or given back by another, if nobody uses it then.
    #[cold]
    fn wait_for_slot(self, at: usize) -> Option<(u32, &'a Slot)> {
        let slot = &self.slots[at];
        // SAFETY: as in `try_slot`.
        let _taken = unsafe { slot.lock.lock(Deadline::after(DYING)) }.ok()?;
        self.use_slot(at, slot)
    }

    /// A slot whose lock was taken, unless it has a user that is not over.
    fn use_slot(self, at: usize, slot: &'a Slot) -> Option<(u32, &'a Slot)> {
        if slot.piece.load(Relaxed) == 0 || self.recover(slot, Deadline::now()) {
            if at != self.hint.load(Relaxed) {
                self.hint.store(at, Relaxed);
            }
            return Some((u32::try_from(at).expect("a few hundred slots"), slot));
        }
        // SAFETY: nothing was accessed.
        unsafe { slot.lock.unlock() };
        None
    }

    /// Whether the slot's user was dead; the slot is then recovered.
    #[cold]
    fn was_dead(self, slot: &Slot) -> bool {
        // SAFETY: the memory stays mapped while the words are borrowed.
        if unsafe { slot.lock.try_lock() }.is_none() {
            return false;
        }
        let recovered = self.recover(slot, Deadline::after(DYING));
        // SAFETY: nothing was accessed.
        unsafe { slot.lock.unlock() };
        recovered
    }

    /// Makes sure that a slot is empty: its last user may have died. `false` where its process is not over
    /// at the deadline, or is this one. The caller holds the slot's lock.
    fn recover(self, slot: &Slot, deadline: Deadline) -> bool {
        if slot.piece.load(Relaxed) == 0 {
            return true;
        }
        let user = Identity::from_bits(slot.holder.load(Relaxed));
        let is_over = |user: Identity| user != Identity::own() && user.wait_until_over(deadline);
        if !user.is_none_or(is_over) {
            return false;
        }
        self.words.lock.poison_for(user.map(Identity::pid));
        // Release: passes on what the dead one did.
        slot.piece.store(0, Release);
        true
    }

    /// The slots that may have a piece in them.
    fn slots_used(self) -> &'a [Slot] {
        let used = self.words.slots_used.load(Relaxed);
        &self.slots[..self.slots.len().min(used as usize)]
    }
}

/// One piece in use by the calling thread, until dropped.
#[derive(Debug)]
pub struct PieceUse<'a> {
    words: &'a Words,
    slot: &'a Slot,
    /// Whether a panic was already under way.
    panicking: bool,
    /// Not `Send`: the slot's lock is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl Drop for PieceUse<'_> {
    fn drop(&mut self) {
        if cfg!(loom) && thread::panicking() {
            // A modelled death, which does nothing more.
            return;
        }
        if self.slot.holder.load(Relaxed) != Identity::own().to_bits() {
            // The copy of a forked child: the use is its parent's.
            return;
        }
        if !self.panicking && thread::panicking() {
            self.words.lock.poison();
        }
        // Release: publishes what was done to the elements; pairs with the Acquire of who takes the piece
        // next, and of who ends the lending.
        self.slot.piece.store(0, Release);
        self.slot.holder.store(0, Relaxed);
        // SAFETY: what the use gave access to is borrowed from it, and it ends here.
        unsafe { self.slot.lock.unlock() };
    }
}
