//! A ring's memory as the model checker sees it: the same header words, and payload in cells that
//! notice when one end reads or writes what is still the other's.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use multiproc_sync::primitive::{AtomicU32, AtomicU64};

use super::corrupt::Corrupt;
use super::layout::{
    Backward, Forward, Header, Identity, MAGIC, RECORD_HEADER, VERSION, is_capacity,
};

/// What both ends of a modelled ring share.
pub(super) struct Shared {
    header: Header,
    slots: Vec<Slot>,
}

/// Eight bytes of data, as a record's header or as payload.
struct Slot {
    word: AtomicU64,
    payload: [UnsafeCell<u8>; RECORD_HEADER],
}

impl Shared {
    pub(super) fn new(capacity: usize) -> Result<Arc<Shared>, Corrupt> {
        if !is_capacity(capacity) {
            return Err(Corrupt::Capacity {
                found: capacity as u64,
            });
        }
        let slot = || Slot {
            word: AtomicU64::new(0),
            payload: std::array::from_fn(|_| UnsafeCell::new(0)),
        };
        Ok(Arc::new(Shared {
            header: Header {
                identity: Identity {
                    magic: AtomicU64::new(MAGIC),
                    version: AtomicU64::new(VERSION),
                    capacity: AtomicU64::new(capacity as u64),
                },
                forward: Forward {
                    tail: AtomicU64::new(0),
                    consumer: AtomicU32::new(0),
                },
                backward: Backward {
                    head: AtomicU64::new(0),
                    producer: AtomicU32::new(0),
                },
            },
            slots: std::iter::repeat_with(slot)
                .take(capacity / RECORD_HEADER)
                .collect(),
        }))
    }
}

/// The memory of one ring, seen from one end. The same functions as in `memory.rs`.
pub(super) struct Memory<M> {
    shared: Arc<Shared>,
    _owner: M,
}

// SAFETY: the cells are reached by one end at a time, which loom checks; the rest is atomics.
unsafe impl<M: Send> Send for Memory<M> {}

impl<M> Memory<M> {
    pub(super) fn new(owner: M, shared: Arc<Shared>) -> Memory<M> {
        Memory {
            shared,
            _owner: owner,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.shared.slots.len() * RECORD_HEADER
    }

    pub(super) fn header(&self) -> &Header {
        &self.shared.header
    }

    pub(super) fn word(&self, position: u64) -> &AtomicU64 {
        &self.shared.slots[self.offset(position) / RECORD_HEADER].word
    }

    pub(super) fn offset(&self, position: u64) -> usize {
        usize::try_from(position).expect("models are short") % self.capacity()
    }

    fn cell(&self, offset: usize) -> &UnsafeCell<u8> {
        &self.shared.slots[offset / RECORD_HEADER].payload[offset % RECORD_HEADER]
    }

    /// # Safety
    /// As in `memory.rs`; here a breach is found.
    pub(super) unsafe fn write(&self, position: u64, bytes: &[u8]) {
        for (position, byte) in (position..).zip(bytes) {
            let offset = self.offset(position);
            self.cell(offset).with_mut(|cell| {
                // SAFETY: loom has checked that nobody else is at the cell.
                unsafe { *cell = *byte };
            });
        }
    }

    /// # Safety
    /// As in `memory.rs`; here a breach is found.
    pub(super) unsafe fn read(&self, position: u64, destination: *mut u8, len: usize) {
        for index in 0..len {
            let offset = self.offset(position + index as u64);
            // SAFETY: loom has checked that nobody writes to the cell.
            let byte = self.cell(offset).with(|cell| unsafe { *cell });
            // SAFETY: the caller vouches for room at the destination.
            let place = unsafe { destination.add(index) };
            // SAFETY: as above.
            unsafe { place.write(byte) };
        }
    }
}
