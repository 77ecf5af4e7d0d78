//! Segments: shared memory that describes itself, mapped once in each process that has it.
//!
//! # Invariants
//!
//! 1. The fields at the head of [`layout`] are written before the memory is given to anybody, and read once by
//!    each process that maps it, into private memory; they are checked against the memory's true length, which
//!    the kernel keeps (it is sealed against resizing, unless it is a file). Nothing read later acts as a
//!    length or an offset.
//! 2. A process maps the same segment once: a handle that arrives again finds the mapping by its id. Where its sender
//!    has the receiver keep it (`multiproc_wire::handoff`), it stays mapped in between.
//! 3. Memory in which a thread of this process holds a lock, or any other word, is never unmapped: its guard
//!    may have been leaked, and the kernel and the thread's list still point there. What is held is known
//!    privately (`multiproc_sys::robust`): no peer can have it forgotten.
//! 4. A new segment has an id that no other had, and is zeroed up to its contents at least, also where its memory
//!    was that of another (`spare.rs`). Memory is put aside for that once it is unmapped, by who made it, and
//!    used again when the kernel says that nobody has the old segment.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::slice;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Once, OnceLock};

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_sys::robust;
use multiproc_wire::handoff::{self, Identity};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::lending::{Lending, Slot, Words};
use crate::registry::{Registry, random_id};

mod frozen;
mod layout;
mod memory;
mod spare;

pub(crate) use frozen::FrozenSegment;
pub(crate) use layout::Contents;
use layout::{Fields, SLOTS, WORDS};
use memory::Made;
pub(crate) use memory::Memory;
pub(crate) use spare::making_room;
pub use spare::release_spare_memory;

/// Shared memory with a header, a lock and contents.
pub(crate) struct Segment {
    handle: ManuallyDrop<Arc<OwnedHandle>>,
    mapping: ManuallyDrop<Mapping>,
    /// Whether it was made here, of memory that another segment may be made of later.
    reclaimable: bool,
    contents: Contents,
    /// Where the contents begin.
    offset: usize,
    id: [u64; 2],
    identity: Identity,
    /// Which slot this process used last.
    slot_hint: AtomicUsize,
    /// What a dead process may have left in the contents, given its number, where they are more than elements.
    pub(crate) sweep: OnceLock<fn(&Segment, u32)>,
}

static MAPPED: Registry<Segment> = Registry::new();
/// Has all segments looked at when a child has ended.
static SWEPT: Once = Once::new();

impl Segment {
    /// A new segment with zeroed contents.
    pub(crate) fn create(contents: Contents) -> io::Result<Arc<Segment>> {
        Segment::create_with(contents, &Memory::default())
    }

    /// A new segment with zeroed contents, in memory of this kind.
    pub(crate) fn create_with(contents: Contents, memory: &Memory) -> io::Result<Arc<Segment>> {
        let size = contents.check()?;
        Segment::create_zeroing(contents, memory, size)
    }

    /// A new segment whose contents are whatever they are: the caller fills them before anybody sees them.
    pub(crate) fn create_unfilled(contents: Contents, memory: &Memory) -> io::Result<Arc<Segment>> {
        Segment::create_zeroing(contents, memory, contents.offset())
    }

    fn create_zeroing(
        contents: Contents,
        memory: &Memory,
        zeroed: usize,
    ) -> io::Result<Arc<Segment>> {
        let size = contents.check()?;
        robust::available()?;
        let made = memory.create(size, zeroed)?;
        let id = random_id();
        made.mapping
            .write(0, bytemuck::bytes_of(&contents.to_fields(id)));
        Ok(Segment::enter(made, contents, id))
    }

    /// The segment behind a handle that was received, made sure to be `id` and of this kind.
    fn open(handle: Arc<OwnedHandle>, id: [u64; 2]) -> io::Result<Arc<Segment>> {
        if let Some(known) = MAPPED.get(id) {
            return Ok(known);
        }
        let refuse = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let size = map::length(&handle).or_else(|why| match map::file_length(&handle) {
            Ok(size) => Ok(size),
            Err(_) => Err(why),
        })?;
        if size < SLOTS {
            return Err(refuse("the received memory is too short for a segment"));
        }
        let mapping = Mapping::new(&handle, size).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => refuse("the received memory was frozen meanwhile"),
            _ => error,
        })?;
        let mut bytes = Vec::new();
        mapping.read(0, size_of::<Fields>(), &mut bytes);
        let contents = Contents::from_fields(bytemuck::pod_read_unaligned(&bytes), id, size)?;
        let made = Made {
            handle,
            mapping,
            reclaimable: false,
        };
        Ok(Segment::enter(made, contents, id))
    }

    fn enter(made: Made, contents: Contents, id: [u64; 2]) -> Arc<Segment> {
        let segment = Segment {
            handle: ManuallyDrop::new(made.handle),
            mapping: ManuallyDrop::new(made.mapping),
            reclaimable: made.reclaimable,
            contents,
            offset: contents.offset(),
            id,
            identity: Identity::default(),
            slot_hint: AtomicUsize::new(0),
            sweep: OnceLock::new(),
        };
        SWEPT.call_once(|| robust::on_process_end(Segment::sweep_all));
        MAPPED.enter(id, segment.into())
    }

    /// Sees to what `process`, which has ended, held in any segment that this process has, where the kernel has
    /// not.
    fn sweep_all(process: u32) {
        for segment in MAPPED.all() {
            segment.words().lock.sweep(process);
            for slot in segment.slots() {
                slot.lock.sweep(process);
            }
            if let Some(sweep) = segment.sweep.get() {
                sweep(&segment, process);
            }
        }
    }

    #[inline]
    pub(crate) fn contents(&self) -> Contents {
        self.contents
    }

    /// The first byte of the contents, at a multiple of their elements' alignment.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.mapping.as_ptr().wrapping_add(self.offset)
    }

    #[inline]
    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    pub(crate) fn words(&self) -> &Words {
        let words = self.mapping.as_ptr().wrapping_add(WORDS).cast::<Words>();
        // SAFETY: inside the mapping, which is at least `SLOTS` long and lives as long as `self`; aligned,
        // since the mapping is to a page and 64 is a multiple of 8; and made of atomics only, of which any
        // bytes are values, whoever writes to them.
        unsafe { &*words }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn slots(&self) -> &[Slot] {
        let first = self.mapping.as_ptr().wrapping_add(SLOTS).cast::<Slot>();
        // SAFETY: `Contents` has made sure that the mapping is as long, which lives as long as `self`;
        // aligned, since 192 is a multiple of 64; and made of atomics only.
        unsafe { slice::from_raw_parts(first, self.contents.slots()) }
    }

    pub(crate) fn lending(&self) -> Lending<'_> {
        Lending {
            words: self.words(),
            slots: self.slots(),
            hint: &self.slot_hint,
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        MAPPED.leave(self.id);
        let size = self.mapping.len();
        // SAFETY: not used again.
        let handle = unsafe { ManuallyDrop::take(&mut self.handle) };
        if robust::holds_within(self.mapping.as_ptr(), self.mapping.len()) {
            return;
        }
        // SAFETY: not used again; no list of this process points into it (Invariant 3).
        unsafe { ManuallyDrop::drop(&mut self.mapping) };
        // A message that is not sent yet, or what is being frozen, may have the handle too.
        if self.reclaimable
            && let Some(handle) = Arc::into_inner(handle)
        {
            spare::keep(handle, size);
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}

impl Segment {
    /// As it travels: one more handle, for the receiver of the message. An error in any other format.
    pub(crate) fn sent(&self) -> Sent<'_> {
        Sent {
            handle: &self.handle,
            identity: &self.identity,
            id: self.id,
        }
    }
}

pub(crate) struct Sent<'a> {
    handle: &'a Arc<OwnedHandle>,
    identity: &'a Identity,
    id: [u64; 2],
}

impl Serialize for Sent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle =
            handoff::put_lasting(self.handle, self.identity).map_err(ser::Error::custom)?;
        let id = self.id;
        Travelling { handle, id }.serialize(serializer)
    }
}

/// The index of a segment's handle in the message, and the segment's id.
#[derive(Serialize, Deserialize)]
struct Travelling {
    handle: u32,
    id: [u64; 2],
}

/// What has arrived, and may or may not be a segment.
pub(crate) struct Received {
    index: u32,
    handle: Arc<OwnedHandle>,
    id: [u64; 2],
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Travelling { handle: index, id } = Travelling::deserialize(deserializer)?;
        let handle = handoff::take(index).map_err(de::Error::custom)?;
        Ok(Received { index, handle, id })
    }
}

impl Received {
    /// The segment, made sure to hold elements as `expected` says, of whatever length.
    pub(crate) fn open<E: de::Error>(self, expected: Contents) -> Result<Arc<Segment>, E> {
        let kept = handoff::opened::<Segment>(self.index).filter(|kept| kept.id == self.id);
        let segment = match kept {
            Some(kept) => kept,
            None => {
                let opened = Segment::open(self.handle, self.id).map_err(E::custom)?;
                let _kept = handoff::keep(self.index, &opened);
                opened
            }
        };
        expected.check_received(segment.contents)?;
        Ok(segment)
    }

    /// As [`open`](Self::open), made sure to be frozen.
    pub(crate) fn open_frozen<E: de::Error>(
        self,
        expected: Contents,
    ) -> Result<Arc<FrozenSegment>, E> {
        let segment = FrozenSegment::open(self.handle, self.id).map_err(E::custom)?;
        let _kept = handoff::keep(self.index, &segment);
        expected.check_received(segment.contents())?;
        Ok(segment)
    }
}
