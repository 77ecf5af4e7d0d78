//! How deep values may be nested, and what goes wrong while one is encoded or decoded.

use std::fmt;

use serde::{de, ser};

/// How many values may be inside each other. A message that a peer made up can be nested as deep as it is long,
/// and each level takes stack of whoever decodes it: in a debug build 1 to 2 KiB for an enum of boxes, so that this
/// is a quarter of a thread's 2 MiB at most. What may not be decoded may not be encoded either, so that the sender learns of it.
pub const MAX_NESTING: u16 = 256;

/// Why a value was not encoded or decoded. One pointer, so that a `Result` of it costs the good path a comparison.
#[derive(Debug)]
pub(super) struct Fault(pub(super) Box<Reason>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// What postcard says.
    Format(postcard::Error),
    /// What the value's own code says.
    Says(String),
    TooDeep,
    /// A sequence that claims to be longer than the message could hold.
    TooLong(usize),
}

impl Fault {
    #[cold]
    pub(super) fn new(reason: Reason) -> Fault {
        Fault(Box::new(reason))
    }
}

/// How many levels are left below this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nesting(u16);

impl Nesting {
    pub(super) const NONE: Nesting = Nesting(0);

    /// For what is inside.
    #[inline]
    pub(super) fn deeper(self) -> Result<Nesting, Fault> {
        if self.0 == MAX_NESTING {
            return Err(Fault::new(Reason::TooDeep));
        }
        Ok(Nesting(self.0 + 1))
    }
}

impl From<postcard::Error> for Fault {
    #[cold]
    fn from(error: postcard::Error) -> Fault {
        Fault::new(Reason::Format(error))
    }
}

impl ser::Error for Fault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(Reason::Says(message.to_string()))
    }
}

impl de::Error for Fault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(Reason::Says(message.to_string()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use postcard::Error as Postcard;
        match self {
            Reason::Format(Postcard::SerializeSeqLengthUnknown) => f.write_str(
                "it has a sequence or map of unknown length (`#[serde(flatten)]` makes such maps)",
            ),
            Reason::Format(Postcard::WontImplement) => {
                f.write_str("it needs a format that describes itself (`#[serde(untagged)]` does)")
            }
            Reason::Format(Postcard::DeserializeUnexpectedEnd) => {
                f.write_str("the bytes end too early")
            }
            Reason::Format(error) => error.fmt(f),
            Reason::Says(message) => f.write_str(message),
            Reason::TooDeep => write!(f, "it is nested more than {MAX_NESTING} levels deep"),
            Reason::TooLong(length) => write!(
                f,
                "a sequence of {length} elements is longer than the message"
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}
