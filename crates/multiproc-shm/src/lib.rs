//! Shared arrays and values, segments and rings in memory that processes share.

pub mod ring;
