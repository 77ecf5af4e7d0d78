//! What lies where in a ring's memory, and the header of a record: one 64-bit word.
//!
//! ```text
//!     0  Identity   magic, layout version, capacity       written once
//!   128  Forward    tail, consumer parked                 what flows to the consumer
//!   256  Backward   head, producer parked                 what flows to the producer
//!   384  capacity bytes: records, each 8-byte aligned: header word, payload, up to 7 unused bytes
//! ```
//!
//! A side's flag "I sleep" lies beside the position that the *other* side writes: whoever publishes
//! has that line already, so looking at the flag costs nothing; it is written only around a sleep.
//! Lines are 128 bytes apart because processors fetch 64-byte lines in pairs.
//!
//! Positions count bytes since the ring was made and never wrap; a position's place in the data is
//! its value modulo the capacity. Records are contiguous: where one does not fit before the end of
//! the data, padding fills the rest of the lap.

use multiproc_sync::primitive::{AtomicU32, AtomicU64};

/// The smallest ring: a record takes a quarter of it at most.
pub const MIN_CAPACITY: usize = 64;

/// The largest ring. Larger ones would hold more, not carry it faster.
pub const MAX_CAPACITY: usize = 1 << 30;

/// The bytes of memory that a ring with room for `capacity` bytes of records takes.
#[must_use]
pub const fn bytes_needed(capacity: usize) -> usize {
    size_of::<Header>() + capacity
}

/// The longest payload of one record in a ring of `capacity` bytes: what lets every record, and the
/// padding before it, into an empty ring, and leaves room for the next while one is read.
#[must_use]
pub const fn max_len(capacity: usize) -> usize {
    capacity / 4 - RECORD_HEADER
}

/// Whether a ring can have this capacity: a power of two within the limits.
pub(super) const fn is_capacity(capacity: usize) -> bool {
    capacity.is_power_of_two() && capacity >= MIN_CAPACITY && capacity <= MAX_CAPACITY
}

/// "mp-ring" and a zero byte, as a little-endian number.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"mp-ring\0");

/// Changes whenever what lies where changes, or what it means.
pub(super) const VERSION: u64 = 1;

/// What stands before the data.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) forward: Forward,
    pub(super) backward: Backward,
}

/// Written once, by whoever makes the ring.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU64,
    pub(super) capacity: AtomicU64,
}

/// What flows to the consumer.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Forward {
    /// Position after the last published record. Written by the producer only.
    pub(super) tail: AtomicU64,
    /// The consumer's declaration, see [`super::park`].
    pub(super) consumer: AtomicU32,
}

/// What flows to the producer.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Backward {
    /// Position of the first byte that the consumer may still read. Written by the consumer only.
    pub(super) head: AtomicU64,
    /// The producer's declaration, see [`super::park`].
    pub(super) producer: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Header, forward) == 128 && offset_of!(Header, backward) == 256);
    assert!(size_of::<Header>() == 384 && align_of::<Header>() == 128);
    assert!(offset_of!(Forward, consumer) == 8 && offset_of!(Backward, producer) == 8);
};

/// Where the consumer's declaration lies in a ring's memory, for whoever has that without an end of the ring.
#[cfg(not(loom))]
pub const CONSUMER: usize =
    std::mem::offset_of!(Header, forward) + std::mem::offset_of!(Forward, consumer);

/// The size of a record's header, and what records are aligned to.
pub(super) const RECORD_HEADER: usize = 8;

/// The bytes that a record with `len` bytes of payload takes.
pub(super) const fn record_size(len: usize) -> usize {
    RECORD_HEADER + len.next_multiple_of(RECORD_HEADER)
}

/// Whether records can begin at `position`: it is aligned, and so far from the end of all numbers that
/// no ring will ever get there.
pub(super) const fn is_position(position: u64) -> bool {
    position.is_multiple_of(RECORD_HEADER as u64) && position < 1 << 62
}

/// The header of a record, read and changed as a whole.
///
/// | bits | meaning |
/// |---|---|
/// | 0..32 | payload length |
/// | 32..48 | the user's tag |
/// | 48 | the record begins a message |
/// | 49 | the message goes on in the next record |
/// | 56..64 | the [`State`] |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// What may become of a record. All zeroes is no state, so that blank memory is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There for the consumer, or to be taken back.
    Ready = 1,
    /// The consumer's, for good.
    Claimed = 2,
    /// Taken back by the producer: the consumer passes over it.
    Revoked = 3,
    /// Fills the rest of a lap.
    Padding = 4,
}

impl Word {
    /// The record is the first, or only, one of a message.
    pub(super) const FIRST: u64 = 1 << 48;
    /// The message goes on in the next record.
    pub(super) const MORE: u64 = 1 << 49;

    const STATE_SHIFT: u32 = 56;

    pub(super) fn new(len: u32, tag: u16, flags: u64, state: State) -> Word {
        let state = (state as u64) << Word::STATE_SHIFT;
        Word(u64::from(len) | u64::from(tag) << 32 | flags | state)
    }

    pub(super) fn len(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    pub(super) fn tag(self) -> u16 {
        let [.., a, b, _, _] = self.0.to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    pub(super) fn is_first(self) -> bool {
        self.0 & Word::FIRST != 0
    }

    pub(super) fn has_more(self) -> bool {
        self.0 & Word::MORE != 0
    }

    /// The state, or the bits that stand for none.
    pub(super) fn state(self) -> Result<State, u8> {
        let [.., state] = self.0.to_le_bytes();
        match state {
            1 => Ok(State::Ready),
            2 => Ok(State::Claimed),
            3 => Ok(State::Revoked),
            4 => Ok(State::Padding),
            _ => Err(state),
        }
    }

    /// The same record in another state.
    pub(super) fn with_state(self, state: State) -> Word {
        let rest = self.0 & !(u64::MAX << Word::STATE_SHIFT);
        Word(rest | (state as u64) << Word::STATE_SHIFT)
    }
}
