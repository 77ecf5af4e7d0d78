//! Many bytes, or many numbers, that travel as one copy.
//!
//! serde has no other way for a `Vec<u8>` than element by element. These wrappers say that theirs is one run of
//! bytes: it is copied into the message by one `memcpy`, and out of it by another.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A `Vec<T>` of plain numbers (or other [`Pod`]s) that travels as the bytes that it is, not element by element.
///
/// ```
/// use multiproc_channel::{Bulk, channel};
///
/// let (sender, receiver) = channel::<Bulk<f32>>()?;
/// sender.send(vec![1.0, 2.5].into())?;
/// assert_eq!(*receiver.recv()?, [1.0, 2.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is copied twice where it is long, once by the sender and once by the receiver;
/// [`Bytes`](multiproc_shm::Bytes) are copied by the sender alone.
///
/// The bytes are this machine's: it is for messages between processes of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bulk<T>(pub Vec<T>);

impl<T> From<Vec<T>> for Bulk<T> {
    fn from(elements: Vec<T>) -> Bulk<T> {
        Bulk(elements)
    }
}

impl<T> From<Bulk<T>> for Vec<T> {
    fn from(bulk: Bulk<T>) -> Vec<T> {
        bulk.0
    }
}

impl<T> Deref for Bulk<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Bulk<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Pod> Serialize for Bulk<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytemuck::cast_slice(&self.0))
    }
}

impl<'de, T: Pod> Deserialize<'de> for Bulk<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bulk<T>, D::Error> {
        deserializer.deserialize_bytes(Elements(PhantomData))
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Pod> Visitor<'de> for Elements<T> {
    type Value = Bulk<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of elements of {} bytes", size_of::<T>())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bulk<T>, E> {
        let whole = match size_of::<T>() {
            0 => bytes.is_empty(),
            size => bytes.len().is_multiple_of(size),
        };
        if !whole {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        let count = bytes.len().checked_div(size_of::<T>()).unwrap_or(0);
        let mut elements = Vec::new();
        elements.try_reserve_exact(count).map_err(E::custom)?;
        // One copy where the bytes lie aligned, which they do for bytes; else one, element-sized, that is as fast.
        match bytemuck::try_cast_slice(bytes) {
            Ok(aligned) => elements.extend_from_slice(aligned),
            Err(_) => elements.extend(
                bytes
                    .chunks_exact(size_of::<T>().max(1))
                    .map(bytemuck::pod_read_unaligned::<T>),
            ),
        }
        Ok(Bulk(elements))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Bulk<T>, A::Error> {
        // Of formats that have no bytes.
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}
