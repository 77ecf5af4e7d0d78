//! Messages that are too long for where they go, in memory of their own.
//!
//! What goes there instead is the prefix, which names a parcel, and a length; the memory is the parcel's last handle.

use std::io;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};

use crate::error::{ChannelError, Stop};
use crate::transport::PREFIX;

/// What goes in the message's place.
pub(crate) type Stub = [u8; PREFIX + 8];

/// Copies what lies behind the first [`PREFIX`] bytes of `message` to memory of its own; gives what goes in its place,
/// and its handles with that memory.
pub(crate) fn put(
    message: &[u8],
    handles: &[Arc<OwnedHandle>],
) -> io::Result<(Stub, Vec<Arc<OwnedHandle>>)> {
    let bytes = &message[PREFIX..];
    let memory = map::create(bytes.len())?;
    Mapping::new(&memory, bytes.len())?.write(0, bytes);
    let mut stub = [0; PREFIX + 8];
    stub[PREFIX..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    Ok((stub, [handles, &[Arc::new(memory)]].concat()))
}

/// Puts the message for which `buffer` stands into `buffer`, and takes the memory from its handles.
///
/// # Errors
/// Where they do not stand for one of `max_message` bytes at most.
#[cold]
pub(crate) fn take(
    buffer: &mut Vec<u8>,
    handles: &mut Vec<Arc<OwnedHandle>>,
    max_message: usize,
) -> Result<(), Stop> {
    let len = buffer.get(PREFIX..).and_then(|rest| rest.first_chunk());
    let len = len.map(|len| u64::from_le_bytes(*len));
    let len = len.and_then(|len| usize::try_from(len).ok());
    let (Some(len), Some(memory)) = (len, handles.pop()) else {
        return Err(ChannelError::SPOILT.into());
    };
    if len > max_message || map::length(&memory)? < len {
        return Err(ChannelError::SPOILT.into());
    }
    let mapping = Mapping::new(&memory, len)?;
    buffer.clear();
    buffer
        .try_reserve(len)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    mapping.read(0, len, buffer);
    Ok(())
}
