//! Values to bytes and back: postcard, with a hand-off scope around it.
//!
//! postcard writes a variable-length integer form and raw bytes for what serializes as bytes; it does
//! not describe itself, so that `#[serde(flatten)]`, `#[serde(untagged)]` and sequences of unknown length
//! cannot be encoded, which is an error that says so.

use std::fmt;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::handoff::{self, Handoff};

/// Encodes `value` at the end of `bytes`.
///
/// # Errors
/// Where the value's `Serialize` implementation fails or needs a format that describes itself. `bytes`
/// is then as before, and nothing is handed over.
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
}

impl<'a> Encoder<'a> {
    /// For a message at the end of `bytes`.
    pub fn new(bytes: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder {
            bytes,
            handoff: Handoff::default(),
        }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// As [`encode`]. The values before it stay; what this one had handed over is let go together with
    /// the encoder.
    pub fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        let bytes = &mut *self.bytes;
        handoff::encoding(&mut self.handoff, || {
            postcard::serialize_with_flavor(value, Appending(bytes))
        })
        .map_err(|error| {
            self.bytes.truncate(before);
            EncodeError::new(error, std::any::type_name::<T>())
        })
    }

    /// What the values hand over besides their bytes.
    #[must_use]
    pub fn finish(self) -> Handoff {
        self.handoff
    }
}

/// postcard's output, at the end of a vector.
struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes the values of one message, one after the other.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    handles: Vec<Arc<OwnedHandle>>,
}

impl<'a> Decoder<'a> {
    /// For a message of these bytes that came with these handles.
    #[must_use]
    pub fn new(bytes: &'a [u8], handles: Vec<Arc<OwnedHandle>>) -> Decoder<'a> {
        Decoder { bytes, handles }
    }

    /// The next value.
    ///
    /// # Errors
    /// Where the bytes are not such a value. Nothing further can be decoded then.
    pub fn decode<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let bytes = self.bytes;
        let result = handoff::decoding(&mut self.handles, || postcard::take_from_bytes(bytes));
        match result {
            Ok((value, rest)) => {
                self.bytes = rest;
                Ok(value)
            }
            Err(error) => Err(DecodeError::new(
                error.to_string(),
                std::any::type_name::<T>(),
            )),
        }
    }

    /// The one value that is left. The handles that it does not keep are closed.
    ///
    /// # Errors
    /// Where the bytes are not such a value, or more than it.
    pub fn only<T: DeserializeOwned>(mut self) -> Result<T, DecodeError> {
        let value = self.decode()?;
        self.finish()?;
        Ok(value)
    }

    /// The bytes not yet decoded.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes are not yet decoded, and the handles: to go on elsewhere.
    #[must_use]
    pub fn into_rest(self) -> (usize, Vec<Arc<OwnedHandle>>) {
        (self.bytes.len(), self.handles)
    }

    /// Makes sure that nothing is left over.
    ///
    /// # Errors
    /// Where bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(DecodeError::new(
            format!("{} bytes are left over", self.bytes.len()),
            "message",
        ))
    }
}

/// A value cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    what: &'static str,
    why: postcard::Error,
}

impl EncodeError {
    fn new(why: postcard::Error, what: &'static str) -> EncodeError {
        EncodeError { what, why }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a value of type `{}` cannot be sent to another process: ",
            self.what
        )?;
        match &self.why {
            postcard::Error::SerializeSeqLengthUnknown => f.write_str(
                "it has a sequence or map of unknown length (`#[serde(flatten)]` makes such maps)",
            ),
            postcard::Error::WontImplement => {
                f.write_str("it needs a format that describes itself (`#[serde(untagged)]` does)")
            }
            postcard::Error::SerdeSerCustom => {
                f.write_str("its `Serialize` implementation reports an error")
            }
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Bytes are not the value they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    what: &'static str,
    why: String,
}

impl DecodeError {
    fn new(why: String, what: &'static str) -> DecodeError {
        DecodeError { what, why }
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
mod tests {
    use super::*;
    use serde::{Deserialize, Serializer};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Circle { radius: f64 },
        Path(Vec<(i32, i32)>, Option<String>),
    }

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
        let mut bytes = vec![];
        let handoff = encode(value, &mut bytes).unwrap();
        assert!(handoff.is_empty());
        assert_eq!(decode::<T>(&bytes, vec![]).as_ref(), Ok(value));
    }

    #[test]
    fn values_come_back() {
        round_trip(&(u64::MAX, i128::MIN, 'ß', f32::MIN_POSITIVE, true, ()));
        round_trip(&vec![
            Shape::Dot,
            Shape::Circle { radius: -0.0 },
            Shape::Path(vec![(1, -1)], None),
        ]);
        round_trip(&std::collections::BTreeMap::from([
            ("a".to_string(), 1),
            ("b".to_string(), 2),
        ]));
        round_trip(&Some(Ok::<String, u8>("text".repeat(10_000))));
    }

    #[test]
    fn several_values_make_one_message() {
        let mut bytes = vec![];
        let mut encoder = Encoder::new(&mut bytes);
        encoder.encode("one").unwrap();
        encoder.encode(&2_u8).unwrap();
        assert!(encoder.finish().is_empty());
        let mut decoder = Decoder::new(&bytes, vec![]);
        assert_eq!(decoder.decode::<String>().unwrap(), "one");
        assert_eq!(decoder.rest(), [2]);
        assert_eq!(decoder.decode::<u8>().unwrap(), 2);
        decoder.finish().unwrap();
    }

    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::from_fn(|| Some(1).filter(|_| false)))
        }
    }

    #[test]
    fn a_value_that_cannot_be_encoded_leaves_the_bytes_as_they_were() {
        let mut bytes = vec![9];
        let error = encode(&("text", Refuses), &mut bytes).unwrap_err();
        assert!(error.to_string().contains("unknown length"), "{error}");
        assert_eq!(bytes, [9]);
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let mut bytes = vec![];
        assert!(
            encode(&Shape::Path(vec![(5, 6); 20], Some("x".into())), &mut bytes)
                .unwrap()
                .is_empty()
        );
        for length in 0..bytes.len() {
            assert!(
                decode::<Shape>(&bytes[..length], vec![]).is_err(),
                "cut at {length}"
            );
        }
        bytes.push(0);
        let error = decode::<Shape>(&bytes, vec![]).unwrap_err();
        assert!(
            error.to_string().contains("1 bytes are left over"),
            "{error}"
        );
        // A length far beyond what is there.
        assert!(
            decode::<Vec<u64>>(&[255, 255, 255, 255, 255, 255, 255, 255, 127], vec![]).is_err()
        );
        assert!(decode::<String>(&[255; 10], vec![]).is_err());
    }
}
