//! Behind the feature `ipc`: `ipc-channel`, as what carries a channel's messages, and its ends inside our messages.
//!
//! [`Carried`] is an `IpcSender` or `IpcReceiver` as a value that travels. A channel over ipc-channel is made by a
//! [`ChannelBuilder`](crate::ChannelBuilder) that is told [`Transport::Ipc`](crate::Transport::Ipc).
//!
//! # How it works
//!
//! `exchange` says how an end's descriptor leaves ipc-channel and comes back in, `sender` how a channel's messages go.

mod carried;
mod exchange;
mod receiver;
mod sender;

use std::io;
use std::sync::Arc;

use ipc_channel::ipc::{IpcBytesReceiver, bytes_channel};
use multiproc_sys::handle::OwnedHandle;
use serde::{Deserialize, Serialize};

pub use carried::{Carried, Travels};
pub use exchange::End;
pub(crate) use receiver::{Message, Rx};
pub(crate) use sender::Tx;

use crate::id::Id;
use crate::line::Line;
use crate::ring::shared::Shared;
use crate::transport::Settings;

/// The longest piece of a message.
const PIECE: usize = 32 << 10;

/// A message begins.
const FIRST: u8 = 1;
/// A message ends.
const LAST: u8 = 2;
/// The message has handles, and the name of their parcel in front.
const HANDLES: u8 = 4;

/// Of the ring that the shared memory has room for, and which carries nothing: the smallest.
const NO_RING: usize = 64;

/// Both ends of a new channel.
pub(crate) fn create(settings: &Settings) -> io::Result<(Tx, Rx)> {
    if settings.messages.is_some() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a channel over ipc-channel cannot be bounded to a number of messages",
        ));
    }
    let shared = Shared::create(NO_RING)?;
    let (theirs, ours) = Line::pair()?;
    let (sender, receiver) = bytes_channel()?;
    let socket = Arc::new(exchange::Exit::open()?.release(sender)?);
    let inlet = Arc::new(exchange::Exit::<IpcBytesReceiver>::open()?.release(receiver)?);
    let limit = settings.max_message;
    let tx = Tx::open(
        crate::id::fresh(),
        Parts {
            shared: shared.clone(),
            line: theirs,
            socket,
            limit,
        },
    )?;
    let rx = Rx::open(Parts {
        shared,
        line: ours,
        socket: inlet,
        limit,
    })?;
    Ok((tx, rx))
}

/// What both ends are made of.
#[derive(Debug)]
struct Parts {
    shared: Shared,
    line: Line,
    /// ipc-channel's socket, to wait on and to travel.
    socket: Arc<OwnedHandle>,
    limit: usize,
}

/// The same, as they travel.
#[derive(Serialize, Deserialize)]
struct Travelling {
    id: Id,
    block: multiproc_shm::Block,
    line: u32,
    socket: u32,
    limit: u64,
}

impl Parts {
    fn put<E: serde::ser::Error>(&self, id: Id) -> Result<Travelling, E> {
        Ok(Travelling {
            id,
            block: self.shared.block().clone(),
            line: crate::line::put(&self.line)?,
            socket: multiproc_wire::handoff::put(&self.socket).map_err(E::custom)?,
            limit: self.limit as u64,
        })
    }
}

impl Travelling {
    fn take<E: serde::de::Error>(self) -> Result<Parts, E> {
        Ok(Parts {
            shared: Shared::open(self.block, NO_RING).map_err(E::custom)?,
            line: crate::line::take(self.line)?,
            socket: multiproc_wire::handoff::take(self.socket).map_err(E::custom)?,
            limit: usize::try_from(self.limit).map_err(E::custom)?,
        })
    }
}
