//! Long runs of bytes, out of the way of a message's other bytes: copied once, into memory that the receiver has mapped
//! already from the last time.
//!
//! - `holders`: who may still read them
//! - `pieces`: memory that this process lends, and uses again
//! - `found`: memory that others have lent to this process
//! - `bytes`: what users hold
//!
//! # What a run goes through
//!
//! | step | memory | if a process ends here |
//! |---|---|---|
//! | 1. the sender takes a piece that nobody holds, or makes one, raises its holders, and copies the run | the sender's | it is gone with it |
//! | 2. the piece's descriptor, or its number, goes with the message; the message says where the run lies | in flight | as any memory in a message |
//! | 3. the receiver maps the piece, or has it mapped, and checks place and length against its size | both have it | the receiver: the piece is not used again, and let go when the sender learns of it. The sender: the receiver reads on |
//! | 4. the receiver has copied the run, or drops the [`Bytes`] that are the run, and lowers the holders | the sender's again | as before |
//!
//! Nobody writes to a piece while it has holders, so that what is read of it does not change; a sender gone wild can spoil
//! the bytes, as those of an array under its lock, and no length, offset or pointer.

mod bytes;
mod found;
mod holders;
mod pieces;

pub use bytes::Bytes;
use holders::Holders;

/// A process has ended that may have been lent something. What is lent then is not used again, so that it is gone when those are
/// done that have it.
pub fn receiver_ended() {
    pieces::release_held();
}

/// Gives back what this process keeps to lend, and what it keeps of others'; says whether there was any to lend.
pub(crate) fn release() -> bool {
    found::release();
    pieces::release()
}

use multiproc_wire::handoff::Lender;

/// For receivers that are sent a piece's descriptor once or twice, and its number after that. Below, what is spared is less
/// than what another handle of a message costs.
pub static LENDER: Lender = Lender {
    least: 64 << 10,
    lend: pieces::lend,
    find: found::find,
};

/// For receivers that are sent its descriptor each time, which takes ten microseconds.
pub static LENDER_BY_DESCRIPTOR: Lender = Lender {
    least: 256 << 10,
    lend: pieces::lend,
    find: found::find,
};

/// At the head of a piece.
const MAGIC: u64 = u64::from_le_bytes(*b"mp-piece");
/// Magic number, size, and two numbers that no other piece has.
const FIELDS: usize = 32;
const HOLDERS: usize = 32;
/// Whether its maker has let it go.
const LEFT: usize = 36;
/// Where runs begin.
const HEADER: usize = 64;

/// The header of a piece of that size, with one holder.
#[cfg(any(test, fuzzing))]
pub(crate) fn header(size: u64) -> Vec<u8> {
    let mut header = bytemuck::cast_slice(&[MAGIC, size, 1, 2]).to_vec();
    header.extend_from_slice(&1_u64.to_le_bytes());
    header.resize(HEADER, 0);
    header
}

#[cfg(test)]
mod tests;
