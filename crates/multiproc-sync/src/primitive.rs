//! What the algorithms of this crate are made of: atomics, waiting on words, and words that tell of
//! their holder's death. For the crates of this workspace; not a stable interface.
//!
//! This is the only path by which they are imported, so that `--cfg loom` can put a model in their
//! place: loom's atomics, a futex over loom's mutex and condition variable, and a kernel that
//! handles deaths as the real one does. `model::mortal` lets a test end a thread at any step.
//!
//! A thread has one robust word announced at a time: an operation on a second one, between the
//! announcement of the first and its link or retraction, leaves the first unannounced.

#![expect(
    unsafe_code,
    reason = "a word is made of zeroes, and the model follows raw pointers to words"
)]

#[cfg(loom)]
pub mod model;

#[cfg(not(loom))]
mod real {
    //! The platform's own.

    pub use std::hint::spin_loop;
    pub use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, fence};

    pub use multiproc_sys::identity::Identity;
    pub use multiproc_sys::robust::{RobustWord, process_id, thread_id};

    /// Waiting on words and waking those who wait.
    pub mod futex {
        pub use multiproc_sys::futex::{wait, wait_any, wake};
    }
}

pub use std::sync::atomic::Ordering;

pub use multiproc_sys::clock::Deadline;
pub use multiproc_sys::futex::Woken;
pub use multiproc_sys::robust::{OWNER_DIED, THREAD_ID, Until, WAITERS};

#[cfg(loom)]
pub use model::{
    AtomicU32, AtomicU64, AtomicUsize, Identity, RobustWord, fence, futex, process_id, spin_loop,
    thread_id,
};
#[cfg(not(loom))]
pub use real::{
    AtomicU32, AtomicU64, AtomicUsize, Identity, RobustWord, fence, futex, process_id, spin_loop,
    thread_id,
};

/// The cheap one of two [`heavy_fence`]s, for the side that passes it all the time. `registered`: this process
/// [has](register_for_heavy_fences) agreed to take part.
#[inline]
pub fn light_fence(registered: bool) {
    match registered && cfg!(not(loom)) {
        true => std::sync::atomic::compiler_fence(Ordering::SeqCst),
        false => fence(Ordering::SeqCst),
    }
}

/// The dear one, after which every thread that has [registered](register_for_heavy_fences) has passed a fence where it
/// was, and this one too. Whether that is so of all of them; it is of this one.
#[must_use]
pub fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    cfg!(loom) || multiproc_sys::fence::heavy()
}

/// Whether this process is from now on reached by [`heavy_fence`], so that [`light_fence`] need not be one.
#[must_use]
pub fn register_for_heavy_fences() -> bool {
    cfg!(loom) || multiproc_sys::fence::register()
}

/// A word that nobody holds, as zeroed shared memory has it.
#[must_use]
pub fn unheld() -> RobustWord {
    #[cfg(loom)]
    return RobustWord::new();
    #[cfg(not(loom))]
    // SAFETY: `RobustWord` is made of integers and atomics, for which all zeroes is a value.
    return unsafe { std::mem::zeroed() };
}
