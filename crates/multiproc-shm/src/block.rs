//! Plain shared memory for what this workspace builds on it: rings, and words that a group watches.
//!
//! A block begins with a header of 128 bytes, of which the first 16 are a magic number and the length of the
//! rest. Users reach only what is behind it, and so cannot make other memory of theirs pass for a block:
//! memory that some hold slices of, and others would take for atomics.

use std::io;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_wire::handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::segment::making_room;

const MAGIC: u64 = u64::from_le_bytes(*b"mp-block");
/// Keeps what follows aligned as rings want it.
const HEADER: usize = 128;

/// Shared memory, mapped. Clones stand for the same mapping; sent, it is mapped once more.
#[derive(Clone, Debug)]
pub struct Block {
    handle: Arc<OwnedHandle>,
    mapping: Arc<Mapping>,
}

impl Block {
    /// `length` zeroed bytes.
    ///
    /// # Errors
    /// Where there is no memory for them, or too many files or mappings are open.
    pub fn create(length: usize) -> io::Result<Block> {
        Block::create_reserving(length, length)
    }

    /// `length` zeroed bytes, of which the first `reserved` are there; the rest is to be
    /// [reserved](Self::reserve) before it is written to.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_reserving(length: usize, reserved: usize) -> io::Result<Block> {
        let with_header = |bytes: usize| bytes.checked_add(HEADER);
        let (Some(size), Some(reserved)) = (with_header(length), with_header(reserved)) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let handle = making_room(|| map::create_reserving(size, reserved))?;
        let mapping = Mapping::new(&handle, size)?;
        mapping.write(0, bytemuck::bytes_of(&[MAGIC, length as u64]));
        Ok(Block {
            handle: handle.into(),
            mapping: mapping.into(),
        })
    }

    /// Makes sure that `length` bytes from `at` on are there.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn reserve(&self, at: usize, length: usize) -> io::Result<()> {
        making_room(|| map::reserve_more(&self.handle, at.saturating_add(HEADER), length))
    }

    /// Gives what lies in `length` bytes from `at` on back to the machine, but for what shares a page with other
    /// bytes. Zeroes are read there then, and it is to be reserved again before it is written to.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn release(&self, at: usize, length: usize) -> io::Result<()> {
        map::release(&self.handle, at.saturating_add(HEADER), length)
    }

    /// The first byte, aligned to 128.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr().wrapping_add(HEADER)
    }

    /// How many bytes there are.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody makes one to have nothing"
    )]
    pub fn len(&self) -> usize {
        self.mapping.len() - HEADER
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = handoff::put(&self.handle).map_err(ser::Error::custom)?;
        (index, self.len() as u64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (index, length) = <(u32, u64)>::deserialize(deserializer)?;
        let handle = handoff::take(index).map_err(de::Error::custom)?;
        let found = map::length(&handle).map_err(de::Error::custom)?;
        let refuse = || de::Error::custom("the received memory is not the block that it should be");
        if found < HEADER {
            return Err(refuse());
        }
        let mapping = Mapping::new(&handle, found).map_err(de::Error::custom)?;
        let mut bytes = Vec::new();
        mapping.read(0, size_of::<[u64; 2]>(), &mut bytes);
        let header: [u64; 2] = bytemuck::pod_read_unaligned(&bytes);
        if header != [MAGIC, length] || (found - HEADER) as u64 != length {
            return Err(refuse());
        }
        Ok(Block {
            handle,
            mapping: mapping.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bells, SharedArray};

    #[test]
    fn other_memory_does_not_pass_for_a_block() {
        let array = SharedArray::from_slice(&[0_u8; 4096]).unwrap();
        let mut bytes = vec![];
        let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
        for length in [128_u64, 4096, 4096 + 128] {
            let mut forged = vec![];
            let plain = multiproc_wire::encode(&(0_u32, length), &mut forged).unwrap();
            assert!(plain.is_empty());
            let handles = handoff.handles().to_vec();
            assert!(multiproc_wire::decode::<Bells>(&forged, handles).is_err());
        }
    }

    #[test]
    fn a_block_arrives_as_it_was_sent() {
        let block = Block::create(1000).unwrap();
        // SAFETY: inside the block, which nobody else has.
        unsafe { block.as_ptr().write(7) };
        let mut bytes = vec![];
        let handoff = multiproc_wire::encode(&block, &mut bytes).unwrap();
        let same: Block = multiproc_wire::decode(&bytes, handoff.handles().to_vec()).unwrap();
        assert_eq!(same.len(), 1000);
        // SAFETY: as above.
        assert_eq!(unsafe { same.as_ptr().read() }, 7);
    }
}
