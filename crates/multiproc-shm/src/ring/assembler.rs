//! Messages put together again from the records they were cut into.

use std::error::Error;
use std::fmt;

use super::corrupt::Corrupt;
use super::record::Record;

/// The longest message that is accepted where nothing else is asked for: 1 GiB.
pub const DEFAULT_LIMIT: usize = 1 << 30;

/// Collects the records of one message after the other.
///
/// A message grows as its bytes come; what a peer merely announces allocates nothing. One that was
/// begun and never ended disappears when the next begins.
#[derive(Debug)]
pub struct Assembler {
    message: Vec<u8>,
    limit: usize,
    state: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The message in the buffer is whole, or there is none.
    Whole,
    /// More of it is to come.
    Begun,
}

/// Why a record could not be added. The message that it belongs to is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssembleError {
    /// The record does not follow on what came before.
    Corrupt(Corrupt),
    /// The message is longer than is accepted.
    TooLong {
        /// The longest message accepted.
        limit: usize,
    },
    /// There is no memory for a message of this length.
    NoMemory {
        /// As far as it had come.
        len: usize,
    },
}

/// A buffer that has grown beyond this for one message is not kept for the next. One that is not kept is fetched
/// from the system page by page, which takes longer than the copy.
const KEPT: usize = 8 << 20;

impl Assembler {
    /// Accepts messages up to `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Assembler {
        Assembler {
            message: Vec::new(),
            limit,
            state: Progress::Whole,
        }
    }

    /// Adds the next record, and says whether the message is whole now. Passing over the record is the
    /// caller's.
    ///
    /// # Errors
    /// [`AssembleError`]; the record is then to be passed over too, and the next message is not affected.
    #[inline]
    pub fn add<M>(&mut self, record: &Record<'_, M>) -> Result<bool, AssembleError> {
        if record.is_first() {
            self.discard();
        } else if self.state == Progress::Whole {
            return Err(AssembleError::Corrupt(Corrupt::Continuation));
        }
        let len = self.message.len() + record.len();
        if len > self.limit {
            self.discard();
            return Err(AssembleError::TooLong { limit: self.limit });
        }
        if self.message.try_reserve(record.len()).is_err() {
            self.discard();
            return Err(AssembleError::NoMemory { len });
        }
        record.append_to(&mut self.message);
        self.state = if record.has_more() {
            Progress::Begun
        } else {
            Progress::Whole
        };
        Ok(self.state == Progress::Whole)
    }

    /// The message, after [`Assembler::add`] has said that it is whole.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The message as a buffer of its own.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.message)
    }

    /// Gives back a buffer from [`Assembler::take`], for the next message to use.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        if self.state == Progress::Whole {
            self.message = buffer;
        }
    }

    /// What has come of a message of which more is to come.
    #[must_use]
    pub fn begun(&self) -> Option<&[u8]> {
        (self.state == Progress::Begun).then_some(&*self.message)
    }

    /// Goes on with a message of which this much has come elsewhere.
    pub fn resume(&mut self, begun: Vec<u8>) {
        self.message = begun;
        self.state = Progress::Begun;
    }

    /// Forgets the message.
    pub fn discard(&mut self) {
        if self.message.capacity() > KEPT {
            self.message = Vec::new();
        }
        self.message.clear();
        self.state = Progress::Whole;
    }
}

impl Default for Assembler {
    fn default() -> Assembler {
        Assembler::new(DEFAULT_LIMIT)
    }
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssembleError::Corrupt(corrupt) => corrupt.fmt(f),
            AssembleError::TooLong { limit } => write!(
                f,
                "a message is longer than the {limit} bytes that are accepted"
            ),
            AssembleError::NoMemory { len } => {
                write!(f, "there is no memory for a message of {len} bytes or more")
            }
        }
    }
}

impl Error for AssembleError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AssembleError::Corrupt(corrupt) => Some(corrupt),
            _ => None,
        }
    }
}
