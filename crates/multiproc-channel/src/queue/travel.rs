//! A queue as a serde value.

use std::sync::Arc;

use multiproc_sys::flag::Flag;
use multiproc_sys::handle::AsHandle;
use multiproc_wire::handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::memory::Memory;
use super::port::{Limits, Port};
use crate::id::Id;
use crate::line;

#[derive(Serialize, Deserialize)]
struct Travelling {
    id: Id,
    memory: Memory,
    limits: Limits,
    line: [u32; 2],
    flag: u32,
}

pub(super) fn serialize<S: Serializer>(port: &Port, serializer: S) -> Result<S::Ok, S::Error> {
    let [one, two] = &port.line;
    let flag = port.flag.as_handle().try_clone_to_owned();
    let flag = Arc::new(flag.map_err(ser::Error::custom)?);
    Travelling {
        id: port.id,
        memory: port.memory.clone(),
        limits: port.limits,
        line: [line::put(one)?, line::put(two)?],
        flag: handoff::put(&flag).map_err(ser::Error::custom)?,
    }
    .serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
    joined: bool,
) -> Result<Arc<Port>, D::Error> {
    let Travelling {
        id,
        memory,
        limits,
        line: [one, two],
        flag,
    } = Travelling::deserialize(deserializer)?;
    if !memory.is_whole() || limits.joined != joined {
        return Err(de::Error::custom("the received memory is no such queue"));
    }
    Port::enter(id, || {
        let flag = handoff::take(flag).map_err(de::Error::custom)?;
        let flag = flag
            .as_handle()
            .try_clone_to_owned()
            .map_err(de::Error::custom)?;
        let line = [line::take(one)?, line::take(two)?];
        Ok((memory, limits, line, Flag::from(flag)))
    })
}
