//! Open files, sockets and pipes as values that travel.

use std::io;
use std::sync::Arc;

use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::handoff;

/// An open file, socket or pipe end that can be part of a message to another process.
///
/// It is made `from` a file, socket or pipe end of the standard library, and turned [into](Descriptor::into_std) one
/// again. The receiver gets one more descriptor of the same open file; the sender keeps its own. Clones share
/// one descriptor, also in the message. A field of such a type can travel as it is, by [`mod@as_descriptor`].
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

    /// The descriptor as a file, socket or pipe end of the standard library: its own if this is the only clone, else
    /// one more of the same open file.
    ///
    /// ```
    /// use std::fs::File;
    /// use multiproc_wire::Descriptor;
    ///
    /// let descriptor = Descriptor::from(File::open("/dev/null")?);
    /// let file: File = descriptor.into_std()?;
    /// # drop(file);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there are clones and too many files are open.
    pub fn into_std<T: From<OwnedHandle>>(self) -> io::Result<T> {
        match self.into_owned() {
            Ok(handle) => Ok(handle.into()),
            Err(shared) => shared.as_handle().try_clone_to_owned().map(T::from),
        }
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

/// For fields of the standard library's types: `#[serde(with = "multiproc_wire::as_descriptor")]`.
///
/// ```
/// use std::net::TcpStream;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Request {
///     path: String,
///     #[serde(with = "multiproc_wire::as_descriptor")]
///     client: TcpStream,
/// }
/// ```
///
/// The sender keeps its own; each sending opens one more for the message.
pub mod as_descriptor {
    use super::{
        AsHandle, Descriptor, Deserialize, Deserializer, OwnedHandle, Serialize, Serializer,
    };
    use super::{de, ser};

    /// Hands the value's descriptor over with the message.
    ///
    /// # Errors
    /// Where no message is being encoded, or too many files are open.
    pub fn serialize<T: AsHandle, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let handle = value
            .as_handle()
            .try_clone_to_owned()
            .map_err(ser::Error::custom)?;
        Descriptor::from(handle).serialize(serializer)
    }

    /// Takes the value's descriptor out of the message.
    ///
    /// # Errors
    /// Where there is none, or too many files are open.
    pub fn deserialize<'de, T: From<OwnedHandle>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        Descriptor::deserialize(deserializer)?
            .into_std()
            .map_err(de::Error::custom)
    }
}
