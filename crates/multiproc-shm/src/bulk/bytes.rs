//! Bytes that may lie in memory of the process that sent them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use multiproc_wire::handoff::{self, Lent};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that travel as one run, and arrive without being copied where they are many.
///
/// They are sent from a vector, and read as a slice. A long run (64 KiB and more as an argument of a pool's task or as a message
/// of a channel, 256 KiB as a task's result) is copied once, into memory that sender and receiver have mapped; the receiver's
/// `Bytes` *are* that memory, which is used for the sender's next run when they are dropped. So drop them when they
/// are done with, or [make a vector](Bytes::into_vec) of what is to be kept for long: a sender lends 256 MiB at most,
/// and what is sent beyond that is copied several times.
///
/// A `Vec<u8>` goes byte by byte: that is serde's form of it. `serde_bytes::ByteBuf` takes the same way as `Bytes`, and
/// is copied out at the end of it.
///
/// ```
/// use multiproc_shm::Bytes;
///
/// let bytes = Bytes::from(vec![1, 2, 3]);
/// assert_eq!(bytes[1..], [2, 3]);
/// assert_eq!(bytes.into_vec(), [1, 2, 3]);
/// ```
///
/// Clones are of the same bytes. Nobody changes what they show: the sender writes to that memory again when it has been given back.
#[derive(Clone)]
pub struct Bytes(Form);

#[derive(Clone)]
enum Form {
    Own(Arc<Vec<u8>>),
    Lent(Lent),
}

impl Bytes {
    /// The bytes as a vector of one's own: the one they were made of, if there are no clones, or else a copy.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Form::Own(bytes) => Arc::unwrap_or_clone(bytes),
            Form::Lent(run) => (*run).as_ref().to_vec(),
        }
    }

    /// Whether they lie in memory of the process that sent them.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        matches!(self.0, Form::Lent(_))
    }
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::from(Vec::new())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Form::Own(Arc::new(bytes)))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes::from(bytes.to_vec())
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Vec<u8> {
        bytes.into_vec()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Own(bytes) => bytes,
            Form::Lent(run) => (**run).as_ref(),
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Bytes) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Bytes) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_byte_buf(Bytewise)
    }
}

struct Bytewise;

impl<'de> Visitor<'de> for Bytewise {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        if let Some(run) = handoff::lent(bytes) {
            return Ok(Bytes(Form::Lent(run)));
        }
        let mut own = Vec::new();
        own.try_reserve_exact(bytes.len()).map_err(E::custom)?;
        own.extend_from_slice(bytes);
        Ok(Bytes::from(own))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes::from(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Bytes, A::Error> {
        // Of formats that have no bytes.
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes::from(bytes))
    }
}
