//! The two ends as serde values.

use std::sync::Arc;

use multiproc_shm::Block;
use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::handoff::{self, HandoffError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::Limits;
use super::kept::Kept;
use super::known;
use super::receiver::{End, Message, Rx};
use super::sender::Tx;
use super::shared::Shared;
use crate::id::Id;
use crate::line::{Parcel, put, take};
use crate::transport::Received;

#[derive(Serialize, Deserialize)]
struct TravellingTx {
    id: Id,
    block: Block,
    capacity: u64,
    limits: Limits,
    line: u32,
}

#[derive(Serialize, Deserialize)]
struct TravellingRx {
    block: Block,
    capacity: u64,
    limits: Limits,
    line: u32,
    found: Option<TravellingMessage>,
    begun: Option<Vec<u8>>,
    parcels: Vec<TravellingParcel>,
    kept: Vec<(u8, u32)>,
}

/// A message that was looked for and not received yet.
#[derive(Serialize, Deserialize)]
struct TravellingMessage {
    bytes: Vec<u8>,
    handles: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct TravellingParcel {
    name: u64,
    total: u64,
    handles: Vec<u32>,
}

fn open<E: de::Error>(block: Block, capacity: u64) -> Result<Shared, E> {
    Shared::open(block, number(capacity)?).map_err(E::custom)
}

fn number<E: de::Error>(number: u64) -> Result<usize, E> {
    usize::try_from(number).map_err(E::custom)
}

impl Serialize for Tx {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let port = &self.0;
        TravellingTx {
            id: port.id(),
            block: port.shared().block().clone(),
            capacity: port.shared().capacity() as u64,
            limits: port.limits(),
            line: put(port.line())?,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tx {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tx, D::Error> {
        let TravellingTx {
            id,
            block,
            capacity,
            limits,
            line,
        } = TravellingTx::deserialize(deserializer)?;
        if let Some(known) = known::find(id) {
            return Ok(Tx(known));
        }
        let shared = open(block, capacity)?;
        Ok(Tx::open(id, shared, take(line)?, limits))
    }
}

impl Serialize for Rx {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (travelling, departure) = self.seat.pack(TravellingRx::put).map_err(|_| {
            ser::Error::custom("the receiver is already in a message to another process")
        })?;
        handoff::when_sent(|| departure.complete()).map_err(ser::Error::custom)?;
        travelling?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rx {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rx, D::Error> {
        TravellingRx::deserialize(deserializer)?.take().map(Rx::new)
    }
}

impl TravellingRx {
    fn put<E: ser::Error>(end: &mut End) -> Result<TravellingRx, E> {
        end.release()
            .map_err(|_| E::custom("the channel's socket failed"))?;
        Ok(TravellingRx {
            block: end.shared.block().clone(),
            capacity: end.shared.capacity() as u64,
            limits: end.limits,
            line: put(&end.line)?,
            found: match &end.found {
                Some(Ok(message)) => Some(TravellingMessage::put(message)?),
                _ => None,
            },
            begun: end.begun().map(<[u8]>::to_vec),
            parcels: end
                .parcels
                .iter()
                .map(TravellingParcel::put)
                .collect::<Result<_, _>>()?,
            kept: end
                .kept
                .all()
                .map(|(place, handle)| Ok((place, handoff::put(handle)?)))
                .collect::<Result<_, HandoffError>>()
                .map_err(E::custom)?,
        })
    }

    fn take<E: de::Error>(self) -> Result<End, E> {
        let shared = open(self.block, self.capacity)?;
        let mut end = End::new(shared, take(self.line)?, self.limits).map_err(E::custom)?;
        let parcels = self.parcels.into_iter().map(TravellingParcel::take);
        let found = self.found.map(TravellingMessage::take).transpose()?;
        let parcels = parcels.collect::<Result<_, _>>()?;
        let mut kept = Kept::default();
        for (place, handle) in self.kept {
            let handle = handoff::take(handle).map_err(E::custom)?;
            let no_place = || E::custom("the received receiver keeps something at no place");
            kept.keep(place, handle).ok_or_else(no_place)?;
        }
        end.resume(found, self.begun, parcels, kept);
        Ok(end)
    }
}

impl TravellingMessage {
    fn put<E: ser::Error>(message: &Message) -> Result<TravellingMessage, E> {
        Ok(TravellingMessage {
            bytes: message.bytes().to_vec(),
            handles: put_all(&message.handles)?,
        })
    }

    fn take<E: de::Error>(self) -> Result<Message, E> {
        Ok(Message {
            buffer: self.bytes,
            start: 0,
            handles: take_all(self.handles)?,
        })
    }
}

fn put_all<E: ser::Error>(handles: &[Arc<OwnedHandle>]) -> Result<Vec<u32>, E> {
    let indices: Result<_, HandoffError> = handles.iter().map(handoff::put).collect();
    indices.map_err(E::custom)
}

fn take_all<E: de::Error>(indices: Vec<u32>) -> Result<Vec<Arc<OwnedHandle>>, E> {
    let handles: Result<_, HandoffError> = indices.into_iter().map(handoff::take).collect();
    handles.map_err(E::custom)
}

impl TravellingParcel {
    fn put<E: ser::Error>(parcel: &Parcel) -> Result<TravellingParcel, E> {
        Ok(TravellingParcel {
            name: parcel.name,
            total: parcel.total as u64,
            handles: put_all(&parcel.handles)?,
        })
    }

    fn take<E: de::Error>(self) -> Result<Parcel, E> {
        Ok(Parcel {
            name: self.name,
            total: number(self.total)?,
            handles: take_all(self.handles)?,
        })
    }
}
