//! What lies where in a segment.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..8 | magic | `mpshared` |
//! | 8..12 | version | [`VERSION`]; a process refuses any other |
//! | 12..16 | kind | what the contents are, the user's number |
//! | 16..32 | id | random; equal means the same memory |
//! | 32..40 | length | elements |
//! | 40..48 | element size | bytes |
//! | 48..56 | element alignment | bytes |
//! | 56..64 | element type | a hash of its name |
//! | 64..136 | [`Words`] | lock, holder, lending |
//! | 192.. | [`Slot`]s | 64 bytes each, as many as [`Contents::slots`] says |
//! | then | contents | at a multiple of the element's alignment |

use std::io;

use serde::de;

use crate::lending::{Slot, Words};

const MAGIC: u64 = u64::from_le_bytes(*b"mpshared");
const VERSION: u32 = 2;
/// Where slots begin, or contents that have none.
pub(super) const SLOTS: usize = 192;
pub(super) const WORDS: usize = 64;
/// A page: a mapping is aligned no more strictly.
const MAX_ALIGN: usize = 4096;
/// As many pieces of one array can be in use at a time. A slot is 64 bytes in every array that long.
const MAX_SLOTS: usize = 256;

/// The first bytes of a segment, before [`Words`].
pub(super) type Fields = [u64; 8];

const _: () = assert!(size_of::<Fields>() == WORDS && size_of::<Words>() == 72);
const _: () = assert!(WORDS + size_of::<Words>() <= SLOTS && size_of::<Slot>() == 64);

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) kind: u32,
    pub(crate) length: usize,
    pub(crate) element_size: usize,
    pub(crate) element_align: usize,
    element_type: u64,
}

impl Contents {
    pub(crate) fn of<T>(kind: u32, length: usize) -> Contents {
        Contents {
            kind,
            length,
            element_size: size_of::<T>(),
            element_align: align_of::<T>(),
            element_type: hash(std::any::type_name::<T>()),
        }
    }

    /// Errors where no segment could hold this.
    pub(super) fn check(self) -> io::Result<usize> {
        let Contents {
            length,
            element_size,
            element_align,
            ..
        } = self;
        let refuse = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        if element_align > MAX_ALIGN {
            return Err(refuse(format!(
                "elements aligned to {element_align} bytes cannot be shared"
            )));
        }
        self.size().ok_or_else(|| {
            refuse(format!(
                "{length} elements of {element_size} bytes are more than memory can hold"
            ))
        })
    }

    /// Errors where a received segment holds something else than this, but for the length.
    pub(super) fn check_received<E: de::Error>(self, found: Contents) -> Result<(), E> {
        let expected = Contents {
            length: found.length,
            ..self
        };
        if found == expected {
            return Ok(());
        }
        Err(E::custom(
            "the received segment holds other elements than expected",
        ))
    }

    /// How many slots a segment has: pieces of an array have an element at least.
    pub(super) fn slots(self) -> usize {
        match self.kind {
            crate::array::KIND => self.length.min(MAX_SLOTS),
            _ => 0,
        }
    }

    /// Where the contents begin.
    pub(super) fn offset(self) -> usize {
        (SLOTS + self.slots() * size_of::<Slot>()).next_multiple_of(self.element_align)
    }

    /// The size of the whole segment.
    fn size(self) -> Option<usize> {
        let bytes = self.length.checked_mul(self.element_size)?;
        // A Rust object is at most this long.
        bytes
            .checked_add(self.offset())
            .filter(|size| isize::try_from(*size).is_ok())
    }

    /// What a segment with these contents begins with.
    pub(super) fn to_fields(self, id: [u64; 2]) -> Fields {
        let [one, two] = id;
        [
            MAGIC,
            u64::from(VERSION) | u64::from(self.kind) << 32,
            one,
            two,
            self.length as u64,
            self.element_size as u64,
            self.element_align as u64,
            self.element_type,
        ]
    }

    /// The contents of a received segment of `size` bytes, made sure to be `id`.
    pub(super) fn from_fields(fields: Fields, id: [u64; 2], size: usize) -> io::Result<Contents> {
        let [magic, version_and_kind, one, two, numbers @ ..] = fields;
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if magic != MAGIC || version_and_kind & u64::from(u32::MAX) != u64::from(VERSION) {
            return refuse("the received memory is no segment of this version");
        }
        let [length, element_size, element_align, element_type] = numbers;
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let contents = Contents {
            kind: u32::try_from(version_and_kind >> 32).unwrap_or(u32::MAX),
            length: number(length),
            element_size: number(element_size),
            element_align: number(element_align),
            element_type,
        };
        if !contents.element_align.is_power_of_two() || contents.element_align > MAX_ALIGN {
            return refuse("the received segment's alignment is none");
        }
        if contents.size() != Some(size) || [one, two] != id {
            return refuse("the received segment is not what its header says");
        }
        Ok(contents)
    }
}

/// FNV-1a, 64 bits.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
