//! Segments that nobody can write to any more.
//!
//! # Invariants
//!
//! 1. A mapping of one exists only where the kernel has said that the memory is sealed against writing; the
//!    seal cannot be undone. So what is read of it never changes, whatever any process does.
//! 2. Its fields are those of the segment that it was.

use std::fmt;
use std::io;
use std::sync::Arc;

use multiproc_sync::Held;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Frozen};
use multiproc_wire::handoff::Identity;

use super::layout::{Fields, SLOTS, WORDS};
use super::{Contents, Memory, Segment, Sent};
use crate::lending::Words;
use crate::registry::Registry;
use crate::tenure::Tenure;

/// Memory with a header and contents that never change.
pub(crate) struct FrozenSegment {
    handle: Arc<OwnedHandle>,
    mapping: Frozen,
    contents: Contents,
    id: [u64; 2],
    identity: Identity,
}

static MAPPED: Registry<FrozenSegment> = Registry::new();

/// What became of a segment that could not be frozen; nothing, where it was and could not be mapped again.
pub(crate) type NotFrozen = (Option<Arc<Segment>>, io::Error);

impl Segment {
    /// The same memory, frozen, where nobody has another mapping of it; a copy otherwise, made under the lock.
    pub(crate) fn freeze(self: Arc<Segment>) -> Result<Arc<FrozenSegment>, NotFrozen> {
        let (handle, id) = (Arc::<OwnedHandle>::clone(&self.handle), self.id);
        let segment = match Arc::try_unwrap(self) {
            Err(shared) => shared,
            Ok(alone) => {
                // Unmapped with this, unless a guard was leaked.
                drop(alone);
                if matches!(map::freeze(&handle), Ok(true)) {
                    return FrozenSegment::open(handle, id).map_err(|error| (None, error));
                }
                Segment::open(handle, id).map_err(|error| (None, error))?
            }
        };
        segment
            .frozen_copy()
            .map_err(|error| (Some(segment), error))
    }

    fn frozen_copy(self: &Arc<Segment>) -> io::Result<Arc<FrozenSegment>> {
        let copy = Segment::create_unfilled(self.contents, &Memory::default())?;
        // A holder that died in the meantime leaves its poison in the copy.
        let tenure = Tenure::take(self);
        if let Held::Poisoned { owner } = tenure.held() {
            copy.words().lock.poison_for(owner);
        }
        let length = self.contents.length * self.contents.element_size;
        // SAFETY: both have room for as many bytes; who has the tenure is alone with the one, and the other
        // is fresh and nobody else's.
        unsafe { self.base().copy_to_nonoverlapping(copy.base(), length) };
        drop(tenure);
        copy.freeze().map_err(|(_, error)| error)
    }
}

impl FrozenSegment {
    pub(super) fn open(handle: Arc<OwnedHandle>, id: [u64; 2]) -> io::Result<Arc<FrozenSegment>> {
        if let Some(known) = MAPPED.get(id) {
            return Ok(known);
        }
        let mapping = Frozen::map(&handle)?;
        let fields = mapping.get(..size_of::<Fields>());
        let fields = fields.filter(|_| mapping.len() >= SLOTS).ok_or_else(|| {
            let why = "the received memory is too short for a segment";
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        let fields = bytemuck::pod_read_unaligned(fields);
        let contents = Contents::from_fields(fields, id, mapping.len())?;
        let segment = FrozenSegment {
            handle,
            mapping,
            contents,
            id,
            identity: Identity::default(),
        };
        Ok(MAPPED.enter(id, segment.into()))
    }

    pub(crate) fn contents(&self) -> Contents {
        self.contents
    }

    /// As it travels.
    pub(crate) fn sent(&self) -> Sent<'_> {
        Sent {
            handle: &self.handle,
            identity: &self.identity,
            id: self.id,
        }
    }

    /// The contents, at a multiple of their elements' alignment.
    pub(crate) fn bytes(&self) -> &[u8] {
        let length = self.contents.length * self.contents.element_size;
        &self.mapping[self.contents.offset()..][..length]
    }

    /// Whether a holder of the lock had died or panicked.
    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    pub(crate) fn is_poisoned(&self) -> bool {
        let words = self.mapping[WORDS..].as_ptr().cast::<Words>();
        // SAFETY: inside the mapping, which is at least `SLOTS` long; aligned, since the mapping is to a page
        // and 64 is a multiple of 8; made of atomics only, of which any bytes are values, and which are
        // loaded only, as memory that is mapped to be read allows.
        unsafe { &*words }.lock.is_poisoned()
    }
}

impl Drop for FrozenSegment {
    fn drop(&mut self) {
        MAPPED.leave(self.id);
    }
}

impl fmt::Debug for FrozenSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenSegment")
            .field("contents", &self.contents)
            .finish_non_exhaustive()
    }
}
