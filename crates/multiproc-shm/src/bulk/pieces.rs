//! Pieces: memory that this process lends to those it sends bytes to.
//!
//! # Invariants
//!
//! 1. A run is written into a piece only while nobody holds it (`holders.rs`) and nothing of this process has a loan of it,
//!    to send what is there: the list's reference is the only one. Who sends raises the holders while it has a loan.
//!    A forked child begins without pieces: those that it finds are its parent's.
//! 2. There are at most [`MOST`] pieces of [`MOST_BYTES`] together; those that nobody holds make room. Where all are held,
//!    what is sent goes the usual way, which waits for the receiver. A receiver that has died holds for ever: who learns
//!    of a death has all that are held let go, and after [`PATIENCE`] runs that have found no room, the one that was lent
//!    longest ago is. Whoever holds what was let go keeps its memory until it is done.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use multiproc_sync::primitive::{AtomicU32, Ordering};
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_sys::process::own_id;
use multiproc_wire::handoff::{Identity, Loan, Placed};

use super::{FIELDS, HEADER, HOLDERS, Holders, LEFT, MAGIC};
use crate::registry::random_id;

const MOST: usize = 16;
const MOST_BYTES: usize = 256 << 20;
/// A piece is no smaller, so that another run fits.
const SMALLEST: usize = 256 << 10;
const PATIENCE: u32 = 64;

/// Memory that is lent.
struct Piece {
    /// Whose it is. A forked child has a copy of what is known of it, and is not who lends it.
    owner: u32,
    handle: Arc<OwnedHandle>,
    mapping: Mapping,
    identity: Identity,
}

impl Piece {
    /// Of a piece for a run of that length.
    fn size(length: usize) -> usize {
        length.saturating_add(HEADER + SMALLEST) / SMALLEST * SMALLEST
    }

    fn create(length: usize) -> io::Result<Piece> {
        let size = Piece::size(length);
        let handle = map::create(size)?;
        let mapping = Mapping::new(&handle, size)?;
        let [one, two] = random_id();
        let fields = [MAGIC, size as u64, one, two];
        const { assert!(size_of::<[u64; 4]>() == FIELDS) };
        mapping.write(0, bytemuck::bytes_of(&fields));
        Ok(Piece {
            owner: own_id(),
            handle: handle.into(),
            mapping,
            identity: Identity::default(),
        })
    }

    fn is_own(&self) -> bool {
        self.owner == own_id()
    }

    fn holders(&self) -> &Holders {
        holders(&self.mapping)
    }

    /// How long a run can be.
    fn room(&self) -> usize {
        self.mapping.len() - HEADER
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.is_own() {
            // Relaxed: who sees it lets its mapping go, sooner or later.
            word(&self.mapping, LEFT).store(1, Ordering::Relaxed);
        }
    }
}

/// The word that says who holds a piece.
pub(super) fn holders(mapping: &Mapping) -> &Holders {
    let word = std::ptr::from_ref(word(mapping, HOLDERS)).cast::<Holders>();
    // SAFETY: a `Holders` is one such word, `repr(transparent)`; it lives as long.
    unsafe { &*word }
}

#[expect(clippy::cast_ptr_alignment, reason = "argued below")]
pub(super) fn word(mapping: &Mapping, at: usize) -> &AtomicU32 {
    assert!(
        at + 4 <= HEADER && mapping.len() >= HEADER,
        "inside the header"
    );
    let word = mapping.as_ptr().wrapping_add(at).cast::<AtomicU32>();
    // SAFETY: inside the mapping, by the assertion, which lives as long as the reference; aligned, since a mapping is to a
    // page and the places are multiples of 4; an atomic, of which any bytes are a value, whoever writes them.
    unsafe { &*word }
}

/// The pieces of this process, the one that was lent longest ago first.
struct Pieces {
    all: VecDeque<Arc<Piece>>,
    /// How many runs in a row have found no room.
    refused: u32,
}

static PIECES: Mutex<Pieces> = Mutex::new(Pieces {
    all: VecDeque::new(),
    refused: 0,
});

/// Those of this process alone. Nobody waits for another's turn, which a forked child might find taken for ever.
fn pieces() -> Option<MutexGuard<'static, Pieces>> {
    let mut pieces = match PIECES.try_lock() {
        Ok(pieces) => pieces,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    // All of them were made by one process, before a fork, or none.
    if pieces.all.back().is_some_and(|piece| !piece.is_own()) {
        pieces.all.clear();
    }
    Some(pieces)
}

/// Lets all pieces go that nothing of this process is about to send; says whether there were any. Receivers keep what they
/// hold until they are done.
pub(super) fn release() -> bool {
    let_go(|_| true)
}

/// Lets the pieces go that some receiver holds, who may have died with them.
pub(super) fn release_held() {
    let_go(|piece| !piece.holders().are_none());
}

fn let_go(which: impl Fn(&Piece) -> bool) -> bool {
    let Some(mut pieces) = pieces() else {
        return false;
    };
    let mut gone = Vec::new();
    for mut piece in std::mem::take(&mut pieces.all) {
        match Arc::get_mut(&mut piece).is_some_and(|piece| which(piece)) {
            true => gone.push(piece),
            false => pieces.all.push_back(piece),
        }
    }
    // Large memory takes a while to be freed.
    drop(pieces);
    !gone.is_empty()
}

/// By Invariant 1. Only the list makes others of its references, under its lock.
fn is_free(piece: &mut Arc<Piece>) -> bool {
    // Acquire is in it: what a loan did that is gone is seen, such as to raise the holders.
    Arc::get_mut(piece).is_some_and(|piece| piece.holders().are_none())
}

/// Copies a run to where its receiver will see it, if there is such a place.
pub(super) fn lend(run: &[u8]) -> Option<Placed> {
    let piece = take(run.len())?;
    piece.mapping.write(HEADER, run);
    Some(Placed {
        handle: Arc::clone(&piece.handle),
        known: piece.identity.known(),
        offset: HEADER as u64,
        loan: Arc::new(Loaned(piece)),
    })
}

/// A piece that a run of that length fits into, and that nobody else has.
fn take(length: usize) -> Option<Arc<Piece>> {
    let mut gone = Vec::new();
    let mut pieces = pieces()?;
    let taken = pieces.take(length, &mut gone);
    drop(pieces);
    // Large memory takes a while to be freed.
    drop(gone);
    taken
}

impl Pieces {
    fn take(&mut self, length: usize, gone: &mut Vec<Arc<Piece>>) -> Option<Arc<Piece>> {
        // Of several that fit as well the last that was lent: it is the likeliest to be in a cache.
        let fitting = (0..self.all.len())
            .rev()
            .filter(|at| self.all[*at].room() >= length)
            .min_by_key(|at| self.all[*at].room());
        let fitting = match fitting {
            // The best fit may be held, and another free.
            Some(best) if !is_free(&mut self.all[best]) => (0..self.all.len())
                .rfind(|at| self.all[*at].room() >= length && is_free(&mut self.all[*at])),
            best => best,
        };
        let piece = match fitting {
            Some(at) => self.all.remove(at)?,
            None => {
                self.make_room(Piece::size(length), gone)?;
                // Where there is no memory, there is the usual way.
                Arc::new(Piece::create(length).ok()?)
            }
        };
        self.refused = 0;
        self.all.push_back(Arc::clone(&piece));
        Some(piece)
    }

    /// By Invariant 2.
    fn make_room(&mut self, size: usize, gone: &mut Vec<Arc<Piece>>) -> Option<()> {
        if size > MOST_BYTES {
            return None;
        }
        let mut bytes: usize = self.all.iter().map(|piece| piece.mapping.len()).sum();
        while self.all.len() >= MOST || bytes + size > MOST_BYTES {
            let mut at = self.all.iter_mut().position(is_free);
            if at.is_none() {
                self.refused += 1;
                at = (self.refused > PATIENCE).then_some(0);
            }
            let piece = self.all.remove(at?)?;
            bytes -= piece.mapping.len();
            gone.push(piece);
        }
        Some(())
    }
}

/// A run in a piece.
struct Loaned(Arc<Piece>);

impl Loan for Loaned {
    fn sent(&self) {
        self.0.holders().raise();
    }

    fn taken_back(&self) {
        self.0.holders().lower();
    }
}
