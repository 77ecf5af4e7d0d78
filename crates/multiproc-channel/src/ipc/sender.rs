//! The sending end: one per process and channel, however many handles it has there.
//!
//! # A channel over ipc-channel
//!
//! Messages go through an ipc-channel of bytes, in pieces of at most [`PIECE`] bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | [`FIRST`], [`LAST`], [`HANDLES`] |
//! | 1.. | the piece; where handles come, the message begins with the name of their parcel (`line.rs`) |
//!
//! Beside it are the memory and the line that a channel over a ring has: the lock between senders, the counts, who
//! is there; and what ipc-channel does not carry, such as files.
//!
//! What ipc-channel does not do is done here: it has no send that does not block, so a sender looks at its socket
//! first, which is writable only while three quarters of its room are left, and a piece is smaller than that; it cuts long
//! messages up itself and then blocks for each piece, so none is that long; it does not say which sender a piece is from, so
//! senders take turns. A sender that dies in the middle of a message leaves pieces that the next message's first
//! piece drops.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use ipc_channel::ipc::IpcBytesSender;
use multiproc_sync::Deadline;
use multiproc_sys::handle::{AsHandle, Interest, OwnedHandle, poll};
use multiproc_wire::Handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::exchange::adopt;
use super::{FIRST, HANDLES, LAST, PIECE, Parts, Travelling};
use crate::error::{ChannelError, Stop};
use crate::id::{self, Id};
use crate::line::Heard;
use crate::reactor;
use crate::transport::{Outlet, PREFIX, Told};

/// A sending end of a channel: a handle to this process's.
#[derive(Clone, Debug)]
pub(crate) struct Tx(Arc<Port>);

/// This process's sending end of a channel.
struct Port {
    id: Id,
    parts: Parts,
    ipc: IpcBytesSender,
    next_parcel: AtomicU64,
    /// Where this process is noted as one that sends.
    noted: Option<usize>,
}

/// The sending ends in this process: one that arrives again is one more handle of what is there.
static PORTS: Mutex<Option<HashMap<Id, Weak<Port>>>> = Mutex::new(None);

fn ports() -> MutexGuard<'static, Option<HashMap<Id, Weak<Port>>>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tx {
    pub(super) fn open(id: Id, parts: Parts) -> io::Result<Tx> {
        let ipc = adopt(&*parts.socket)?;
        let noted = parts.shared.enter();
        let next_parcel = AtomicU64::new(id::random());
        let port = Arc::new(Port {
            id,
            parts,
            ipc,
            next_parcel,
            noted,
        });
        let mut ports = ports();
        let known = ports.get_or_insert_default().entry(id).or_default();
        if known.strong_count() == 0 {
            *known = Arc::downgrade(&port);
        }
        Ok(Tx(port))
    }
}

impl Outlet for Tx {
    fn send(
        &self,
        message: &mut [u8],
        handoff: &Handoff,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        self.0.send(message, handoff.handles(), until)
    }

    /// A message of several pieces takes a sender that waits: it is too long here.
    fn offer(&self, message: &mut [u8], handoff: &Handoff) -> Result<(), Stop> {
        let len = message.len() - PREFIX;
        if len > PIECE {
            return Err(ChannelError::too_long(len, PIECE).into());
        }
        self.0.send(message, handoff.handles(), None)
    }

    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop> {
        let Parts { socket, line, .. } = &self.0.parts;
        let socket = socket.as_handle().try_clone_to_owned()?;
        Ok(Told::by_handles([
            reactor::enter(socket, Interest::Write, waker)?,
            // Where a bell says that the receiver has closed the channel.
            reactor::enter(line.duplicate()?, Interest::Read, waker)?,
        ]))
    }

    fn len(&self) -> usize {
        self.0.parts.shared.len()
    }

    fn bound(&self) -> Option<u64> {
        None
    }

    fn is_closed(&self) -> bool {
        let Parts { shared, line, .. } = &self.0.parts;
        shared.is_closed() || line.has_ended().unwrap_or(true)
    }

    fn close(&self) {
        self.0.parts.shared.close();
        // Whoever waits on the line; one who is gone needs no telling.
        let _anybody: io::Result<bool> = self.0.parts.line.ring();
    }
}

impl Port {
    fn send(
        &self,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        let (len, limit) = (message.len() - PREFIX, self.parts.limit);
        if len > limit {
            return Err(ChannelError::too_long(len, limit).into());
        }
        // A message of several pieces needs a receiver that takes part.
        if until.is_none() && len > PIECE {
            return Err(Stop::NotNow);
        }
        let shared = &self.parts.shared;
        let until = until.unwrap_or_else(Deadline::now);
        let _turn = shared.turn(Some(until)).ok_or(Stop::NotNow)?;
        let (start, with) = if handles.is_empty() {
            (PREFIX, 0)
        } else {
            (0, HANDLES)
        };
        if with == HANDLES {
            self.send_handles(message, handles, until)?;
        }
        let sent = shared.sent().load(Ordering::Relaxed);
        let mut pieces = message[start..].chunks(PIECE).peekable();
        let mut flags = FIRST | with;
        let mut buffer = Vec::with_capacity(PIECE.min(message.len()) + 1);
        loop {
            let piece = pieces.next().unwrap_or_default();
            flags |= if pieces.peek().is_none() { LAST } else { 0 };
            buffer.clear();
            buffer.push(flags);
            buffer.extend_from_slice(piece);
            self.wait_for_room(until)?;
            if flags & LAST != 0 {
                // A peer gone wild may have left any number there. Counted before it is there to be taken.
                shared.sent().store(sent.wrapping_add(1), Ordering::Relaxed);
            }
            if let Err(error) = self.ipc.send(&buffer) {
                shared.sent().store(sent, Ordering::Relaxed);
                return Err(self.broken(error));
            }
            if flags & LAST != 0 {
                return Ok(());
            }
            flags = 0;
        }
    }

    /// Names the handles in the message's prefix, and sends them ahead of it.
    #[cold]
    fn send_handles(
        &self,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        until: Deadline,
    ) -> Result<(), Stop> {
        // Relaxed: a counter, whose values only have to differ.
        let name = self.next_parcel.fetch_add(1, Ordering::Relaxed);
        message[..8].copy_from_slice(&name.to_le_bytes());
        message[8..PREFIX].fill(0);
        match self.parts.line.send(name, handles, until)? {
            Heard::Something => Ok(()),
            Heard::Nothing => Err(Stop::NotNow),
            Heard::End => Err(self.receiver_is_gone()),
        }
    }

    /// Waits until the socket has room for a piece, the receiver closes the channel or is gone.
    fn wait_for_room(&self, until: Deadline) -> Result<(), Stop> {
        let mut heard = Vec::new();
        loop {
            if self.parts.shared.is_closed() {
                return Err(self.receiver_is_gone());
            }
            let socket = (self.parts.socket.as_handle(), Interest::Write);
            let line = (self.parts.line.as_handle(), Interest::Read);
            let [room, said] = poll([socket, line], until)?;
            if room.ended || said.ended {
                return Err(self.receiver_is_gone());
            }
            if room.writable {
                return Ok(());
            }
            if !said.any() {
                return Err(Stop::NotNow);
            }
            self.parts
                .line
                .listen(&mut heard, &mut Vec::new(), Deadline::now())?;
        }
    }

    fn broken(&self, error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.receiver_is_gone(),
            _ => error.into(),
        }
    }

    #[cold]
    fn receiver_is_gone(&self) -> Stop {
        Stop::Disconnected(self.parts.shared.end_of_receiver())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.parts.shared.leave(self.noted);
        if let Some(ports) = &mut *ports()
            && ports
                .get(&self.id)
                .is_some_and(|port| port.strong_count() == 0)
        {
            ports.remove(&self.id);
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Serialize for Tx {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.parts.put(self.0.id)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tx {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tx, D::Error> {
        let travelling = Travelling::deserialize(deserializer)?;
        let id = travelling.id;
        let known = ports().as_ref().and_then(|ports| ports.get(&id)?.upgrade());
        match known {
            Some(port) => Ok(Tx(port)),
            None => Tx::open(id, travelling.take()?).map_err(de::Error::custom),
        }
    }
}
