//! How values travel between processes: the codec, the handles inside values, frames over a private
//! socket, and the errors that come back.
//!
//! - [`encode`], [`decode`], [`Encoder`] and [`Decoder`] turn serde values into bytes and back. While
//!   they run, a value that stands for something shared puts its kernel handle into the current
//!   [`handoff`] scope and encodes as a number.
//! - [`Link`] sends such bytes and handles as one frame, whatever their size.
//! - [`Descriptor`] is an open file, socket or pipe end as such a value.
//! - [`Failure`] carries any error as its message and its chain of sources; [`Panic`] carries a panic.
//!
//! This crate knows no arrays, channels, processes or pools: what a child inherits goes through here
//! without being known here.

#![forbid(unsafe_code)]

mod codec;
mod descriptor;
mod failure;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod handoff;
mod panic;

pub use codec::{DecodeError, Decoder, EncodeError, Encoder, MAX_NESTING, decode, encode};
pub use descriptor::{Descriptor, as_descriptor};
pub use failure::{Failure, FailureError};
pub use frame::{Frame, Incoming, Link, MAX_BODY};
pub use handoff::Handoff;
pub use panic::Panic;
