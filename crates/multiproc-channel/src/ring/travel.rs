//! The two ends as serde values.

use multiproc_shm::Block;
use multiproc_wire::handoff::{self, HandoffError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::Limits;
use super::known;
use super::receiver::{End, Rx};
use super::sender::Tx;
use super::shared::Shared;
use crate::id::Id;
use crate::line::{Parcel, put, take};

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
    begun: Option<Vec<u8>>,
    parcels: Vec<TravellingParcel>,
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
        let (travelling, departure) = self.pack(TravellingRx::put).ok_or_else(|| {
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
        let mut end = End::new(shared, take(self.line)?, self.limits).map_err(E::custom)?;
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
            total: number(self.total)?,
            handles: handles.map_err(E::custom)?,
        })
    }
}
