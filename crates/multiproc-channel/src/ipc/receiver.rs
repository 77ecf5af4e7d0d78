//! The receiving end: one in all processes.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipc_channel::ipc::IpcBytesReceiver;
use ipc_channel::{IpcError, TryRecvError};
use multiproc_sync::Deadline;
use multiproc_sys::handle::{AsHandle, Interest, OwnedHandle, poll};
use multiproc_sys::wait::Watch;
use multiproc_wire::handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::exchange::adopt;
use super::{FIRST, HANDLES, LAST, Parts, Travelling};
use crate::error::{ChannelError, Stop};
use crate::line::{Heard, Parcel};
use crate::peer::PeerEnd;
use crate::seat::{Leave, Seat};
use crate::transport::{Got, Inlet, PREFIX, Received, SHORT};

/// The receiving end of a channel, or the place where it was.
#[derive(Debug)]
pub(crate) struct Rx {
    seat: Seat<End>,
}

struct End {
    parts: Parts,
    ipc: IpcBytesReceiver,
    /// The pieces of a message that has begun, and what its first one said.
    begun: Option<(u8, Vec<u8>)>,
    /// Handles that came before their message was looked at.
    parcels: Vec<Parcel>,
    /// What was found by looking whether there is something.
    found: Option<Result<Message, Stop>>,
    /// For reading from the line.
    buffer: Vec<u8>,
    /// Whether the channel ends with this end.
    last: bool,
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    start: usize,
    handles: Vec<Arc<OwnedHandle>>,
}

impl Received for Message {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn take_handles(&mut self) -> Vec<Arc<OwnedHandle>> {
        mem::take(&mut self.handles)
    }
}

impl Rx {
    pub(super) fn open(parts: Parts) -> io::Result<Rx> {
        End::open(parts).map(Rx::of)
    }

    fn of(end: End) -> Rx {
        Rx {
            seat: Seat::new(end),
        }
    }
}

impl Inlet for Rx {
    type Message = Message;

    fn receive(&self, _: &mut [u8; SHORT], until: Option<Deadline>) -> Result<Got<Message>, Stop> {
        let until = until.unwrap_or_else(Deadline::now);
        self.seat.with(|end| end.receive(until))?.map(Got::Message)
    }

    /// ipc-channel makes a buffer for each message.
    fn give_back(&self, _: Message) {}

    fn len(&self) -> Result<usize, ChannelError> {
        self.seat.with(|end| end.parts.shared.len())
    }

    fn is_ready(&self) -> bool {
        self.seat.with(End::is_ready).unwrap_or(true)
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        let watch = self.seat.with(|end| {
            let socket = end.parts.socket.as_handle().try_clone_to_owned()?;
            Ok(Watch::Owned(socket))
        });
        watch.unwrap_or(Ok(Watch::Look))
    }

    fn close(&self) -> Result<(), ChannelError> {
        self.seat.with(|end| {
            end.parts.shared.close();
            // Whoever waits on the line; one who is gone needs no telling.
            let _anybody: io::Result<bool> = end.parts.line.ring();
        })
    }
}

impl Leave for End {
    fn has_moved(&mut self) {
        self.last = false;
    }
}

impl End {
    fn open(parts: Parts) -> io::Result<End> {
        let ipc = adopt(&*parts.socket)?;
        parts.shared.receive_here();
        Ok(End {
            parts,
            ipc,
            begun: None,
            parcels: Vec::new(),
            found: None,
            buffer: Vec::new(),
            last: true,
        })
    }

    fn is_ready(&mut self) -> bool {
        if self.found.is_none() {
            self.found = match self.receive(Deadline::now()) {
                Err(Stop::NotNow) => None,
                found => Some(found),
            };
        }
        self.found.is_some()
    }

    fn receive(&mut self, until: Deadline) -> Result<Message, Stop> {
        if let Some(found) = self.found.take() {
            return found;
        }
        let mut closed = false;
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            if closed {
                return Err(Stop::Disconnected(PeerEnd::CLOSED));
            }
            // All who found it open are through, or else will be seen by the next look.
            if self.parts.shared.is_closed() && self.parts.shared.turn(None).is_some() {
                closed = true;
                continue;
            }
            let socket = (self.parts.socket.as_handle(), Interest::Read);
            let line = (self.parts.line.as_handle(), Interest::Read);
            let [piece, said] = poll([socket, line], until)?;
            if !piece.any() && !said.any() {
                return Err(Stop::NotNow);
            }
            if said.any() && !piece.any() {
                self.listen()?;
            }
        }
    }

    /// The next message, if all of it is there.
    fn take(&mut self) -> Result<Option<Message>, Stop> {
        loop {
            let piece = match self.ipc.try_recv() {
                Ok(piece) => piece,
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::IpcError(IpcError::Disconnected)) => {
                    return Err(Stop::Disconnected(self.parts.shared.end_of_senders()));
                }
                Err(TryRecvError::IpcError(IpcError::Io(error))) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    // Said once, where the other side left something unread. What it had sent is still to come.
                    io::ErrorKind::ConnectionReset => continue,
                    _ => return Err(error.into()),
                },
                Err(TryRecvError::IpcError(error)) => return Err(io::Error::other(error).into()),
            };
            if let Some((flags, message)) = self.add(piece)? {
                return self.message(flags, message).map(Some);
            }
        }
    }

    /// Adds a piece, and gives the message if that was its last.
    fn add(&mut self, mut piece: Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, Stop> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a piece of no message");
        let flags = *piece.first().ok_or_else(malformed)?;
        if flags & FIRST != 0 && flags & LAST != 0 {
            self.begun = None;
            piece.remove(0);
            self.count();
            return Ok(Some((flags, piece)));
        }
        if flags & FIRST != 0 {
            piece.remove(0);
            self.begun = Some((flags, piece));
            return Ok(None);
        }
        let (first, mut message) = self.begun.take().ok_or_else(malformed)?;
        message.extend_from_slice(&piece[1..]);
        if message.len() > self.parts.limit.saturating_add(PREFIX) {
            return Err(ChannelError::too_long(message.len(), self.parts.limit).into());
        }
        if flags & LAST == 0 {
            self.begun = Some((first, message));
            return Ok(None);
        }
        self.count();
        Ok(Some((first, message)))
    }

    fn count(&self) {
        let taken = self.parts.shared.taken();
        taken.store(
            taken.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }

    fn message(&mut self, flags: u8, bytes: Vec<u8>) -> Result<Message, Stop> {
        if flags & HANDLES == 0 {
            return Ok(Message {
                bytes,
                start: 0,
                handles: Vec::new(),
            });
        }
        let (line, parcels) = (&self.parts.line, &mut self.parcels);
        let handles = line.parcel(&bytes, &mut self.buffer, parcels)?;
        let handles = handles.ok_or(ChannelError::HANDLES_LOST)?;
        Ok(Message {
            bytes,
            start: PREFIX,
            handles,
        })
    }

    fn listen(&mut self) -> io::Result<Heard> {
        self.parts
            .line
            .listen(&mut self.buffer, &mut self.parcels, Deadline::now())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.last {
            self.parts.shared.abandon();
            let _anybody: io::Result<bool> = self.parts.line.ring();
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct TravellingRx {
    parts: Travelling,
    begun: Option<(u8, Vec<u8>)>,
    /// A message that was found and not taken: its bytes, and its handles.
    found: Option<(Vec<u8>, Vec<u32>)>,
    parcels: Vec<(u64, u64, Vec<u32>)>,
}

impl Serialize for Rx {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (travelling, departure) = self.seat.pack(|end| end.put()).map_err(|_| {
            ser::Error::custom("the receiver is already in a message to another process")
        })?;
        handoff::when_sent(|| departure.complete()).map_err(ser::Error::custom)?;
        travelling?.serialize(serializer)
    }
}

impl End {
    fn put<E: ser::Error>(&self) -> Result<TravellingRx, E> {
        // What else was found is found again by the next look.
        let found = self.found.as_ref().and_then(|found| found.as_ref().ok());
        let found = found.map(|message| {
            let handles: Result<_, _> = message.handles.iter().map(handoff::put).collect();
            Ok((message.bytes().to_vec(), handles.map_err(E::custom)?))
        });
        let parcel = |parcel: &Parcel| {
            let handles: Result<_, _> = parcel.handles.iter().map(handoff::put).collect();
            Ok((
                parcel.name,
                parcel.total as u64,
                handles.map_err(E::custom)?,
            ))
        };
        Ok(TravellingRx {
            parts: self.parts.put([0; 2])?,
            begun: self.begun.clone(),
            found: found.transpose()?,
            parcels: self.parcels.iter().map(parcel).collect::<Result<_, E>>()?,
        })
    }
}

impl<'de> Deserialize<'de> for Rx {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rx, D::Error> {
        let TravellingRx {
            parts,
            begun,
            found,
            parcels,
        } = TravellingRx::deserialize(deserializer)?;
        let parcel = |(name, total, handles): (u64, u64, Vec<u32>)| {
            let handles: Result<_, _> = handles.into_iter().map(handoff::take).collect();
            Ok(Parcel {
                name,
                total: usize::try_from(total).map_err(de::Error::custom)?,
                handles: handles.map_err(de::Error::custom)?,
            })
        };
        let parcels = parcels
            .into_iter()
            .map(parcel)
            .collect::<Result<_, D::Error>>()?;
        let found = found.map(|(bytes, handles)| {
            let handles: Result<_, _> = handles.into_iter().map(handoff::take).collect();
            Ok::<_, D::Error>(Ok(Message {
                bytes,
                start: 0,
                handles: handles.map_err(de::Error::custom)?,
            }))
        });
        let mut end = End::open(parts.take()?).map_err(de::Error::custom)?;
        end.begun = begun;
        end.parcels = parcels;
        end.found = found.transpose()?;
        Ok(Rx::of(end))
    }
}
