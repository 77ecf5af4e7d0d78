//! Values to bytes and back: postcard, with a hand-off scope around it.
//!
//! postcard writes a variable-length integer form and raw bytes for what serializes as bytes; it does
//! not describe itself, so that `#[serde(flatten)]`, `#[serde(untagged)]` and sequences of unknown length
//! cannot be encoded, which is an error that says so. It neither keeps what a value's own code says of an
//! error nor limits how deep values are nested; `output` and `input` do, around its scalars and lengths.

use std::fmt;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::handoff::{self, Handoff, Lender, Loan, Offers};
use input::Source;
pub use nesting::MAX_NESTING;
use nesting::{Fault, Reason};
use output::Output;

mod input;
mod nesting;
mod output;
mod varint;

/// The length of a run of bytes that is not here: then come the index of the handle of the memory in which it lies, where
/// in that it begins, and how long it is.
const LENT: usize = usize::MAX;

/// Encodes `value` at the end of `bytes`.
///
/// # Errors
/// Where the value's `Serialize` implementation fails or needs a format that describes itself, or it is nested
/// deeper than [`MAX_NESTING`]. `bytes` is then as before, and nothing is handed over.
pub fn encode<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<Handoff, EncodeError> {
    let mut encoder = Encoder::new(bytes);
    encoder.encode(value)?;
    Ok(encoder.finish())
}

/// Decodes a value that takes up all of `bytes` and came with `handles`.
///
/// # Errors
/// Where the bytes are not such a value.
pub fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    handles: Vec<Arc<OwnedHandle>>,
) -> Result<T, DecodeError> {
    Decoder::new(bytes, handles).only()
}

/// Encodes values one after the other into one message.
#[derive(Debug)]
pub struct Encoder<'a> {
    bytes: &'a mut Vec<u8>,
    handoff: Handoff,
    lender: Option<&'static Lender>,
}

impl<'a> Encoder<'a> {
    /// For a message at the end of `bytes`.
    #[inline]
    pub fn new(bytes: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder {
            bytes,
            handoff: Handoff::default(),
            lender: None,
        }
    }

    /// For a receiver who sees what this lends.
    #[must_use]
    #[inline]
    pub fn lending(self, lender: impl Into<Option<&'static Lender>>) -> Encoder<'a> {
        let lender = lender.into();
        Encoder { lender, ..self }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// As [`encode`]. The values before it stay; what this one had handed over is let go together with
    /// the encoder.
    #[inline(always)]
    pub fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        let output = Output::new(self.bytes, self.lender);
        handoff::encoding(&mut self.handoff, || value.serialize(output)).map_err(|fault| {
            self.bytes.truncate(before);
            EncodeError::new(fault, std::any::type_name::<T>())
        })
    }

    /// The bytes so far, and what the values in them hand over besides.
    #[must_use]
    #[inline]
    pub fn encoded(&mut self) -> (&mut [u8], &Handoff) {
        (self.bytes, &self.handoff)
    }

    /// What the values lend: see [`Handoff::take_loans`].
    #[must_use]
    pub fn take_loans(&mut self) -> Vec<Arc<dyn Loan>> {
        self.handoff.take_loans()
    }

    /// What the values hand over besides their bytes.
    #[must_use]
    #[inline]
    pub fn finish(self) -> Handoff {
        self.handoff
    }
}

/// Decodes the values of one message, one after the other.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    offers: Offers,
    lender: Option<&'static Lender>,
}

impl<'a> Decoder<'a> {
    /// For a message of these bytes that came with these handles.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8], offers: impl Into<Offers>) -> Decoder<'a> {
        let offers = offers.into();
        Decoder {
            bytes,
            offers,
            lender: None,
        }
    }

    /// From a sender who lends by this.
    #[must_use]
    #[inline]
    pub fn lending(self, lender: &'static Lender) -> Decoder<'a> {
        let lender = Some(lender);
        Decoder { lender, ..self }
    }

    /// The next value.
    ///
    /// # Errors
    /// Where the bytes are not such a value. Nothing further can be decoded then.
    pub fn decode<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let mut source = Source::new(self.bytes, self.lender);
        let result = handoff::decoding(&mut self.offers, || T::deserialize(source.input()));
        match result {
            Ok(value) => {
                self.bytes = source.bytes;
                Ok(value)
            }
            Err(fault) => Err(DecodeError::new(*fault.0, std::any::type_name::<T>())),
        }
    }

    /// The one value that is left. The handles that it does not keep are closed.
    ///
    /// # Errors
    /// Where the bytes are not such a value, or more than it.
    #[inline(always)]
    pub fn only<T: DeserializeOwned>(mut self) -> Result<T, DecodeError> {
        let mut source = Source::new(self.bytes, self.lender);
        match handoff::decoding(&mut self.offers, || T::deserialize(source.input())) {
            Ok(value) if source.bytes.is_empty() => Ok(value),
            Ok(_) => Err(DecodeError::left_over(source.bytes.len())),
            Err(fault) => Err(DecodeError::new(*fault.0, std::any::type_name::<T>())),
        }
    }

    /// The bytes not yet decoded.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes are not yet decoded, and the handles: to go on elsewhere.
    #[must_use]
    pub fn into_rest(self) -> (usize, Offers) {
        (self.bytes.len(), self.offers)
    }

    /// Makes sure that nothing is left over.
    ///
    /// # Errors
    /// Where bytes are left.
    #[inline]
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(DecodeError::left_over(self.bytes.len()))
    }
}

/// A value cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    what: &'static str,
    why: Reason,
}

impl EncodeError {
    #[cold]
    fn new(fault: Fault, what: &'static str) -> EncodeError {
        EncodeError {
            what,
            why: *fault.0,
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a value of type `{}` cannot be sent to another process: {}",
            self.what, self.why
        )
    }
}

impl std::error::Error for EncodeError {}

/// Bytes are not the value they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    what: &'static str,
    why: Reason,
}

impl DecodeError {
    #[cold]
    fn new(why: Reason, what: &'static str) -> DecodeError {
        DecodeError { what, why }
    }

    #[cold]
    fn left_over(bytes: usize) -> DecodeError {
        let why = Reason::Says(format!("{bytes} bytes are left over"));
        DecodeError::new(why, "message")
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "what was received is not a value of type `{}`: {}",
            self.what, self.why
        )
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests;
