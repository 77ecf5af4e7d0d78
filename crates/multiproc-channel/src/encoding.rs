//! From values to bytes and handles, in a buffer that a thread keeps.

use std::cell::RefCell;

use multiproc_wire::handoff::Lender;
use multiproc_wire::{Encoder, Handoff};
use serde::Serialize;

use crate::error::Stop;
use crate::transport::PREFIX;

thread_local! {
    /// Where the thread's next message is encoded.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that has grown beyond this is not kept. Enough for messages of some mebibytes: one that is not kept is
/// fetched from the system page by page, which takes longer than the copy.
pub(crate) const KEPT: usize = 8 << 20;

/// Encodes a message behind [`PREFIX`] bytes and has it sent. What moves with it is given up when it was. Long runs of bytes
/// are lent by `lender`, where the receiver can be lent something.
#[inline]
pub(crate) fn transmit<T: Serialize>(
    message: &T,
    lender: Option<&'static Lender>,
    mut send: impl FnMut(&mut [u8], &Handoff) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let in_buffer = |buffer: &RefCell<Vec<u8>>| {
        // In use where the value's own code sends something, too, while it is encoded.
        let mut buffer = buffer.try_borrow_mut().ok()?;
        let result = transmit_in(&mut buffer, message, lender, &mut send);
        if buffer.capacity() > KEPT {
            *buffer = Vec::new();
        }
        Some(result)
    };
    // None in a thread that is past the end of its thread-local values.
    let sent = BUFFER.try_with(in_buffer).ok().flatten();
    sent.unwrap_or_else(|| transmit_in(&mut Vec::new(), message, lender, send))
}

#[inline]
fn transmit_in<T: Serialize>(
    buffer: &mut Vec<u8>,
    message: &T,
    lender: Option<&'static Lender>,
    send: impl FnOnce(&mut [u8], &Handoff) -> Result<(), Stop>,
) -> Result<(), Stop> {
    buffer.clear();
    buffer.extend_from_slice(&[0; PREFIX]);
    let mut encoder = Encoder::new(buffer).lending(lender);
    encoder.encode(message)?;
    let (bytes, handoff) = encoder.encoded();
    if !handoff.is_empty() {
        return transmit_with_handoff(encoder, send);
    }
    send(bytes, handoff)
}

#[cold]
fn transmit_with_handoff(
    mut encoder: Encoder<'_>,
    send: impl FnOnce(&mut [u8], &Handoff) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let loans = encoder.take_loans();
    // Before the receiver can look.
    loans.iter().for_each(|loan| loan.sent());
    let (bytes, handoff) = encoder.encoded();
    if let Err(stop) = send(bytes, handoff) {
        loans.iter().for_each(|loan| loan.taken_back());
        return Err(stop);
    }
    encoder.finish().sent();
    Ok(())
}
