//! Queues: many processes put messages, many take them.
//!
//! - `queue`, `joinable`, `simple`, `builder`: what users have
//! - `port`: this process's part in a queue; `travel`: as a value
//! - `memory`: where things lie, and how all of the state changes at once
//! - `store`: records in chunks; `hands`: in whose hands messages are
//!
//! The protocol and what a death at each step leaves behind are in README.md, in this folder.

mod builder;
mod hands;
mod joinable;
mod memory;
mod port;
#[expect(clippy::module_inception, reason = "the type is named as the idea is")]
mod queue;
mod simple;
mod store;
mod travel;

pub use builder::QueueBuilder;
pub use joinable::{JoinError, JoinableQueue, TaskDoneError};
pub use queue::{Iter, Queue};
pub use simple::SimpleQueue;

pub(crate) use memory::MAX_HANDS;
