//! How a side declares that it is about to sleep, and how the other side finds that out.
//!
//! Parking and waiting are apart: after [`Park::sleep`] a side waits on whatever it likes (its word in
//! the ring as a futex, a descriptor, a bell that serves many rings) and withdraws its declaration
//! afterwards. README.md proves that no wake-up is lost.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | [`AWAKE`] | its owner looks by itself |
//! | [`PARKED`] | its owner sleeps on this word, or is about to: who changes this to [`AWAKE`] wakes it |
//! | any other | the same, but it sleeps on something else, which the value names |
//!
//! # Orderings
//!
//! Both sides write, pass a sequentially consistent fence, and read what the other has written: the
//! owner its word and then the position, the peer the position and then the word. Of two fences one
//! comes first, so at least one of the two sees the other's write. The word itself is Relaxed
//! throughout: it guards no data, positions do.

use multiproc_sync::primitive::{AtomicU32, Ordering, fence};

/// The value of a side's word while that side looks by itself.
pub const AWAKE: u32 = 0;

/// The value of a side's word while that side sleeps; what a futex wait expects there.
pub const PARKED: u32 = 1;

/// What to do after a side has declared that it is about to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a peer may have to be woken, and the declaration has to be withdrawn"]
pub struct Park {
    /// Sleep: what was waited for is not there, and the peer will wake this side when it is. Otherwise
    /// look again.
    pub sleep: bool,
    /// The peer sleeps and waits for what this side had not told it yet. Wake it first.
    pub wake_peer: bool,
}

/// Declares that the word's owner is about to sleep. What it waits for is to be looked at after this.
pub(super) fn declare(word: &AtomicU32, place: u32) {
    word.store(place, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// Withdraws the declaration, and says whether the peer has taken it: a wake-up was sent then, or is on
/// its way.
pub(super) fn withdraw(word: &AtomicU32) -> bool {
    word.swap(AWAKE, Ordering::Relaxed) == AWAKE
}

/// For the peer, after it has published: where the word's owner sleeps, or [`AWAKE`]. The owner is then
/// the caller's to wake: it is told once for each declaration.
#[must_use = "who sleeps has to be woken"]
pub fn take(word: &AtomicU32) -> u32 {
    fence(Ordering::SeqCst);
    let place = word.load(Ordering::Relaxed);
    if place == AWAKE {
        return AWAKE;
    }
    match word.compare_exchange(place, AWAKE, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(place) => place,
        // Withdrawn meanwhile.
        Err(_) => AWAKE,
    }
}
