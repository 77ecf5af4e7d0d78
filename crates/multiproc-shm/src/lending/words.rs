//! The words of a segment that say who uses its contents.

use std::mem::offset_of;

use multiproc_sync::LockWord;
use multiproc_sync::primitive::{AtomicU32, AtomicU64};

/// What processes change in a segment besides its contents; 72 bytes, new as zeroes.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Words {
    /// That of the whole.
    pub lock: LockWord,
    /// See `tenure.rs`.
    pub(crate) holder: AtomicU64,
    /// Odd while pieces are lent.
    pub(crate) lending: AtomicU64,
    /// Elements in a piece.
    pub(crate) chunk: AtomicU64,
    /// Above the number of every slot that has had a piece in it.
    pub(crate) slots_used: AtomicU32,
    unused: AtomicU32,
}

/// Who uses one piece of the contents; 64 bytes, new as zeroes.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Slot {
    pub(crate) lock: LockWord,
    /// The user's process ([`Identity`](multiproc_sys::identity::Identity)), or 0.
    pub(crate) holder: AtomicU64,
    /// The piece's number and 1, or 0.
    pub(crate) piece: AtomicU64,
    unused: AtomicU64,
}

const _: () = assert!(
    cfg!(loom)
        || offset_of!(Words, holder) == 40
            && offset_of!(Words, slots_used) == 64
            && offset_of!(Slot, holder) == 40
            && offset_of!(Slot, piece) == 48
);
