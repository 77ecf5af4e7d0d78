//! What has come over a connection: bytes in, messages out, and no socket.
//!
//! A message is a header and a body:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | [`VALUE`] or [`BYTES`] |
//! | 1..4 | zeroes |
//! | 4..8 | how many handles came with its bytes, little-endian |
//! | 8..16 | length of the body, little-endian |
//! | 16.. | the body |
//!
//! Handles come in order, none later than the last byte of their message.
//!
//! # Invariants
//!
//! 1. No memory is taken for bytes that have not come: what a header claims reserves nothing.
//! 2. Once all bytes that have come were given out, so were all handles; a peer that sends others is malformed.
//! 3. After what is malformed nothing more is given out.

use std::ops::Range;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::stream::HANDLES_A_SEND;

use crate::error::{Error, Why};

pub(crate) const VALUE: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const HEADER: usize = 16;
/// The most handles of one message: one send for each byte of its header.
pub(crate) const MAX_HANDLES: usize = HEADER * HANDLES_A_SEND;

/// How much is read at once, at least and at most.
const READ: Range<usize> = 64 << 10..1 << 20;
/// A buffer that has grown beyond this is not kept.
pub(crate) const KEPT: usize = 1 << 20;

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) handles: u32,
    pub(crate) length: u64,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind;
        bytes[4..8].copy_from_slice(&self.handles.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEADER]) -> Option<Header> {
        let [kind, 0, 0, 0, handles @ .., _, _, _, _, _, _, _, _] = bytes else {
            return None;
        };
        let length = bytes.last_chunk().copied().map(u64::from_le_bytes)?;
        let handles = u32::from_le_bytes(*handles);
        let known = matches!(*kind, VALUE | BYTES) && handles as usize <= MAX_HANDLES;
        known.then_some(Header {
            kind: *kind,
            handles,
            length,
        })
    }
}

/// What has come and was not given out.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Where in `bytes` the next message begins.
    start: usize,
    pub(crate) handles: Vec<OwnedHandle>,
    /// Of a message that is too long: bytes and handles still to be passed over.
    skipping: Option<(u64, usize)>,
    max_message: usize,
    malformed: bool,
}

/// A message that is there.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u8,
    pub(crate) body: &'a [u8],
    pub(crate) handles: Vec<Arc<OwnedHandle>>,
}

impl Inbox {
    pub(crate) fn new(max_message: usize) -> Inbox {
        Inbox {
            bytes: Vec::new(),
            start: 0,
            handles: Vec::new(),
            skipping: None,
            max_message,
            malformed: false,
        }
    }

    /// Where to put bytes that come, and handles, and how many bytes at most now.
    pub(crate) fn room(&mut self) -> (&mut Vec<u8>, usize, &mut Vec<OwnedHandle>) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let missing = match self.header() {
            Ok(Some(header)) if self.skipping.is_none() => {
                let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                length
                    .saturating_add(HEADER)
                    .saturating_sub(self.bytes.len())
            }
            _ => 0,
        };
        (
            &mut self.bytes,
            missing.clamp(READ.start, READ.end),
            &mut self.handles,
        )
    }

    /// Whether nothing is there, not even a part of a message.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len() && self.skipping.is_none()
    }

    /// Nothing more is given out.
    pub(crate) fn give_up(&mut self) {
        self.malformed = true;
        self.handles.clear();
    }

    /// Whether nothing more will be given out.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_broken(&self) -> bool {
        self.malformed
    }

    /// Whether [`next`](Self::next) has something to say.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.malformed || self.skip().is_err() {
            return true;
        }
        match self.header() {
            Err(_) => true,
            Ok(None) => false,
            Ok(Some(header)) => {
                header.length > self.max_message as u64
                    || (self.bytes.len() - self.start - HEADER) as u64 >= header.length
            }
        }
    }

    /// The next message, if all of it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Message<'_>>, Error> {
        if self.malformed {
            return Err(Why::Broken.into());
        }
        let found = self.find();
        self.malformed =
            matches!(&found, Err(error) if error.kind() == crate::ErrorKind::Malformed);
        let Some((header, body)) = found? else {
            return Ok(None);
        };
        let handles = self
            .handles
            .drain(..header.handles as usize)
            .map(Arc::new)
            .collect();
        Ok(Some(Message {
            kind: header.kind,
            body: &self.bytes[body],
            handles,
        }))
    }

    fn find(&mut self) -> Result<Option<(Header, Range<usize>)>, Error> {
        self.skip()?;
        if self.handles.len() > 2 * MAX_HANDLES {
            return Err(Why::Malformed("more handles than its messages have").into());
        }
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        let length = usize::try_from(header.length)
            .ok()
            .filter(|length| *length <= self.max_message);
        let Some(length) = length else {
            self.start += HEADER;
            self.skipping = Some((header.length, header.handles as usize));
            self.skip()?;
            return Err(Why::TooLong {
                length: header.length,
                limit: self.max_message,
            }
            .into());
        };
        let body = self.start + HEADER;
        if self.bytes.len() - body < length {
            return Ok(None);
        }
        let end = body + length;
        self.start = end;
        self.account(header.handles as usize)?;
        Ok(Some((header, body..end)))
    }

    fn header(&self) -> Result<Option<Header>, Error> {
        let Some(bytes) = self.bytes[self.start..].first_chunk() else {
            return Ok(None);
        };
        let header = Header::parse(bytes);
        header
            .map(Some)
            .ok_or_else(|| Why::Malformed("not a message's header").into())
    }

    /// Passes over what has come of a message that is too long.
    fn skip(&mut self) -> Result<(), Error> {
        let Some((left, handles)) = self.skipping else {
            return Ok(());
        };
        let here = self.bytes.len() - self.start;
        let passed = usize::try_from(left).map_or(here, |left| left.min(here));
        self.start += passed;
        let left = left - passed as u64;
        self.skipping = Some((left, handles));
        if left == 0 {
            self.account(handles)?;
            self.handles.drain(..handles);
            self.skipping = None;
        }
        Ok(())
    }

    /// Makes sure that as many handles came as a message claims that has come whole.
    fn account(&self, claimed: usize) -> Result<(), Error> {
        let surplus = self.start == self.bytes.len() && self.handles.len() > claimed;
        if self.handles.len() < claimed || surplus {
            return Err(Why::Malformed("not as many handles as it says").into());
        }
        Ok(())
    }
}

impl Inbox {
    /// Gives back memory that a large message took.
    pub(crate) fn shrink(&mut self) {
        if self.start == self.bytes.len() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests;
