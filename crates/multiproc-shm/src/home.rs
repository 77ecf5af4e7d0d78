//! Where a shared primitive lives: a segment of its own, which stays mapped as long as a thread of this
//! process has a word of it in its list (`segment.rs`).

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::segment::{Contents, Received, Segment};

/// What can live in a segment.
///
/// # Safety
/// Any bytes are a value of it, also while other processes write to them, and all zeroes is a new one.
pub(crate) unsafe trait Primitive {
    /// What its segment says it is; each has a number of its own.
    const KIND: u32;

    /// Sees to what `process`, which has ended, has left in it and the kernel has not.
    fn sweep(&self, process: u32);
}

/// A handle to a primitive in shared memory.
pub(crate) struct Shared<P> {
    segment: Arc<Segment>,
    primitive: PhantomData<fn() -> P>,
}

impl<P: Primitive> Shared<P> {
    pub(crate) fn create() -> io::Result<Shared<P>> {
        Segment::create(Contents::of::<P>(P::KIND, 1)).map(Shared::new)
    }

    /// Of a segment that holds one `P`.
    fn new(segment: Arc<Segment>) -> Shared<P> {
        let sweep: fn(&Segment, u32) = |segment, process| view::<P>(segment).sweep(process);
        // Another handle may have said so.
        let _same = segment.sweep.set(sweep);
        let primitive = PhantomData;
        Shared { segment, primitive }
    }
}

/// What is in a segment that holds one `P`.
fn view<P: Primitive>(segment: &Segment) -> &P {
    // SAFETY: the segment holds one `P`, aligned (`Contents`), and stays mapped as long as it; any bytes are
    // one, whoever writes to them, says `Primitive`.
    unsafe { &*segment.base().cast::<P>() }
}

impl<P: Primitive> Deref for Shared<P> {
    type Target = P;

    fn deref(&self) -> &P {
        view(&self.segment)
    }
}

impl<P> Clone for Shared<P> {
    fn clone(&self) -> Shared<P> {
        Shared {
            segment: Arc::clone(&self.segment),
            primitive: PhantomData,
        }
    }
}

impl<P> Serialize for Shared<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.segment.sent().serialize(serializer)
    }
}

impl<'de, P: Primitive> Deserialize<'de> for Shared<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let received = Received::deserialize(deserializer)?;
        let segment: Arc<Segment> = received.open(Contents::of::<P>(P::KIND, 1))?;
        if segment.contents().length != 1 {
            return Err(de::Error::custom(
                "the received segment holds another number of elements than expected",
            ));
        }
        Ok(Shared::new(segment))
    }
}

impl<P> fmt::Debug for Shared<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
