//! From values to bytes and handles, in a buffer that a thread keeps.

use std::cell::Cell;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::encode;
use serde::Serialize;

use crate::error::Stop;
use crate::transport::PREFIX;

thread_local! {
    /// Where the thread's next message is encoded.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer that has grown beyond this is not kept. Enough for messages of some mebibytes: one that is not kept is
/// fetched from the system page by page, which takes longer than the copy.
pub(crate) const KEPT: usize = 8 << 20;

/// Encodes a message behind [`PREFIX`] bytes and has it sent. What moves with it is given up when it was.
#[inline]
pub(crate) fn transmit<T: Serialize>(
    message: &T,
    send: impl FnOnce(&mut [u8], &[Arc<OwnedHandle>]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    // Taken out: encoding runs the value's own code, which may send something, too.
    let mut buffer = BUFFER.take();
    let result = transmit_in(&mut buffer, message, send);
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
    result
}

#[inline]
fn transmit_in<T: Serialize>(
    buffer: &mut Vec<u8>,
    message: &T,
    send: impl FnOnce(&mut [u8], &[Arc<OwnedHandle>]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    buffer.clear();
    buffer.extend_from_slice(&[0; PREFIX]);
    let handoff = encode(message, buffer)?;
    send(buffer, handoff.handles())?;
    handoff.sent();
    Ok(())
}
