//! Bytes and handles from many senders to one receiver, over a ring in shared memory.
//!
//! - `shared`: the channel's memory: the lock between senders, the ring, whether the receiver was dropped
//! - `crate::line`: the socket pair: bells, handles, and the kernel's word on who is still there
//! - `sender`, `receiver`: the two ends; `travel`: the two ends as serde values
//! - `names`, `kept`: what is sent again without its descriptor, as the sender and as the receiver know it
//! - `known`: the sending ends in this process; `glance`: when to ask whether the receiver is there
//!
//! It knows messages as bytes; values are the business of the crate's upper half. The protocol and what a death at
//! each step leaves behind are in README.md, in this folder.

mod glance;
mod kept;
mod known;
mod names;
mod receiver;
mod sender;
pub(crate) mod shared;
mod travel;

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use receiver::{Message, Rx};
pub(crate) use sender::Tx;

use crate::line::Line;
use crate::transport::Settings;

/// Both ends of a new channel.
pub(crate) fn create(settings: &Settings) -> io::Result<(Tx, Rx)> {
    let shared = shared::Shared::create(settings.bytes)?;
    let (theirs, ours) = Line::pair()?;
    let limits = Limits {
        max_message: settings.max_message,
        messages: settings.messages.map(|messages| messages as u64),
    };
    let end = receiver::End::new(shared.clone(), ours, limits).map_err(io::Error::other)?;
    Ok((Tx::new(shared, theirs, limits), Rx::new(end)))
}

/// What both ends know of a channel and do not read from its memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Limits {
    max_message: usize,
    messages: Option<u64>,
}

/// What a side's word in the ring holds while it sleeps on its end of the line.
const ON_LINE: u32 = 2;

/// How long a side sleeps on its word in the ring before it sleeps on the line, where it hears of a death. A wake
/// by the word takes half as long, so that those who answer each other soon never get to the line; a death that
/// comes while a side sleeps is learnt of so much later. Each longer sleep costs two system calls more.
///
/// Longer than a processor's tick, mostly 4 milliseconds: a timer that is the next to expire has the clock set for each
/// sleep, which in a virtual machine takes longer than the sleep and its wake-up (a round trip of bare futexes: 15
/// microseconds without a timeout and with one of 4 milliseconds, 46 with one of a millisecond).
const DOZE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
