//! Open files, sockets and pipes as values that travel.

use std::sync::Arc;

use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::handoff;

/// An open file, socket or pipe end that can be part of a message to another process.
///
/// The receiver gets one more descriptor of the same open file; the sender keeps its own. Clones share
/// one descriptor.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<OwnedHandle>);

impl Descriptor {
    /// The descriptor.
    #[must_use]
    pub fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }

    /// For a descriptor that others have too.
    #[must_use]
    pub fn shared(handle: Arc<OwnedHandle>) -> Descriptor {
        Descriptor(handle)
    }

    /// The descriptor, which others may have too.
    #[must_use]
    pub fn into_shared(self) -> Arc<OwnedHandle> {
        self.0
    }

    /// The descriptor as one's own, if this is the only clone of it; else the clone again.
    ///
    /// # Errors
    /// The clone, where there are others.
    pub fn into_owned(self) -> Result<OwnedHandle, Descriptor> {
        Arc::try_unwrap(self.0).map_err(Descriptor)
    }
}

impl<T: Into<OwnedHandle>> From<T> for Descriptor {
    fn from(handle: T) -> Descriptor {
        Descriptor(Arc::new(handle.into()))
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        handoff::put(&self.0)
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        handoff::take(index)
            .map(Descriptor)
            .map_err(de::Error::custom)
    }
}
