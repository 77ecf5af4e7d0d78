//! Bytes and handles from many senders to one receiver, over a ring in shared memory.
//!
//! - `shared`: the channel's memory: the lock between senders, the ring, whether the receiver was dropped
//! - `line`: the socket pair: bells, handles, and the kernel's word on who is still there
//! - `sender`, `receiver`: the two ends; `travel`: the two ends as serde values
//! - `known`: the sending ends in this process; `glance`: when to ask whether the receiver is there
//!
//! It knows messages as bytes; values are the business of the crate's upper half. The protocol and what a death at
//! each step leaves behind are in README.md, in this folder.

mod glance;
mod known;
mod line;
mod receiver;
mod sender;
mod shared;
mod travel;

use std::io;

pub(crate) use receiver::{Message, Rx};
pub(crate) use sender::Tx;

use crate::transport::Settings;

/// Both ends of a new channel.
pub(crate) fn create(settings: &Settings) -> io::Result<(Tx, Rx)> {
    let shared = shared::Shared::create(settings.bytes)?;
    let (theirs, ours) = line::Line::pair()?;
    let end =
        receiver::End::new(shared.clone(), ours, settings.max_message).map_err(io::Error::other)?;
    Ok((Tx::new(shared, theirs, settings.max_message), Rx::new(end)))
}
