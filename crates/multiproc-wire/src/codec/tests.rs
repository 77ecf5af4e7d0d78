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
    assert!(decode::<Vec<u64>>(&[255, 255, 255, 255, 255, 255, 255, 255, 127], vec![]).is_err());
    assert!(decode::<String>(&[255; 10], vec![]).is_err());
}

/// A value whose own code speaks up.
#[derive(Debug)]
struct Odd(u8);
impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(2) {
            return Err(serde::ser::Error::custom(format_args!(
                "{} is even",
                self.0
            )));
        }
        self.0.serialize(serializer)
    }
}
impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Odd, D::Error> {
        match u8::deserialize(deserializer)? {
            even if even % 2 == 0 => Err(serde::de::Error::custom(format_args!("{even} is even"))),
            odd => Ok(Odd(odd)),
        }
    }
}

#[test]
fn what_a_values_own_code_says_is_in_the_error() {
    let mut bytes = vec![];
    let error = encode(&vec![Some(Odd(1)), Some(Odd(2))], &mut bytes).unwrap_err();
    assert!(error.to_string().ends_with("2 is even"), "{error}");
    let error = decode::<(u8, Odd)>(&[7, 4], vec![]).unwrap_err();
    assert!(error.to_string().ends_with("4 is even"), "{error}");
    let error = decode::<Shape>(&[9], vec![]).unwrap_err();
    assert!(
        error.to_string().contains("expected variant index"),
        "{error}"
    );
    let shared = crate::Descriptor::from(std::fs::File::open("/dev/null").unwrap());
    let error = serde_json::to_string(&shared).unwrap_err();
    assert!(error.to_string().contains("in another format"), "{error}");
    let error = decode::<crate::Descriptor>(&[3], vec![]).unwrap_err();
    assert!(error.to_string().contains("refers to handle 3"), "{error}");
}

/// Nested by each means that a value can be nested by.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Nested {
    Leaf,
    Boxed(Box<Nested>),
    Listed(Vec<Nested>),
    Paired((), Box<Nested>),
    Named {
        maybe: Option<Box<Nested>>,
        room: [u64; 16],
    },
    Mapped(std::collections::BTreeMap<u8, Nested>),
    Wrapped(Box<Wrapper>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapper(Nested);

impl Nested {
    /// What is in front of the inner value in the encoded form.
    fn fronts() -> [Vec<u8>; 6] {
        [
            vec![1],
            vec![2, 1],
            vec![3],
            vec![4, 1],
            vec![5, 1, 9],
            vec![6],
        ]
    }
}

#[test]
fn a_depth_bomb_is_an_error_whatever_it_is_made_of() {
    // A quarter of the stack of the standard library's threads, in a debug build.
    let run = || {
        for front in Nested::fronts() {
            let error = decode::<Nested>(&front.repeat(1_000_000), vec![]).unwrap_err();
            assert!(
                error.to_string().contains("levels deep"),
                "{front:?}: {error}"
            );
        }
        // Never ends, and takes no byte to do so.
        #[derive(Debug, Deserialize)]
        struct Endless(#[expect(dead_code, reason = "there is none")] Box<Endless>);
        assert!(decode::<Endless>(&[], vec![]).is_err());
    };
    std::thread::Builder::new()
        .stack_size(512 << 10)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn what_is_encoded_can_be_decoded_and_what_is_too_deep_is_refused_by_the_sender() {
    let boxes = |depth| (0..depth).fold(Nested::Leaf, |inner, _| Nested::Boxed(Box::new(inner)));
    let deepest = usize::from(MAX_NESTING);
    round_trip(&boxes(deepest));
    let mut bytes = vec![];
    let error = encode(&boxes(deepest + 1), &mut bytes).unwrap_err();
    assert!(error.to_string().contains("256 levels"), "{error}");
    let wide: Vec<_> = (0..10_000).map(|_| boxes(3)).collect();
    round_trip(&wide);
}

#[test]
fn sequences_without_bytes_are_long_but_not_endless() {
    round_trip(&vec![(); 1 << 20]);
    let mut lie = vec![];
    assert!(encode(&vec![1_u64 << 24; 3], &mut lie).unwrap().is_empty());
    let error = decode::<Vec<Vec<()>>>(&lie, vec![]).unwrap_err();
    assert!(
        error.to_string().contains("longer than the message"),
        "{error}"
    );
}

/// Counts how much room is made ready for the elements of sequences.
#[derive(Debug)]
struct Counting(#[expect(dead_code, reason = "only decoded")] Vec<Counting>);
static READY: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
impl<'de> Deserialize<'de> for Counting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Counting, D::Error> {
        struct Elements;
        impl<'de> serde::de::Visitor<'de> for Elements {
            type Value = Counting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut access: A,
            ) -> Result<Counting, A::Error> {
                let hint = access.size_hint().unwrap_or_default();
                READY.fetch_add(hint, std::sync::atomic::Ordering::Relaxed);
                let mut elements = vec![];
                while let Some(element) = access.next_element()? {
                    elements.push(element);
                }
                Ok(Counting(elements))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

#[test]
fn what_is_made_ready_at_all_levels_together_is_no_more_than_the_message_has() {
    let bytes = [0xf0, 1].repeat(120);
    assert!(decode::<Counting>(&bytes, vec![]).is_err());
    let ready = READY.swap(0, std::sync::atomic::Ordering::Relaxed);
    assert!(ready <= bytes.len(), "{ready}");
    // And none too little: of sequences that are what they say.
    let mut honest = vec![100];
    honest.extend([3, 0, 0, 0].repeat(100));
    decode::<Counting>(&honest, vec![]).unwrap();
    assert_eq!(READY.load(std::sync::atomic::Ordering::Relaxed), 100 + 300);
}

/// Our serializer must write what postcard's writes, and ours read it.
#[test]
fn the_bytes_are_postcards() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        text: String,
        pair: (i8, i16),
        nothing: (),
        maybe: Option<Box<Nested>>,
        listed: Vec<Nested>,
        map: std::collections::BTreeMap<String, f32>,
        letter: char,
        big: (u128, i128, i64, u16, f64, bool),
    }
    let all = All {
        text: "text".into(),
        pair: (-1, -300),
        nothing: (),
        maybe: Some(Box::new(Nested::Leaf)),
        listed: vec![
            Nested::Paired((), Box::new(Nested::Leaf)),
            Nested::Named {
                maybe: None,
                room: [u64::MAX; 16],
            },
            Nested::Wrapped(Box::new(Wrapper(Nested::Leaf))),
            Nested::Mapped([(3, Nested::Leaf)].into()),
        ],
        map: [("a".to_string(), f32::NEG_INFINITY)].into(),
        letter: 'ß',
        big: (u128::MAX, i128::MIN, -5, 700, 0.5, true),
    };
    let mut bytes = vec![];
    assert!(encode(&all, &mut bytes).unwrap().is_empty());
    assert_eq!(bytes, postcard::to_stdvec(&all).unwrap());
    round_trip(&all);
    let address: std::net::SocketAddr = "[::1]:80".parse().unwrap();
    let mut bytes = vec![];
    assert!(encode(&address, &mut bytes).unwrap().is_empty());
    assert_eq!(bytes, postcard::to_stdvec(&address).unwrap());
}
