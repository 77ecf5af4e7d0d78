//! A ring of byte records in shared memory: one producer, one consumer.
//!
//! Pushing and taking a record touches no lock and makes no system call. Records are pushed first and
//! published together; one that the consumer has not claimed can be taken back. What lies in
//! the memory is never believed: lengths and positions are checked before use, and what does not fit
//! is a [`Corrupt`], not a panic.
//!
//! - `layout`: what lies where; the one-word header of a record
//! - `producer`, `consumer`, `record`: the two ends
//! - `park`: how a side declares that it sleeps, so that the other wakes it; `spin`: before that
//! - `outgoing`, `assembler`: messages longer than a record
//! - `claims`: several tasks in one record, claimed one by one
//! - `items`: short items without headers
//! - `local`: a ring inside one process
//!
//! The protocol, the races it closes and what a death at each step leaves behind are in README.md,
//! in this folder.

mod assembler;
mod claims;
mod consumer;
mod corrupt;
mod items;
mod layout;
mod local;
#[cfg_attr(loom, path = "modelled.rs")]
mod memory;
mod outgoing;
mod park;
mod producer;
mod record;
mod spin;

pub use assembler::{AssembleError, Assembler, DEFAULT_LIMIT};
pub use claims::{Claiming, Claims};
pub use consumer::Consumer;
pub use corrupt::Corrupt;
pub use items::{ItemConsumer, ItemProducer, LONG};
#[cfg(not(loom))]
pub use layout::CONSUMER;
pub use layout::{MAX_CAPACITY, MIN_CAPACITY, bytes_needed, max_len};
pub use local::{Local, local, local_items};
#[cfg(not(loom))]
pub use memory::init;
pub use outgoing::Outgoing;
pub use park::{AWAKE, PARKED, Park, take};
pub use producer::{Position, Producer, PushError};
pub use record::Record;
pub use spin::Spin;

#[cfg(all(test, not(loom)))]
mod tests;
