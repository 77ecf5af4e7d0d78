//! How many may read a run of bytes that was lent: one word in its memory, which the sender of the bytes raises and
//! their receivers lower.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | 0 | nobody: who owns the memory may write to it, if nothing in its own process is about to send what is there |
//! | n | n sendings that were not given back |
//!
//! # Invariants
//!
//! 1. It is raised before a receiver can look, and lowered once for each sending, when its receiver will not look again. It
//!    never goes below 0: a receiver that gives back too often has no more of it.
//! 2. A receiver that dies gives nothing back. The word then stays above 0 for good: the owner does not use that memory
//!    again, and lets it go when it learns of the death, or makes room.

#![cfg_attr(
    not(loom),
    expect(unreachable_pub, reason = "reached from outside by the models alone")
)]

use multiproc_sync::primitive::{AtomicU32, Ordering};

/// See the module's documentation. All zeroes is one that nobody holds.
#[repr(transparent)]
#[derive(Debug)]
pub struct Holders(AtomicU32);

impl Holders {
    /// Of memory that nobody holds.
    #[cfg(loom)]
    #[expect(clippy::new_without_default, reason = "of models only")]
    pub fn new() -> Holders {
        Holders(AtomicU32::new(0))
    }

    /// One sending more.
    pub fn raise(&self) {
        // Relaxed: the receiver learns of it by the message, which is published after; who asks whether somebody
        // holds it is who raises.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A sending whose receiver will not look again.
    pub fn lower(&self) {
        // Release: what was read was read before; pairs with Acquire in `are_none`.
        let mut count = self.0.load(Ordering::Relaxed);
        while let Some(less) = count.checked_sub(1) {
            let lowered =
                self.0
                    .compare_exchange(count, less, Ordering::Release, Ordering::Relaxed);
            match lowered {
                Ok(_) => return,
                Err(now) => count = now,
            }
        }
    }

    /// Whether nobody holds it.
    #[must_use]
    pub fn are_none(&self) -> bool {
        // Acquire: all reads are over; pairs with Release in `lower`. Other lowerings in between are of the same
        // release sequence.
        self.0.load(Ordering::Acquire) == 0
    }
}
