//! Names of channels and queues, the same in every process.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Random; equal means the same one.
pub(crate) type Id = [u64; 2];

pub(crate) fn fresh() -> Id {
    [random(), random()]
}

/// The standard library seeds the keys of its hash tables from the system's generator.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
