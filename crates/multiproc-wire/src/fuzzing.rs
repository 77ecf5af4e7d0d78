//! Decoders of what peers send, as functions of bytes: for tests and fuzzers.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, OwnedHandle};
use multiproc_sys::map;
use multiproc_sys::socket::{MAX_BYTES, Socket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Decoder, Descriptor, Failure, Link, Panic, decode, encode};

/// Types of every kind, some of which nest without end.
#[derive(Debug, Serialize, Deserialize)]
pub enum Zoo {
    /// Nothing.
    Unit,
    /// Nested through a box.
    Boxed(Box<Zoo>),
    /// Nested through a sequence.
    Many(Vec<Zoo>),
    /// Nested through a map and an option.
    Named {
        /// A map.
        map: HashMap<String, Zoo>,
        /// An option.
        maybe: Option<Box<Zoo>>,
    },
    /// Scalars.
    Scalars(bool, i8, u16, i32, u64, i128, f32, f64, char),
    /// Elements that take no byte.
    Empty(Vec<()>),
    /// Elements that are larger decoded than encoded.
    Swelling(Vec<Option<[u64; 16]>>),
    /// Handles.
    Handles(Vec<Descriptor>, Option<Descriptor>),
    /// What errors and panics are.
    Errors(Failure, Panic),
    /// Other collections.
    Sets(HashSet<u32>, BTreeMap<i64, String>, std::time::Duration),
}

/// Good messages, for [`codec`].
///
/// # Panics
/// Where one cannot be encoded.
#[must_use]
pub fn codec_seeds() -> Vec<Vec<u8>> {
    let zoo = || {
        vec![
            Zoo::Unit,
            Zoo::Boxed(Box::new(Zoo::Many(vec![Zoo::Unit, Zoo::Unit]))),
            Zoo::Named {
                map: HashMap::from([("key".into(), Zoo::Unit)]),
                maybe: Some(Box::new(Zoo::Empty(vec![(); 300]))),
            },
            Zoo::Scalars(
                true,
                -1,
                300,
                -70_000,
                u64::MAX,
                i128::MIN,
                0.5,
                f64::NAN,
                'ß',
            ),
            Zoo::Swelling(vec![None, Some([u64::MAX; 16])]),
            Zoo::Errors(
                Failure::from("broken"),
                Panic {
                    message: "it".into(),
                    location: Some("here".into()),
                    backtrace: None,
                },
            ),
            Zoo::Sets(
                [5, 6].into(),
                [(-1, "one".into())].into(),
                std::time::Duration::MAX,
            ),
        ]
    };
    let handle = Descriptor::shared(handle());
    let values = zoo().into_iter().chain([
        Zoo::Many(zoo()),
        Zoo::Handles(vec![handle.clone(); 3], Some(handle)),
    ]);
    let encoded = values.map(|value| {
        let mut bytes = vec![];
        encode(&value, &mut bytes).expect("it can be encoded");
        bytes
    });
    encoded.collect()
}

thread_local! {
    static HANDLE: OnceCell<Arc<OwnedHandle>> = const { OnceCell::new() };
    static FRAMES: OnceCell<(Socket, Link, OwnedHandle)> = const { OnceCell::new() };
}

fn handle() -> Arc<OwnedHandle> {
    HANDLE.with(|handle| {
        let open = || Arc::new(File::open("/dev/null").expect("it is there").into());
        Arc::clone(handle.get_or_init(open))
    })
}

/// A message of a value, or several, with two handles.
pub fn codec(bytes: &[u8]) {
    fn one<T: DeserializeOwned>(bytes: &[u8]) {
        drop(decode::<T>(bytes, vec![handle(), handle()]));
    }
    one::<Zoo>(bytes);
    one::<Vec<Zoo>>(bytes);
    one::<Failure>(bytes);
    one::<(u32, String, Vec<Descriptor>)>(bytes);
    one::<serde_json_like::Value>(bytes);
    let mut decoder = Decoder::new(bytes, vec![handle()]);
    while decoder.decode::<(Option<u16>, Zoo)>().is_ok() && !decoder.rest().is_empty() {}
}

/// Nested through newtypes and tuples.
mod serde_json_like {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only decoded")]
    pub(super) struct Value((Vec<Value>, Option<Inner>));

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only decoded")]
    struct Inner(Box<Value>);
}

/// Good frames, for [`frame`].
#[must_use]
pub fn frame_seeds() -> Vec<Vec<u8>> {
    let frame = |with_memory: u8, apart: u8, length: u64, body: &[u8]| {
        [&[with_memory, 7, apart][..], &length.to_le_bytes(), body].concat()
    };
    vec![
        frame(0, 0, 4, b"body"),
        frame(0, 0, 0, b""),
        frame(1, 1, 5, b""),
        frame(1, 0, 2, b"ab"),
    ]
}

/// A message on a link, behind a byte that says whether five bytes of memory come with it.
///
/// # Panics
/// Where there is no memory, or no room in an empty socket.
pub fn frame(bytes: &[u8]) {
    let Some((with_memory, message)) = bytes.split_first() else {
        return;
    };
    FRAMES.with(|frames| {
        let (socket, link, memory) = frames.get_or_init(|| {
            let (one, two) = Socket::pair().expect("a pair of sockets");
            (one, Link::new(two), map::create(5).expect("five bytes"))
        });
        let handles = [memory.as_handle()];
        let handles = &handles[..usize::from(with_memory & 1)];
        let message = &message[..message.len().min(MAX_BYTES)];
        socket
            .send(message, handles, Deadline::now())
            .expect("it has room");
        drop(link.receive(Deadline::now()));
    });
}

#[cfg(test)]
mod tests;
