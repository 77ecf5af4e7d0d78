//! The two ends as serde values.

use std::sync::Arc;

use multiproc_shm::Block;
use multiproc_sys::handle::AsHandle;
use multiproc_wire::handoff::{self, HandoffError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::known::{self, Id};
use super::line::{Line, Parcel};
use super::receiver::{End, Rx};
use super::sender::Tx;
use super::shared::Shared;

#[derive(Serialize, Deserialize)]
struct TravellingTx {
    id: Id,
    block: Block,
    capacity: u64,
    line: u32,
}

#[derive(Serialize, Deserialize)]
struct TravellingRx {
    block: Block,
    capacity: u64,
    line: u32,
    begun: Option<Vec<u8>>,
    parcels: Vec<TravellingParcel>,
}

#[derive(Serialize, Deserialize)]
struct TravellingParcel {
    name: u64,
    total: u64,
    handles: Vec<u32>,
}

/// Hands the line's end over and gives its index.
fn put<E: ser::Error>(line: &Line) -> Result<u32, E> {
    let end = line.duplicate().map_err(E::custom)?;
    handoff::put(&Arc::new(end)).map_err(E::custom)
}

fn take<E: de::Error>(index: u32) -> Result<Line, E> {
    let end = handoff::take(index).map_err(E::custom)?;
    end.as_handle()
        .try_clone_to_owned()
        .map(Line::from)
        .map_err(E::custom)
}

fn open<E: de::Error>(block: Block, capacity: u64) -> Result<Shared, E> {
    let capacity = usize::try_from(capacity).map_err(E::custom)?;
    Shared::open(block, capacity).map_err(E::custom)
}

impl Tx {
    pub(crate) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TravellingTx {
            id: self.id(),
            block: self.shared().block().clone(),
            capacity: self.shared().capacity() as u64,
            line: put(self.line())?,
        }
        .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Tx>, D::Error> {
        let TravellingTx {
            id,
            block,
            capacity,
            line,
        } = TravellingTx::deserialize(deserializer)?;
        match known::find(id) {
            Some(known) => Ok(known),
            None => Ok(Tx::open(id, open(block, capacity)?, take(line)?)),
        }
    }
}

impl Rx {
    pub(crate) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (travelling, departure) = self.pack(TravellingRx::put).ok_or_else(|| {
            ser::Error::custom("the receiver is already in a message to another process")
        })?;
        handoff::when_sent(|| departure.complete()).map_err(ser::Error::custom)?;
        travelling?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rx, D::Error> {
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
            line: put(&end.line)?,
            begun: end.begun().map(<[u8]>::to_vec),
            parcels: end
                .parcels
                .iter()
                .map(TravellingParcel::put)
                .collect::<Result<_, _>>()?,
        })
    }

    fn take<E: de::Error>(self) -> Result<End, E> {
        let shared = open(self.block, self.capacity)?;
        let mut end = End::new(shared, take(self.line)?).map_err(E::custom)?;
        let parcels = self.parcels.into_iter().map(TravellingParcel::take);
        end.resume(self.begun, parcels.collect::<Result<_, _>>()?);
        Ok(end)
    }
}

impl TravellingParcel {
    fn put<E: ser::Error>(parcel: &Parcel) -> Result<TravellingParcel, E> {
        let handles: Result<_, HandoffError> = parcel.handles.iter().map(handoff::put).collect();
        Ok(TravellingParcel {
            name: parcel.name,
            total: parcel.total as u64,
            handles: handles.map_err(E::custom)?,
        })
    }

    fn take<E: de::Error>(self) -> Result<Parcel, E> {
        let handles: Result<_, HandoffError> =
            self.handles.into_iter().map(handoff::take).collect();
        Ok(Parcel {
            name: self.name,
            total: usize::try_from(self.total).map_err(E::custom)?,
            handles: handles.map_err(E::custom)?,
        })
    }
}
