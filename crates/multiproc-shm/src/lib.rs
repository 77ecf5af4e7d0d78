//! Shared arrays and values, and rings, in memory that processes share.
//!
//! - [`SharedArray`], [`Mutex`], [`RwLock`]: elements, or a value, behind a lock that survives the death of
//!   its holder. A handle is a serde value and travels in arguments, results and messages. [`SharedValue`]
//!   is another name for `Mutex`.
//! - [`RawArray`], [`RawValue`]: without a lock, read and written one by one, or as atomics.
//! - [`FrozenArray`]: an array that nobody changes any more, a slice everywhere.
//! - [`ArrayLoan`], [`ArrayPieces`], [`ArrayPiece`]: an array lent out in pieces, for several to change at once.
//! - [`Lock`], [`RLock`], [`Semaphore`], [`BoundedSemaphore`], [`Event`], [`Condition`], [`Barrier`], as in
//!   Python, and [`Once`]. What a process holds comes back when it is killed, and nobody is left waiting.
//! - [`Bytes`]: long runs of bytes, which arrive without being copied.
//! - [`ring`]: single-producer, single-consumer rings of records, on which channels and pools stand.
//! - [`Lane`]: rings and a death word, between a parent and a worker; [`Bells`]: by which many
//!   processes wake one; [`Block`]: plain shared memory to build on.
//! - [`SharedMemory`]: bytes under a name, for programs that did not start each other.
//!
//! All memory but that last has no name: it is handed over as a descriptor, and is gone with the last process
//! that has it. Its size is checked and reserved when it is made, so that a full machine is an error then and
//! not a fatal signal later.
//!
//! A process gone wild may spoil the *values* in memory shared with it. Lengths, offsets and everything
//! else that others act on are kept privately by each process.
//!
//! # What a death, a panic, a guard and a question do to each other
//!
//! | | its holder dies or panics: the next | in a thread that has a guard: to take it again | to ask (`get`, `is_locked`, `available`, …) |
//! |---|---|---|---|
//! | [`Mutex`] | is told, until `clear_poison` | panics | `get` and `set` panic |
//! | [`RwLock`] | is told of a writer, until `clear_poison` | panics | never waits |
//! | [`Lock`] | is told, once | waits for another to release it | never waits |
//! | [`RLock`] | is told, until `clear_poison` | has it once more | never waits |
//! | [`Semaphore`], [`BoundedSemaphore`] | gets the permit, and is told nothing | takes another permit | never waits |
//! | [`Barrier`] | finds it broken, until `reset` | | never waits |
//! | [`Event`], [`Condition`], [`Once`] | goes on; `call_once` is told | | never waits |
//!
//! After a `fork` without a new program, the child's copies of its parent's guards do nothing, and its handles
//! are as good as any.
//!
//! # Differences from Python
//!
//! Of all primitives: a timeout is a [`Duration`](std::time::Duration), which cannot be negative, and one too
//! long to be a time is no limit. A signal does not end a wait. They have no name that could be left behind.
//! Guards release what was taken; a release by who has not taken it is a method of [`Lock`] and [`Semaphore`]
//! and cannot be written for the others. What is each primitive's own is said there.
//!
//! The feature `ndarray` adds views of that crate to guards and frozen arrays, in the shape of the array.
//!
//! Under `--cfg loom` there are the ring and the lending of pieces alone: the models are of them, and real
//! memory cannot hold modelled atomics.

#[cfg(not(loom))]
mod array;
#[cfg(not(loom))]
mod barrier;
#[cfg(not(loom))]
mod bell;
#[cfg(not(loom))]
mod block;
#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
pub mod bulk;
#[cfg(not(loom))]
mod condition;
#[cfg(not(loom))]
mod element;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod frozen;
#[cfg(all(not(loom), any(test, fuzzing)))]
pub mod fuzzing;
#[cfg(loom)]
#[path = "bulk/holders.rs"]
pub mod holders;
#[cfg(not(loom))]
mod home;
#[cfg(not(loom))]
mod lane;
#[cfg(not(loom))]
mod lending;
#[cfg(loom)]
pub mod lending;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod mutex;
#[cfg(not(loom))]
mod once;
#[cfg(not(loom))]
mod pieces;
#[cfg(not(loom))]
mod racing;
#[cfg(not(loom))]
mod raw;
#[cfg(not(loom))]
mod registry;
pub mod ring;
#[cfg(not(loom))]
mod rlock;
#[cfg(not(loom))]
mod rwlock;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod semaphore;
#[cfg(not(loom))]
mod shape;
#[cfg(not(loom))]
mod tenure;
#[cfg(all(feature = "ndarray", not(loom)))]
mod views;

#[cfg(not(loom))]
pub use array::{ArrayGuard, SharedArray};
#[cfg(not(loom))]
pub use barrier::{Barrier, BarrierMember, BarrierWaitResult};
#[cfg(not(loom))]
pub use bell::Bells;
#[cfg(not(loom))]
pub use block::Block;
#[cfg(not(loom))]
pub use builder::ArrayBuilder;
#[cfg(not(loom))]
pub use bulk::Bytes;
#[cfg(not(loom))]
pub use condition::{Condition, Guard, WaitTimeoutResult};
#[cfg(not(loom))]
pub use element::Atomic;
#[cfg(not(loom))]
pub use event::Event;
#[cfg(not(loom))]
pub use frozen::{FreezeError, FrozenArray};
#[cfg(not(loom))]
pub use lane::{Lane, LaneError, ParentEnds, WorkerEnds};
#[cfg(not(loom))]
pub use lending::PieceError;
#[cfg(not(loom))]
pub use lock::{Lock, LockGuard, NotHeld};
#[cfg(not(loom))]
pub use memory::SharedMemory;
#[cfg(not(loom))]
pub use multiproc_sync::{BarrierError, LockTimeoutError, PoisonError, TryLockError};
#[cfg(not(loom))]
pub use mutex::{Mutex, MutexGuard, SharedValue};
#[cfg(not(loom))]
pub use once::{Once, OnceState};
#[cfg(not(loom))]
pub use pieces::{ArrayLoan, ArrayPiece, ArrayPieces, PieceGuard};
#[cfg(not(loom))]
pub use raw::{RawArray, RawValue};
#[cfg(not(loom))]
pub use rlock::{RLock, RLockGuard};
#[cfg(not(loom))]
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(loom))]
pub use segment::release_spare_memory;
#[cfg(not(loom))]
pub use semaphore::{BoundedSemaphore, Permit, Semaphore};
#[cfg(not(loom))]
pub use shape::ShapeError;
