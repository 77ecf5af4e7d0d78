//! Locks over words in memory that processes share, which survive the death of their holder.

pub mod primitive;
