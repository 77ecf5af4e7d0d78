//! An encoded argument as text, as `Debug` would have it.
//!
//! Arguments need be nothing but decodable. So one is decoded by its own type, through a deserializer that passes all on
//! to the real one and writes down what it sees go by: the names come from what the type asks for, the
//! values from what it is given.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// The text of an encoded `A`; `None` where it cannot be decoded here, since there are handles in it, for example.
pub(crate) fn describe<A: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    // The type's own code may panic; whoever asked for this did not ask for that.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        multiproc_wire::decode::<Seen<A>>(bytes, Vec::new())
    }));
    decoded.ok()?.ok().map(|seen| seen.text)
}

/// The same of an `A` that stands behind the key of a state.
pub(crate) fn describe_behind_key<A: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        multiproc_wire::decode::<(u32, Seen<A>)>(bytes, Vec::new())
    }));
    decoded.ok()?.ok().map(|(_, seen)| seen.text)
}

/// So many bytes of text are enough.
const LIMIT: usize = 120;

struct Seen<A> {
    text: String,
    of: PhantomData<A>,
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for Seen<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let out = RefCell::new(Text::default());
        drop(A::deserialize(Watch {
            inner: deserializer,
            out: &out,
        })?);
        Ok(Seen {
            text: out.into_inner().finish(),
            of: PhantomData,
        })
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn add(&mut self, what: fmt::Arguments<'_>) {
        if self.0.len() <= LIMIT {
            // It fails where it is cut.
            let _cut = Cut(&mut self.0).write_fmt(what);
        }
    }

    fn finish(mut self) -> String {
        if self.0.len() > LIMIT {
            let end = (0..=LIMIT).rev().find(|end| self.0.is_char_boundary(*end));
            self.0.truncate(end.unwrap_or_default());
            self.0.push('…');
        }
        self.0
    }
}

/// Takes no more than a little beyond the limit, however long a value is.
struct Cut<'a>(&'a mut String);

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() > LIMIT {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

type Out<'a> = &'a RefCell<Text>;

macro_rules! say {
    ($out:expr, $($what:tt)*) => { $out.borrow_mut().add(format_args!($($what)*)) };
}

/// What the type has asked for.
#[derive(Clone, Copy)]
enum Shape {
    Plain,
    Unit(&'static str),
    Wrapper(&'static str),
    Tuple(&'static str),
    List,
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static [&'static str]),
}

/// A deserializer, seed or access that passes on, and writes down.
struct Watch<'a, T> {
    inner: T,
    out: Out<'a>,
}

/// A visitor that does.
struct Watched<'a, V> {
    inner: V,
    shape: Shape,
    out: Out<'a>,
}

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*) => $shape:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = Watched { inner: visitor, shape: $shape, out: self.out };
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Watch<'_, D> {
    type Error = D::Error;

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    pass_on! {
        deserialize_any() => Shape::Plain;
        deserialize_bool() => Shape::Plain;
        deserialize_i8() => Shape::Plain;
        deserialize_i16() => Shape::Plain;
        deserialize_i32() => Shape::Plain;
        deserialize_i64() => Shape::Plain;
        deserialize_i128() => Shape::Plain;
        deserialize_u8() => Shape::Plain;
        deserialize_u16() => Shape::Plain;
        deserialize_u32() => Shape::Plain;
        deserialize_u64() => Shape::Plain;
        deserialize_u128() => Shape::Plain;
        deserialize_f32() => Shape::Plain;
        deserialize_f64() => Shape::Plain;
        deserialize_char() => Shape::Plain;
        deserialize_str() => Shape::Plain;
        deserialize_string() => Shape::Plain;
        deserialize_bytes() => Shape::Plain;
        deserialize_byte_buf() => Shape::Plain;
        deserialize_option() => Shape::Plain;
        deserialize_unit() => Shape::Unit("()");
        deserialize_unit_struct(name: &'static str) => Shape::Unit(name);
        deserialize_newtype_struct(name: &'static str) => Shape::Wrapper(name);
        deserialize_seq() => Shape::List;
        deserialize_tuple(len: usize) => Shape::Tuple("");
        deserialize_tuple_struct(name: &'static str, len: usize) => Shape::Tuple(name);
        deserialize_map() => Shape::Plain;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) => Shape::Struct(name, fields);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) => Shape::Enum(variants);
        deserialize_identifier() => Shape::Plain;
        deserialize_ignored_any() => Shape::Plain;
    }
}

macro_rules! values {
    ($($method:ident: $type:ty;)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            say!(self.out, "{value:?}");
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watched<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    values! {
        visit_bool: bool;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_i128: i128;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_u128: u128;
        visit_f32: f32;
        visit_f64: f64;
        visit_char: char;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        say!(self.out, "None");
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        let out = self.out;
        say!(out, "Some(");
        let value = self.inner.visit_some(Watch { inner, out })?;
        say!(out, ")");
        Ok(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        if let Shape::Unit(name) = self.shape {
            say!(self.out, "{name}");
        }
        self.inner.visit_unit()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        let out = self.out;
        if let Shape::Wrapper(name) = self.shape {
            say!(out, "{name}");
        }
        say!(out, "(");
        let value = self.inner.visit_newtype_struct(Watch { inner, out })?;
        say!(out, ")");
        Ok(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<Self::Value, A::Error> {
        let out = self.out;
        let (open, close, fields): (_, _, &[&str]) = match self.shape {
            Shape::List => (("", "["), "]", &[]),
            Shape::Struct(name, fields) => ((name, " { "), " }", fields),
            Shape::Tuple(name) => ((name, "("), ")", &[]),
            _ => (("", "("), ")", &[]),
        };
        say!(out, "{}{}", open.0, open.1);
        let (fields, count) = (fields.iter(), 0);
        let value = self.inner.visit_seq(Parts {
            inner,
            fields,
            count,
            out,
        })?;
        say!(out, "{close}");
        Ok(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<Self::Value, A::Error> {
        let out = self.out;
        say!(out, "{{");
        let (fields, count) = ([].iter(), 0);
        let value = self.inner.visit_map(Parts {
            inner,
            fields,
            count,
            out,
        })?;
        say!(out, "}}");
        Ok(value)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<Self::Value, A::Error> {
        let variants: &[&str] = match self.shape {
            Shape::Enum(variants) => variants,
            _ => &[],
        };
        let out = self.out;
        self.inner.visit_enum(Variants {
            inner,
            variants,
            out,
        })
    }
}

/// What is in a list, a struct or a map.
struct Parts<'a, T> {
    inner: T,
    fields: std::slice::Iter<'a, &'static str>,
    count: usize,
    out: Out<'a>,
}

impl<T> Parts<'_, T> {
    /// What stands before the next.
    fn lead(&mut self) -> (&'static str, &'static str, &'static str) {
        self.count += 1;
        let comma = if self.count > 1 { ", " } else { "" };
        let field = self.fields.next().copied().unwrap_or_default();
        (comma, field, if field.is_empty() { "" } else { ": " })
    }
}

/// The next of the parts: what stands before it is written once it is there.
struct Part<'a, S> {
    inner: S,
    lead: (&'static str, &'static str, &'static str),
    out: Out<'a>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Part<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let (comma, field, colon) = self.lead;
        say!(self.out, "{comma}{field}{colon}");
        self.inner.deserialize(Watch {
            inner,
            out: self.out,
        })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let (lead, out) = (self.lead(), self.out);
        self.inner.next_element_seed(Part {
            inner: seed,
            lead,
            out,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Parts<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let (lead, out) = (self.lead(), self.out);
        self.inner.next_key_seed(Part {
            inner: seed,
            lead,
            out,
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let lead = ("", "", ": ");
        self.inner.next_value_seed(Part {
            inner: seed,
            lead,
            out: self.out,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Which variant it is, and what is in it.
struct Variants<'a, T> {
    inner: T,
    variants: &'static [&'static str],
    out: Out<'a>,
}

impl<'de, 'a, A: EnumAccess<'de>> EnumAccess<'de> for Variants<'a, A> {
    type Error = A::Error;
    type Variant = Watch<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        // It comes as a number.
        let number = RefCell::new(Text::default());
        let seed = Part {
            inner: seed,
            lead: ("", "", ""),
            out: &number,
        };
        let (value, inner) = self.inner.variant_seed(seed)?;
        let number = number.into_inner().0;
        let name = number
            .parse()
            .ok()
            .and_then(|number: usize| self.variants.get(number));
        say!(self.out, "{}", name.copied().unwrap_or(&number));
        Ok((
            value,
            Watch {
                inner,
                out: self.out,
            },
        ))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Watch<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        say!(self.out, "(");
        let part = Part {
            inner: seed,
            lead: ("", "", ""),
            out: self.out,
        };
        let value = self.inner.newtype_variant_seed(part)?;
        say!(self.out, ")");
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let shape = Shape::Tuple("");
        self.inner.tuple_variant(
            len,
            Watched {
                inner: visitor,
                shape,
                out: self.out,
            },
        )
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let shape = Shape::Struct("", fields);
        self.inner.struct_variant(
            fields,
            Watched {
                inner: visitor,
                shape,
                out: self.out,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use multiproc_shm::SharedValue;
    use multiproc_wire::encode;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Marker;

    #[derive(Debug, Serialize, Deserialize)]
    struct Metres(f64);

    #[derive(Debug, Serialize, Deserialize)]
    struct Pair(i8, char);

    #[derive(Debug, Serialize, Deserialize)]
    enum Kind {
        Nothing,
        One(Option<u8>),
        Two(u8, u8),
        Named { width: Metres, list: Vec<Pair> },
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct All {
        kinds: Vec<Kind>,
        marker: Marker,
        text: String,
        unit: (),
        map: BTreeMap<String, (i32, bool)>,
    }

    fn text<A: Serialize + DeserializeOwned>(value: &A) -> Option<String> {
        let mut bytes = Vec::new();
        drop(encode(value, &mut bytes).unwrap());
        describe::<A>(&bytes)
    }

    #[track_caller]
    fn as_debug<A: Serialize + DeserializeOwned + fmt::Debug>(value: A) {
        assert_eq!(text(&value), Some(format!("{value:?}")));
    }

    #[test]
    fn the_text_is_that_of_debug() {
        as_debug(7_u64);
        as_debug((1.5_f32, -3_i128, 'x'));
        as_debug(Kind::Nothing);
        as_debug(Kind::One(Some(3)));
        as_debug(Kind::One(None));
        as_debug(Kind::Two(1, 2));
        as_debug(Kind::Named {
            width: Metres(2.5),
            list: vec![Pair(-1, 'a'), Pair(1, '"')],
        });
        as_debug(All {
            kinds: vec![Kind::Nothing],
            marker: Marker,
            text: "a \"b\"\n".to_string(),
            unit: (),
            map: BTreeMap::from([("x".to_string(), (1, true)), ("y".to_string(), (2, false))]),
        });
    }

    #[test]
    fn long_values_are_cut() {
        let long = text(&vec!["ä".repeat(300); 100]).unwrap();
        assert!(long.starts_with("[\"ää") && long.ends_with('…'), "{long}");
        assert!(long.len() < LIMIT + 8, "{long}");
        assert!(text(&vec![1_u8; 1 << 20]).unwrap().len() < LIMIT + 8);
    }

    #[test]
    fn what_cannot_be_decoded_here_has_no_text() {
        assert_eq!(text(&SharedValue::new(1_u8).unwrap()), None);
        assert_eq!(describe::<String>(&[200, 1]), None);
    }
}
