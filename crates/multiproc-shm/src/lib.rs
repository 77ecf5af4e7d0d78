//! Shared arrays and values, and rings, in memory that processes share.
//!
//! - [`SharedArray`] and [`SharedValue`]: elements behind a lock that survives the death of its holder.
//!   A handle is a serde value and travels in arguments, results and messages.
//! - [`ring`]: single-producer, single-consumer rings of records, on which channels and pools stand.
//! - [`Lane`]: two rings and a death word, between a parent and a worker; [`Bells`]: by which many
//!   processes wake one; [`Block`]: plain shared memory to build on.
//!
//! The memory has no name: it is handed over as a descriptor, and is gone with the last process that has
//! it. Its size is checked and reserved when it is made, so that a full machine is an error then and not
//! a fatal signal later.
//!
//! A process gone wild may spoil the *values* in memory shared with it. Lengths, offsets and everything
//! else that others act on are kept privately by each process.

mod array;
mod bell;
mod block;
mod lane;
pub mod ring;
mod segment;
mod value;

pub use array::{ArrayGuard, SharedArray};
pub use bell::Bells;
pub use block::Block;
pub use lane::{Lane, LaneError};
pub use multiproc_sync::{LockTimeoutError, PoisonError, TryLockError};
pub use value::{SharedValue, ValueGuard};
