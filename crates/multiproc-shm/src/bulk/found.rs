//! Memory that others have lent to this process.
//!
//! # Invariants
//!
//! 1. What is mapped is sealed against resizing, and its length is the kernel's; place and length of a run are checked
//!    against that when it is found, and not read again.
//! 2. A run is read between its sender's raising of the holders and this process's lowering, which is when the last of who
//!    have it drops it. Nobody writes to it in that time.
//! 3. What comes with a descriptor each time stays mapped here for the next, at most [`MOST`] and [`MOST_BYTES`]: without
//!    a descriptor, and until its maker lets it go or it has to make room.
//! 4. A message has one run in a piece, since a piece is lent to one message at a time. One that names a piece twice is not of
//!    a sender that keeps to this: the second run would be read when the first has given the piece back.

use std::collections::VecDeque;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use multiproc_sync::primitive::Ordering;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_sys::process::own_id;
use multiproc_wire::handoff::{self, Lent, Offer};

use super::pieces::{holders, word};
use super::{FIELDS, HEADER, LEFT, MAGIC};

const MOST: usize = 16;
const MOST_BYTES: usize = 256 << 20;

/// A piece of another process, mapped.
struct Found {
    mapping: Mapping,
    /// The kernel's number of its memory, which no other has while this is mapped.
    number: [u64; 2],
}

/// The one that was found longest ago first.
static KEPT: Mutex<VecDeque<Arc<Found>>> = Mutex::new(VecDeque::new());

/// Nobody waits for another's turn, which a forked child might find taken for ever.
fn kept() -> Option<MutexGuard<'static, VecDeque<Arc<Found>>>> {
    match KEPT.try_lock() {
        Ok(kept) => Some(kept),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

pub(super) fn release() {
    let all = kept().map(|mut kept| std::mem::take(&mut *kept));
    drop(all);
}

/// The run that a message says is there.
pub(super) fn find(index: u32, offset: u64, length: u64) -> Result<Lent, String> {
    // By Invariant 4.
    let offer = handoff::take_out(index).map_err(|error| error.to_string())?;
    let found = match offer.opened::<Found>() {
        Some(found) => found,
        None => open(&offer)?,
    };
    Run::new(found, offset, length).map(|run| Arc::new(run) as Lent)
}

fn open(offer: &Offer) -> Result<Arc<Found>, String> {
    let handle = offer.handle();
    let failed = |error| format!("memory that was lent cannot be mapped: {error}");
    let number = map::identity(handle).map_err(failed)?;
    if let Some(found) = known(number) {
        return Ok(found);
    }
    let found = Arc::new(Found::map(handle, number)?);
    if !offer.keep(&found) {
        keep(&found);
    }
    Ok(found)
}

/// By Invariant 3.
fn known(number: [u64; 2]) -> Option<Arc<Found>> {
    let mut kept = kept()?;
    let at = kept.iter().position(|found| found.number == number)?;
    let found = kept.remove(at)?;
    kept.push_back(Arc::clone(&found));
    Some(found)
}

fn keep(found: &Arc<Found>) {
    let Some(mut kept) = kept() else { return };
    let mut gone = Vec::new();
    let mut bytes = found.mapping.len();
    for known in std::mem::take(&mut *kept).into_iter().rev() {
        bytes = bytes.saturating_add(known.mapping.len());
        if known.is_left() || kept.len() + 1 >= MOST || bytes > MOST_BYTES {
            gone.push(known);
        } else {
            kept.push_front(known);
        }
    }
    kept.push_back(Arc::clone(found));
    drop(kept);
    // Large memory takes a while to be unmapped.
    drop(gone);
}

impl Found {
    fn map(handle: &OwnedHandle, number: [u64; 2]) -> Result<Found, String> {
        let failed = |error| format!("memory that was lent cannot be mapped: {error}");
        let size = map::length(handle).map_err(failed)?;
        let none = || "the received memory is none that is lent".to_string();
        if size < HEADER {
            return Err(none());
        }
        let mapping = Mapping::new(handle, size).map_err(failed)?;
        let mut fields = Vec::new();
        mapping.read(0, FIELDS, &mut fields);
        let [magic, said, ..]: [u64; 4] = bytemuck::pod_read_unaligned(&fields);
        if magic != MAGIC || said != size as u64 {
            return Err(none());
        }
        Ok(Found { mapping, number })
    }

    fn is_left(&self) -> bool {
        // Relaxed: a hint.
        word(&self.mapping, LEFT).load(Ordering::Relaxed) != 0
    }
}

/// Bytes in memory that was lent, until dropped.
struct Run {
    /// Whose turn it is to give it back: not that of a child that was forked with it.
    holder: u32,
    found: Arc<Found>,
    offset: usize,
    length: usize,
}

impl Run {
    fn new(found: Arc<Found>, offset: u64, length: u64) -> Result<Run, String> {
        let size = found.mapping.len() as u64;
        let inside = offset >= HEADER as u64 && offset <= size && length <= size - offset;
        let (Ok(offset), Ok(length), true) =
            (usize::try_from(offset), usize::try_from(length), inside)
        else {
            return Err(format!(
                "{length} bytes from {offset} on are not in memory of {size} that was lent"
            ));
        };
        Ok(Run {
            holder: own_id(),
            found,
            offset,
            length,
        })
    }
}

impl AsRef<[u8]> for Run {
    fn as_ref(&self) -> &[u8] {
        let first = self.found.mapping.as_ptr().wrapping_add(self.offset);
        // SAFETY: inside the mapping (checked in `new`), which lives as long as `self`; not written to as long, by
        // Invariant 2, which holds for all who keep to it, as that of an array's lock.
        unsafe { slice::from_raw_parts(first, self.length) }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.holder == own_id() {
            holders(&self.found.mapping).lower();
        }
    }
}
