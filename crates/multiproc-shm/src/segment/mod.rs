//! Segments: shared memory that describes itself, mapped once in each process that has it.
//!
//! # Layout
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..8 | magic | `mpshared` |
//! | 8..12 | version | [`VERSION`]; a process refuses any other |
//! | 12..16 | kind | what the contents are, the user's number |
//! | 16..32 | id | random; equal means the same memory |
//! | 32..40 | length | elements |
//! | 40..48 | element size | bytes |
//! | 48..56 | element alignment | bytes |
//! | 56..96 | lock | [`LockWord`] |
//! | 128.. | contents | at a multiple of the element's alignment |
//!
//! # Invariants
//!
//! 1. The first 56 bytes are written before the memory is given to anybody, and read once by each process
//!    that maps it, into private memory; they are checked against the memory's true length, which the
//!    kernel keeps (it is sealed against resizing). Nothing read later acts as a length or an offset.
//! 2. A process maps the same segment once: a handle that arrives again finds the mapping by its id.
//! 3. Memory in which a thread of this process holds a lock, or any other word, is never unmapped: its guard
//!    may have been leaked, and the kernel and the thread's list still point there. What is held is known
//!    privately (`multiproc_sys::robust`): no peer can have it forgotten.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::mem::{ManuallyDrop, offset_of};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use multiproc_sync::LockWord;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_sys::robust;
use multiproc_wire::handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

const MAGIC: u64 = u64::from_le_bytes(*b"mpshared");
const VERSION: u32 = 1;
/// Where contents begin, for elements aligned no more strictly than this.
const CONTENTS: usize = 128;
/// A page: a mapping is aligned no more strictly.
const MAX_ALIGN: usize = 4096;

#[repr(C)]
struct Header {
    magic: u64,
    version: u32,
    kind: u32,
    id: [u64; 2],
    length: u64,
    element_size: u64,
    element_align: u64,
    lock: LockWord,
}

const _: () = assert!(size_of::<Header>() == 96 && offset_of!(Header, lock) == 56);

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) kind: u32,
    pub(crate) length: usize,
    pub(crate) element_size: usize,
    pub(crate) element_align: usize,
}

impl Contents {
    pub(crate) fn of<T>(kind: u32, length: usize) -> Contents {
        Contents {
            kind,
            length,
            element_size: size_of::<T>(),
            element_align: align_of::<T>(),
        }
    }

    fn offset(self) -> usize {
        CONTENTS.max(self.element_align)
    }

    /// The size of the whole segment.
    fn size(self) -> Option<usize> {
        let bytes = self.length.checked_mul(self.element_size)?;
        // A Rust object is at most this long.
        bytes
            .checked_add(self.offset())
            .filter(|size| isize::try_from(*size).is_ok())
    }
}

/// Shared memory with a header, a lock and contents.
pub(crate) struct Segment {
    handle: Arc<OwnedHandle>,
    mapping: ManuallyDrop<Mapping>,
    contents: Contents,
    id: [u64; 2],
}

/// The segments that are mapped in this process.
static MAPPED: OnceLock<Mutex<HashMap<[u64; 2], Weak<Segment>>>> = OnceLock::new();

fn mapped() -> MutexGuard<'static, HashMap<[u64; 2], Weak<Segment>>> {
    MAPPED
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

impl Segment {
    /// A new segment with zeroed contents.
    pub(crate) fn create(contents: Contents) -> io::Result<Arc<Segment>> {
        let too_large = || {
            let Contents {
                length,
                element_size,
                ..
            } = contents;
            let why =
                format!("{length} elements of {element_size} bytes are more than memory can hold");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        if contents.element_align > MAX_ALIGN {
            let why = format!(
                "elements aligned to {} bytes cannot be shared",
                contents.element_align
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let size = contents.size().ok_or_else(too_large)?;
        robust::available()?;
        let handle = map::create(size)?;
        let mapping = Mapping::new(&handle, size)?;
        let id = random_id();
        let [one, two] = id;
        let fields: [u64; 7] = [
            MAGIC,
            u64::from(VERSION) | u64::from(contents.kind) << 32,
            one,
            two,
            contents.length as u64,
            contents.element_size as u64,
            contents.element_align as u64,
        ];
        mapping.write(0, bytemuck::bytes_of(&fields));
        Ok(Segment::enter(handle.into(), mapping, contents, id))
    }

    /// The segment behind a handle that was received, made sure to be `id` and of this kind.
    fn open(handle: Arc<OwnedHandle>, id: [u64; 2]) -> io::Result<Arc<Segment>> {
        let known = mapped().get(&id).and_then(Weak::upgrade);
        if let Some(segment) = known {
            return Ok(segment);
        }
        let refuse = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let size = map::length(&handle)?;
        if size < CONTENTS {
            return Err(refuse("the received memory is too short for a segment"));
        }
        let mapping = Mapping::new(&handle, size)?;
        let mut bytes = Vec::new();
        mapping.read(0, offset_of!(Header, lock), &mut bytes);
        let fields: [u64; 7] = bytemuck::pod_read_unaligned(&bytes);
        let [
            magic,
            version_and_kind,
            one,
            two,
            length,
            element_size,
            element_align,
        ] = fields;
        if magic != MAGIC || version_and_kind & u64::from(u32::MAX) != u64::from(VERSION) {
            return Err(refuse("the received memory is no segment of this version"));
        }
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let contents = Contents {
            kind: u32::try_from(version_and_kind >> 32).unwrap_or(u32::MAX),
            length: number(length),
            element_size: number(element_size),
            element_align: number(element_align),
        };
        if !contents.element_align.is_power_of_two() || contents.element_align > MAX_ALIGN {
            return Err(refuse("the received segment's alignment is none"));
        }
        if contents.size() != Some(size) || [one, two] != id {
            return Err(refuse("the received segment is not what its header says"));
        }
        Ok(Segment::enter(handle, mapping, contents, id))
    }

    fn enter(
        handle: Arc<OwnedHandle>,
        mapping: Mapping,
        contents: Contents,
        id: [u64; 2],
    ) -> Arc<Segment> {
        let mapping = ManuallyDrop::new(mapping);
        let segment = Arc::new(Segment {
            handle,
            mapping,
            contents,
            id,
        });
        let mut mapped = mapped();
        // Another thread may have mapped it meanwhile: the first stays, and ours is unmapped.
        let known = mapped.get(&id).and_then(Weak::upgrade);
        if let Some(known) = known {
            drop(mapped);
            return known;
        }
        mapped.insert(id, Arc::downgrade(&segment));
        segment
    }

    pub(crate) fn contents(&self) -> Contents {
        self.contents
    }

    /// The first byte of the contents, at a multiple of their elements' alignment.
    pub(crate) fn base(&self) -> *mut u8 {
        self.mapping.as_ptr().wrapping_add(self.contents.offset())
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    pub(crate) fn lock(&self) -> &LockWord {
        let lock = self
            .mapping
            .as_ptr()
            .wrapping_add(offset_of!(Header, lock))
            .cast::<LockWord>();
        // SAFETY: inside the mapping, which is at least as long as the header and lives as long as
        // `self`; aligned, since the mapping is to a page and 56 is a multiple of 8; and made of atomics
        // only, of which any bytes are values, whoever writes to them.
        unsafe { &*lock }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let mut mapped = mapped();
        // The id may stand for a younger mapping of the same memory.
        if mapped
            .get(&self.id)
            .is_some_and(|known| known.strong_count() == 0)
        {
            mapped.remove(&self.id);
        }
        drop(mapped);
        if robust::holds_within(self.mapping.as_ptr(), self.mapping.len()) {
            return;
        }
        // SAFETY: not used again; no list of this process points into it (Invariant 3).
        unsafe { ManuallyDrop::drop(&mut self.mapping) };
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}

/// 128 bits from the standard library's source of hash keys, which the system's generator seeds.
fn random_id() -> [u64; 2] {
    [(); 2].map(|()| RandomState::new().build_hasher().finish())
}

/// A segment as it travels: the index of its handle, and its id.
#[derive(Serialize, Deserialize)]
struct Travelling {
    handle: u32,
    id: [u64; 2],
}

pub(crate) fn serialize<S: Serializer>(
    segment: &Segment,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let handle = handoff::put(&segment.handle).map_err(ser::Error::custom)?;
    Travelling {
        handle,
        id: segment.id,
    }
    .serialize(serializer)
}

/// The segment, made sure to hold elements as `expected` says, of whatever length.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: Contents,
) -> Result<Arc<Segment>, D::Error> {
    let Travelling { handle, id } = Travelling::deserialize(deserializer)?;
    let handle = handoff::take(handle).map_err(de::Error::custom)?;
    let segment = Segment::open(handle, id).map_err(de::Error::custom)?;
    let found = segment.contents();
    if found
        != (Contents {
            length: found.length,
            ..expected
        })
    {
        return Err(de::Error::custom(
            "the received segment holds other elements than expected",
        ));
    }
    Ok(segment)
}
