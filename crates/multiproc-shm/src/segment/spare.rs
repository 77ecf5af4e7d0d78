//! The memory of segments that are gone, for the next of the same size: the kernel takes longer to find and zero
//! pages than a program to fill them.
//!
//! # State
//!
//! A spare is a descriptor, not mapped here. Who else has it is not asked when it is put here, when a receiver may
//! still be at work on it, but when it is taken.
//!
//! # Invariants
//!
//! 1. Only memory of which the kernel says that nobody else has it, in any form, is given out
//!    ([`map::reclaim`]). So a receiver, a message on its way and a process made by `fork`, which has a copy of
//!    this list too, keep theirs, however the moments fall.
//! 2. At most [`MOST`] spares of [`MOST_BYTES`] together; the oldest make room.
//! 3. Nobody waits for another's turn here, which a forked child might find taken for ever: memory is then made
//!    or given up as if there were no list.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, TryLockError};

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Reclaimed};

use crate::bulk;

/// Below, what is saved is less than what asking costs beside the rest.
pub(super) const SMALLEST: usize = 256 << 10;
const MOST: usize = 4;
/// One of 64 MiB with its header, and some small ones.
const MOST_BYTES: usize = 80 << 20;

struct Spare {
    handle: OwnedHandle,
    size: usize,
}

static SPARES: Mutex<VecDeque<Spare>> = Mutex::new(VecDeque::new());

fn spares() -> Option<MutexGuard<'static, VecDeque<Spare>>> {
    match SPARES.try_lock() {
        Ok(spares) => Some(spares),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Puts aside memory of `size` bytes, of a descriptor by [`map::reopen`], which this process has no other of.
pub(super) fn keep(handle: OwnedHandle, size: usize) {
    let Some(mut spares) = spares() else { return };
    spares.push_back(Spare { handle, size });
    let mut bytes: usize = spares.iter().map(|spare| spare.size).sum();
    let mut old = Vec::new();
    while spares.len() > MOST || bytes > MOST_BYTES {
        let Some(oldest) = spares.pop_front() else {
            break;
        };
        bytes -= oldest.size;
        old.push(oldest);
    }
    // Large memory takes a while to be freed.
    drop(spares);
    drop(old);
}

/// Memory of `size` bytes that is nobody else's. It is not zeroed.
pub(super) fn take(size: usize) -> Option<OwnedHandle> {
    let mut spares = spares()?;
    let mut at = 0;
    // The oldest first: its receivers are the likeliest to be done.
    while at < spares.len() {
        let spare = spares.remove(at)?;
        let handle = if spare.size == size {
            match map::reclaim(spare.handle, size) {
                Ok(Reclaimed::Alone(handle)) => return Some(handle),
                Ok(Reclaimed::Shared(handle)) => handle,
                Err(_) => continue,
            }
        } else {
            spare.handle
        };
        let size = spare.size;
        spares.insert(at, Spare { handle, size });
        at += 1;
    }
    None
}

/// What `make` makes, where there is no room with the spares, without them.
pub(crate) fn making_room<T>(make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    make().or_else(|error| if release() { make() } else { Err(error) })
}

/// Gives all of it back; says whether there was any.
fn release() -> bool {
    let all = spares().map(|mut spares| std::mem::take(&mut *spares));
    // Both are given back.
    all.is_some_and(|all| !all.is_empty()) | bulk::release()
}

/// Gives the memory back to the machine that this process keeps of arrays that are gone.
///
/// The memory of an array, or of anything else that is shared, of 256 KiB and more is kept for the next of
/// the same size, which is made faster: of at most four, and 80 MiB together. So is memory in which long runs of bytes
/// were sent, or have come ([`Bytes`](crate::Bytes)): of each at most sixteen, and 256 MiB. It is given back by itself when there
/// is no memory for something new of this crate. A program that has made its last large array for a while can give
/// it back before.
///
/// ```
/// use multiproc_shm::SharedArray;
///
/// drop(SharedArray::<u8>::zeroed(1 << 20)?);
/// multiproc_shm::release_spare_memory();
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn release_spare_memory() {
    release();
}
