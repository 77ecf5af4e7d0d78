//! Plain shared memory for what this workspace builds on it: rings, and words that a group watches.
//!
//! A block has no header. Its length travels with its handle and is checked against the memory's own.

use std::io;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_wire::handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

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
        let handle = map::create(length)?;
        let mapping = Mapping::new(&handle, length)?;
        Ok(Block {
            handle: handle.into(),
            mapping: mapping.into(),
        })
    }

    /// The first byte, aligned to a page.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// How many bytes there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.mapping.len()
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
        if found as u64 != length {
            return Err(de::Error::custom(
                "the received memory is not as long as it should be",
            ));
        }
        let mapping = Mapping::new(&handle, found).map_err(de::Error::custom)?;
        Ok(Block {
            handle,
            mapping: mapping.into(),
        })
    }
}
