//! Locks over words in memory that processes share, which survive the death of their holder.
//!
//! A [`LockWord`] is forty bytes of shared memory. Any thread of any process that maps them may take
//! it; when a holder is killed, ends, or panics, the next taker gets the lock within a millisecond,
//! and is told so by a [`PoisonError`] that names the process. Nothing is wedged by a death, at
//! whatever instruction.
//!
//! This crate has the algorithms. It does not map memory, and its functions that take a lock are
//! `unsafe` for that reason alone: who calls them says how long the memory stays mapped. The crate
//! `multiproc-shm` does so and gives out locks, arrays and values that are safe to use.
//!
//! - [`LockWord`], [`Held`], [`NotTaken`]: the lock, and what its takers are told.
//! - [`LockGuard`]: the lock as a value that unlocks when dropped.
//! - [`PoisonError`], [`TryLockError`], [`LockTimeoutError`]: the answers of everything that locks.
//! - [`Permits`]: a count of permits, each somebody's: of which semaphores, locks that anybody may
//!   release, and reader-writer locks are made.
//! - [`ReentrantWord`]: a lock that its holder may take again.
//! - [`Alarm`]: where some sleep until something changes under a lock.
//! - [`BarrierWord`]: where some wait for each other.
//! - [`ConditionWord`]: who waits for notice, having released a lock.
//! - [`EventWord`]: set or not, and who waits for it to be.
//! - [`OnceWord`]: something that only the first does.
//! - [`Deadline`]: until when to wait. [`Until`]: how long to hold what is not given back.
//!
//! ```
//! use multiproc_sync::LockWord;
//!
//! let lock = LockWord::default(); // or a reference into zeroed shared memory
//! // Sound, for the lock outlives its guard, which is not leaked.
//! let guard = unsafe { lock.guard() }.unwrap();
//! drop(guard);
//! ```
//!
//! # Differences from Python
//!
//! A lock of `multiprocessing` whose holder is killed stays locked, and everybody else hangs.

#![deny(unsafe_code)]

mod guard;
mod lock;
mod poison;

mod alarm;
mod gate;
mod table;

mod barrier;
mod condition;
mod event;
mod once;
mod permits;
mod reentrant;

pub mod primitive;

pub use alarm::Alarm;
pub use barrier::{BarrierError, BarrierWord, MAX_PARTIES};
pub use condition::ConditionWord;
pub use event::EventWord;
pub use guard::LockGuard;
pub use lock::{Held, LockWord, NotTaken};
pub use once::OnceWord;
pub use permits::{Permits, Taken};
pub use poison::{LockTimeoutError, PoisonError, TryLockError};
pub use primitive::{Deadline, Until};
pub use reentrant::ReentrantWord;
