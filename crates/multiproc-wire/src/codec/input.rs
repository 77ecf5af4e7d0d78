//! postcard's deserializer, with the nesting counted, lengths judged and the texts of errors kept.
//!
//! Bytes are postcard's: every scalar is read by it, or as it does (`varint.rs`). Only what holds other values is here.

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::LENT;
use super::nesting::{Fault, Nesting, Reason};
use super::varint;
use crate::handoff::{Lender, Lent, loan};

/// How many elements beyond what its bytes could hold a message may have in all. Elements without a byte, such as
/// `()`, are the only honest ones, and cost no more than a turn of a loop each.
const EMPTY_ELEMENTS: usize = 1 << 24;

/// Bytes that are not decoded yet.
pub(super) struct Source<'de> {
    pub(super) bytes: &'de [u8],
    /// How many more elements without a byte there may be.
    empty_elements: usize,
    lender: Option<&'static Lender>,
}

/// A source, at some depth inside a value.
pub(super) struct Input<'a, 'de> {
    source: &'a mut Source<'de>,
    nesting: Nesting,
    /// How many bytes, at least, are those of elements that sequences around this place have yet to come to: one for
    /// each. What is in between cannot have them, so that all levels together make room for no more than there are.
    spoken_for: usize,
}

/// The elements of a sequence or map.
struct Elements<'a, 'de> {
    input: Input<'a, 'de>,
    left: usize,
    /// Whether a byte is spoken for, for each.
    counted: bool,
}

impl<'de> Source<'de> {
    pub(super) fn new(bytes: &'de [u8], lender: Option<&'static Lender>) -> Source<'de> {
        Source {
            bytes,
            empty_elements: EMPTY_ELEMENTS,
            lender,
        }
    }

    pub(super) fn input(&mut self) -> Input<'_, 'de> {
        Input {
            source: self,
            nesting: Nesting::NONE,
            spoken_for: 0,
        }
    }

    #[inline]
    fn scalar<T: Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        let mut postcard = postcard::Deserializer::from_bytes(self.bytes);
        let value = T::deserialize(&mut postcard)?;
        self.bytes = postcard.finalize()?;
        Ok(value)
    }

    /// An unsigned integer.
    #[inline(always)]
    fn integer<T: TryFrom<u64> + Deserialize<'de>>(&mut self) -> Result<T, Fault> {
        let longest = (size_of::<T>() * 8).div_ceil(7);
        if let Some((number, length)) = varint::read(self.bytes)
            && length <= longest
            && let Ok(number) = T::try_from(number)
            && let Some(rest) = self.bytes.get(length..)
        {
            self.bytes = rest;
            return Ok(number);
        }
        // It is longer, or none.
        self.scalar()
    }

    /// A run of bytes that begins here: with the message, or lent.
    #[inline]
    fn run<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        let length: usize = self.integer()?;
        if length == LENT {
            let lent = self.lent()?;
            return loan::visiting(lent, |run| visitor.visit_bytes(run));
        }
        let (run, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.bytes = rest;
        visitor.visit_borrowed_bytes(run)
    }

    #[cold]
    fn lent(&mut self) -> Result<Lent, Fault> {
        let (index, offset, length) = self.scalar::<(u32, u64, u64)>()?;
        let lender = self.lender.ok_or_else(|| {
            <Fault as de::Error>::custom("it has bytes in it that its sender keeps")
        })?;
        (lender.find)(index, offset, length).map_err(<Fault as de::Error>::custom)
    }

    #[cold]
    fn empties(&mut self, empties: usize, length: usize) -> Result<(), Fault> {
        self.empty_elements = self
            .empty_elements
            .checked_sub(empties)
            .ok_or_else(|| Fault::new(Reason::TooLong(length)))?;
        Ok(())
    }
}

impl<'a, 'de> Input<'a, 'de> {
    /// The length of a sequence that begins here, and whether there is a byte for each element.
    #[inline]
    fn length(&mut self) -> Result<(usize, bool), Fault> {
        let length: usize = self.source.integer()?;
        let free = self.source.bytes.len().saturating_sub(self.spoken_for);
        if length <= free {
            return Ok((length, true));
        }
        self.source.empties(length - free, length)?;
        Ok((length, false))
    }

    #[inline]
    fn deeper(self) -> Result<Input<'a, 'de>, Fault> {
        let nesting = self.nesting.deeper()?;
        Ok(Input { nesting, ..self })
    }

    #[inline]
    fn inner<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
        besides: usize,
    ) -> Result<T::Value, Fault> {
        seed.deserialize(Input {
            source: self.source,
            nesting: self.nesting,
            spoken_for: self.spoken_for + besides,
        })
    }

    #[inline]
    fn elements(self, left: usize, counted: bool) -> Result<Elements<'a, 'de>, Fault> {
        Ok(Elements {
            input: self.deeper()?,
            left,
            counted,
        })
    }
}

impl Elements<'_, '_> {
    /// For how many elements there is a byte still to come.
    #[inline]
    fn besides(&self) -> usize {
        if self.counted { self.left } else { 0 }
    }
}

macro_rules! scalars {
    (by $read:ident: $($method:ident: $Type:ty => $visit:ident,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.source.$read::<$Type>()?)
        }
    )*};
}

macro_rules! signed_integers {
    ($($method:ident: $Unsigned:ty => $visit:ident,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            // As `varint::zigzag` has made it.
            let number = self.source.integer::<$Unsigned>()?;
            visitor.$visit((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
        }
    )*};
}

macro_rules! unknown {
    ($($method:ident,)*) => {$(
        /// Bytes do not tell of what type they are.
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
            Err(postcard::Error::WontImplement.into())
        }
    )*};
}

impl<'de> Deserializer<'de> for Input<'_, 'de> {
    type Error = Fault;

    scalars! {
        by scalar:
        deserialize_bool: bool => visit_bool,
        deserialize_i8: i8 => visit_i8,
        deserialize_i128: i128 => visit_i128,
        deserialize_u8: u8 => visit_u8,
        deserialize_u128: u128 => visit_u128,
        deserialize_f32: f32 => visit_f32,
        deserialize_f64: f64 => visit_f64,
        deserialize_char: char => visit_char,
        deserialize_str: &'de str => visit_borrowed_str,
        deserialize_string: &'de str => visit_borrowed_str,
    }

    scalars! {
        by integer:
        deserialize_u16: u16 => visit_u16,
        deserialize_u32: u32 => visit_u32,
        deserialize_u64: u64 => visit_u64,
    }

    signed_integers! {
        deserialize_i16: u16 => visit_i16,
        deserialize_i32: u32 => visit_i32,
        deserialize_i64: u64 => visit_i64,
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.source.run(visitor)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.source.run(visitor)
    }

    unknown! {
        deserialize_any,
        deserialize_identifier,
        deserialize_ignored_any,
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.source.scalar::<u8>()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self.deeper()?),
            _ => Err(postcard::Error::DeserializeBadOption.into()),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self.deeper()?)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        let (length, counted) = self.length()?;
        visitor.visit_seq(self.elements(length, counted)?)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.elements(length, false)?)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        let (length, counted) = self.length()?;
        visitor.visit_map(self.elements(length, counted)?)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self)
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let besides = self.besides();
        self.input.inner(seed, besides).map(Some)
    }

    /// Memory is taken by it: of sequences that do not fit, element by element.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.besides())
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let besides = self.besides();
        self.input.inner(seed, besides)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        de::SeqAccess::size_hint(self)
    }
}

impl<'de> de::EnumAccess<'de> for Input<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Fault> {
        let index = self.source.integer::<u32>()?;
        let index: de::value::U32Deserializer<Fault> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Input<'_, 'de> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.deeper()?.inner(seed, 0)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}
