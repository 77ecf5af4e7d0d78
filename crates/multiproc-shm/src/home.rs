//! Where a shared primitive lives: a segment of its own, kept mapped as long as it must be.
//!
//! # Invariants
//!
//! 1. A process maps a primitive once, whatever handles to it arrive (`segment.rs`).
//! 2. The last handle of a process leaves the memory mapped where a thread of the process is in one of its
//!    lists: a guard may have been leaked. Handles are given up one at a time, so that one is the last.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::segment::{self, Contents, Segment};

/// What can live in a segment.
///
/// # Safety
/// Any bytes are a value of it, also while other processes write to them, and all zeroes is a new one.
pub(crate) unsafe trait Primitive {
    /// What its segment says it is; each has a number of its own.
    const KIND: u32;

    /// Whether a thread of this process has it in a list, so that it must stay mapped.
    fn is_used_by_this_process(&self) -> bool;
}

/// A handle to a primitive in shared memory.
pub(crate) struct Shared<P: Primitive>(Arc<Home<P>>);

struct Home<P: Primitive> {
    segment: ManuallyDrop<Arc<Segment>>,
    primitive: PhantomData<fn() -> P>,
}

impl<P: Primitive> Shared<P> {
    pub(crate) fn create() -> io::Result<Shared<P>> {
        Segment::create(Contents::of::<P>(P::KIND, 1)).map(Shared::new)
    }

    fn new(segment: Arc<Segment>) -> Shared<P> {
        Shared(Arc::new(Home {
            segment: ManuallyDrop::new(segment),
            primitive: PhantomData,
        }))
    }
}

impl<P: Primitive> Deref for Home<P> {
    type Target = P;

    fn deref(&self) -> &P {
        // SAFETY: the segment holds one `P`, aligned (`Contents`), which stays mapped while `self` lives;
        // any bytes are one, whoever writes to them, says `Primitive`.
        unsafe { &*self.segment.base().cast::<P>() }
    }
}

impl<P: Primitive> Deref for Shared<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.0
    }
}

impl<P: Primitive> Clone for Shared<P> {
    fn clone(&self) -> Shared<P> {
        Shared(Arc::clone(&self.0))
    }
}

impl<P: Primitive> Drop for Home<P> {
    fn drop(&mut self) {
        /// Held while a handle is given up.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let is_last = Arc::strong_count(&self.segment) == 1;
        if !(is_last && self.is_used_by_this_process()) {
            // SAFETY: not used again.
            unsafe { ManuallyDrop::drop(&mut self.segment) };
        }
        drop(one_at_a_time);
    }
}

impl<P: Primitive> Serialize for Shared<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        segment::serialize(&self.0.segment, serializer)
    }
}

impl<'de, P: Primitive> Deserialize<'de> for Shared<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let segment = segment::deserialize(deserializer, Contents::of::<P>(P::KIND, 1))?;
        if segment.contents().length != 1 {
            return Err(de::Error::custom(
                "the received segment holds another number of elements than expected",
            ));
        }
        Ok(Shared::new(segment))
    }
}

impl<P: Primitive> fmt::Debug for Shared<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
