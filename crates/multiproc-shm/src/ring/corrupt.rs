//! What is wrong with a ring's memory.

use std::error::Error;
use std::fmt;

/// The ring's memory holds what no peer that follows the protocol writes.
///
/// The end that reports it goes on reporting it; nothing was read or written out of bounds. The peer
/// is not to be talked to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corrupt {
    /// The memory does not begin as a ring does.
    Magic {
        /// What stands there.
        found: u64,
    },
    /// The ring was laid out by another version.
    Version {
        /// That version.
        found: u64,
    },
    /// The capacity is not the expected one, or none that a ring can have.
    Capacity {
        /// The capacity found.
        found: u64,
    },
    /// The published end of the records is not within a lap after their start.
    Tail {
        /// The position found.
        found: u64,
    },
    /// The published start of the records is not between the last one and their end.
    Head {
        /// The position found.
        found: u64,
    },
    /// A record is longer than a record may be, or than what was published.
    Length {
        /// The length found.
        found: u32,
    },
    /// A record is in a state that does not exist.
    State {
        /// The state found.
        found: u8,
    },
    /// A record goes on with a message that none began.
    Continuation,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corrupt::Magic { found } => {
                write!(f, "the memory is not a ring: it begins with {found:#x}")
            }
            Corrupt::Version { found } => write!(
                f,
                "the ring has layout version {found}, which this program does not know"
            ),
            Corrupt::Capacity { found } => {
                write!(f, "a ring of {found} bytes is not what was expected here")
            }
            Corrupt::Tail { found } => {
                write!(f, "the ring's records cannot end at position {found}")
            }
            Corrupt::Head { found } => {
                write!(f, "the ring's records cannot start at position {found}")
            }
            Corrupt::Length { found } => {
                write!(f, "a record in the ring cannot be {found} bytes long")
            }
            Corrupt::State { found } => {
                write!(f, "a record in the ring cannot be in state {found}")
            }
            Corrupt::Continuation => write!(
                f,
                "a record in the ring goes on with a message that was not begun"
            ),
        }
    }
}

impl Error for Corrupt {}
