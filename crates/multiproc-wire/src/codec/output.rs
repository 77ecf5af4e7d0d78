//! postcard's serializer, with the nesting counted and the texts of errors kept.
//!
//! Bytes are postcard's: every scalar is written by it, or as it does (`varint.rs`). Only what holds other values is here.

use serde::{Serialize, Serializer, ser};

use super::LENT;
use super::nesting::{Fault, Nesting, Reason};
use super::varint;
use crate::handoff::{Lender, loan};

/// The end of a vector, at some depth inside a value.
pub(super) struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    nesting: Nesting,
    lender: Option<&'static Lender>,
}

impl<'a> Output<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>, lender: Option<&'static Lender>) -> Output<'a> {
        Output {
            bytes,
            nesting: Nesting::NONE,
            lender,
        }
    }

    /// A long run of bytes, by where it lies. False, and nothing encoded, where it is to be encoded as any other.
    #[cold]
    fn lend(&mut self, lender: &Lender, run: &[u8]) -> Result<bool, Fault> {
        let Some(placed) = (lender.lend)(run) else {
            return Ok(false);
        };
        let index = loan::put(&placed).map_err(<Fault as ser::Error>::custom)?;
        let place = (LENT, index, placed.offset, run.len() as u64);
        place.serialize(&mut postcard(self.bytes))?;
        Ok(true)
    }

    #[inline]
    fn scalar<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        Ok(value.serialize(&mut postcard(self.bytes))?)
    }

    /// Bytes behind their length.
    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "the callers return it")]
    fn run(self, bytes: &[u8]) -> Result<(), Fault> {
        varint::append(self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn variant(&mut self, index: u32) {
        varint::append(self.bytes, index.into());
    }

    #[inline]
    fn deeper(self) -> Result<Output<'a>, Fault> {
        let nesting = self.nesting.deeper()?;
        Ok(Output { nesting, ..self })
    }

    #[inline]
    fn counted(self, length: Option<usize>) -> Result<Output<'a>, Fault> {
        let length = length.ok_or(postcard::Error::SerializeSeqLengthUnknown)?;
        varint::append(self.bytes, length as u64);
        self.deeper()
    }

    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Output {
            bytes: self.bytes,
            nesting: self.nesting,
            lender: self.lender,
        })
    }
}

#[inline]
fn postcard(bytes: &mut Vec<u8>) -> postcard::Serializer<Appending<'_>> {
    postcard::Serializer {
        output: Appending(bytes),
    }
}

/// postcard's output, at the end of a vector.
struct Appending<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

macro_rules! scalars {
    ($($method:ident: $Type:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $Type) -> Result<(), Fault> {
            self.scalar(&value)
        }
    )*};
}

macro_rules! integers {
    ($($method:ident: $Type:ty => $unsigned:expr,)*) => {$(
        #[inline]
        fn $method(self, value: $Type) -> Result<(), Fault> {
            varint::append(self.bytes, $unsigned(value.into()));
            Ok(())
        }
    )*};
}

impl<'a> Serializer for Output<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Output<'a>;
    type SerializeTuple = Output<'a>;
    type SerializeTupleStruct = Output<'a>;
    type SerializeTupleVariant = Output<'a>;
    type SerializeMap = Output<'a>;
    type SerializeStruct = Output<'a>;
    type SerializeStructVariant = Output<'a>;

    scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
    }

    integers! {
        serialize_i16: i16 => varint::zigzag,
        serialize_i32: i32 => varint::zigzag,
        serialize_i64: i64 => varint::zigzag,
        serialize_u16: u16 => std::convert::identity,
        serialize_u32: u32 => std::convert::identity,
        serialize_u64: u64 => std::convert::identity,
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bytes(mut self, value: &[u8]) -> Result<(), Fault> {
        if let Some(lender) = self.lender
            && value.len() >= lender.least
            && self.lend(lender, value)?
        {
            return Ok(());
        }
        self.run(value)
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        self.run(value.as_bytes())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Fault> {
        self.scalar(&0_u8)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        self.bytes.push(1);
        self.deeper()?.inner(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Fault> {
        self.variant(index);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.deeper()?.inner(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(index);
        self.deeper()?.inner(value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Output<'a>, Fault> {
        self.counted(length)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Output<'a>, Fault> {
        self.deeper()
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Output<'a>, Fault> {
        self.deeper()
    }

    #[inline]
    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Output<'a>, Fault> {
        self.variant(index);
        self.deeper()
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Output<'a>, Fault> {
        self.counted(length)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Output<'a>, Fault> {
        self.deeper()
    }

    #[inline]
    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Output<'a>, Fault> {
        self.variant(index);
        self.deeper()
    }

    /// By way of a text, since a length stands in front of it and formatting twice could differ.
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<(), Fault> {
        use std::fmt::Write;
        let mut text = String::new();
        write!(text, "{value}")
            .map_err(|_| Fault::new(Reason::Format(postcard::Error::CollectStrError)))?;
        self.serialize_str(&text)
    }
}

macro_rules! compounds {
    ($($Trait:ident :: $method:ident,)*) => {$(
        impl ser::$Trait for Output<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.inner(value)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )*};
}

compounds! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! compounds_with_names {
    ($($Trait:ident,)*) => {$(
        impl ser::$Trait for Output<'_> {
            type Ok = ();
            type Error = Fault;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.inner(value)
            }

            #[inline]
            fn end(self) -> Result<(), Fault> {
                Ok(())
            }
        }
    )*};
}

compounds_with_names! {
    SerializeStruct,
    SerializeStructVariant,
}

impl ser::SerializeMap for Output<'_> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.inner(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.inner(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        Ok(())
    }
}
