//! The operating-system floor of multiproc.
//!
//! This layer starts processes, waits for them, maps memory that processes share, waits on words in
//! it, passes descriptors, and tells when a process or a thread has died. It is the only crate of
//! the workspace with platform `cfg`s and system calls. Errors are [`std::io::Error`].
//!
//! It does **not** know Rust values, serialization, locks with guards, tasks or pools; those stand
//! on top of it.
//!
//! # Ports
//!
//! Each module's head says what a port to another platform must supply; the arm for a missing one
//! is a `compile_error!`. Linux with glibc is complete. See ARCHITECTURE.md, Platforms.

pub mod clock;
pub mod flag;
pub mod handle;

pub mod map;

pub mod fence;
pub mod futex;
pub mod identity;
pub mod robust;

pub mod socket;
pub mod stream;

pub mod cgroup;
pub mod hook;
pub mod image;
pub mod lifeline;
pub mod limits;
pub mod process;
pub mod signal;
pub mod wait;

mod syscall;

/// Counts, for the tests that give decoders hostile bytes.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: multiproc_testkit::CountingAllocator = multiproc_testkit::CountingAllocator;
