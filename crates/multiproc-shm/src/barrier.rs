//! Barriers: processes that wait for each other.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::time::Duration;

use multiproc_sync::{BarrierError, BarrierWord, Deadline, MAX_PARTIES};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};

/// Where a number of threads, of whichever processes, wait for each other, round after round.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// barrier.
///
/// ```
/// use multiproc_shm::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// std::thread::scope(|scope| {
///     let other = scope.spawn(|| barrier.wait().unwrap().index());
///     let mine = barrier.wait().unwrap();
///     assert_eq!(mine.is_leader(), other.join().unwrap() != 0);
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
///
/// One that is killed while it waits breaks the barrier: all others that wait, and all that come, get
/// [`BarrierError::Broken`] until [`reset`](Self::reset). One that has [joined](Self::join) does so
/// wherever it is killed. One that is killed on its way and has not joined is not known to the barrier:
/// the others wait for as long as their timeout.
///
/// # Differences from Python
///
/// A process that is killed leaves the others waiting in Python. A timeout and an action are given to each
/// wait, not to the barrier. Who comes last has the number 0 and calls its action. No more than 126 threads can wait for each other.
#[doc(alias = "multiprocessing.Barrier")]
#[derive(Clone, Serialize, Deserialize)]
pub struct Barrier {
    word: Shared<BarrierWord>,
    parties: u32,
}

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for BarrierWord {
    const KIND: u32 = 21;

    fn sweep(&self, process: u32) {
        BarrierWord::sweep(self, process);
    }
}

impl Barrier {
    /// A barrier for `parties` threads.
    ///
    /// # Errors
    /// `InvalidInput` for none, or more than 126; where there is no memory for it, or too many files are
    /// open.
    pub fn new(parties: u32) -> io::Result<Barrier> {
        if !(1..=MAX_PARTIES).contains(&parties) {
            let why = format!("a barrier is for 1 to {MAX_PARTIES} parties, not {parties}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Barrier {
            word: Shared::create()?,
            parties,
        })
    }

    /// Waits until all parties wait.
    ///
    /// # Errors
    /// [`BarrierError::Broken`] where the barrier is broken, or comes to be so.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn wait(&self) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::NEVER, || ())
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`, which breaks the barrier.
    ///
    /// # Errors
    /// [`BarrierError::TimedOut`] where not all came; [`BarrierError::Broken`] as [`wait`](Self::wait).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::after(timeout), || ())
    }

    /// As [`wait`](Self::wait). The last to come, alone, calls `action` before any goes on.
    ///
    /// The action must not use the barrier, and is best short: whoever comes or gives up waits for it.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    /// Where `action` does, which breaks the barrier for the others; and as [`wait`](Self::wait).
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::NEVER, action)
    }

    /// As [`wait_with`](Self::wait_with), for no longer than `timeout`, which breaks the barrier. How long the
    /// action takes does not count.
    ///
    /// # Errors
    /// As [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Panics
    /// As [`wait_with`](Self::wait_with).
    pub fn wait_timeout_with(
        &self,
        timeout: Duration,
        action: impl FnOnce(),
    ) -> Result<BarrierWaitResult, BarrierError> {
        self.wait_until(Deadline::after(timeout), action)
    }

    /// Has the calling thread take part until the value this gives is dropped: if it ends before, killed
    /// or not, the barrier is broken, wherever it was. `None` where there is no room for one more.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn join(&self) -> Option<BarrierMember<'_>> {
        // SAFETY: the memory stays mapped until no thread of this process is in it (`home.rs`).
        let enlisted = unsafe { self.word.enlist() };
        enlisted.then_some(BarrierMember {
            word: &self.word,
            thread: PhantomData,
        })
    }

    /// Breaks the barrier for all who wait, and for all who come until a [`reset`](Self::reset).
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn abort(&self) {
        self.word.abort();
    }

    /// Makes the barrier as new. Who waits gets [`BarrierError::Broken`].
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn reset(&self) {
        self.word.reset();
    }

    /// Whether the barrier is broken.
    #[must_use]
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.word.is_broken()
    }

    /// How many threads have to come.
    #[must_use]
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// How many wait at this moment.
    #[must_use]
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> u32 {
        self.word.waiting()
    }

    fn wait_until(
        &self,
        deadline: Deadline,
        action: impl FnOnce(),
    ) -> Result<BarrierWaitResult, BarrierError> {
        // SAFETY: the memory stays mapped while `self` is borrowed, and as long as a thread of this process
        // is in it (`home.rs`).
        let index = unsafe { self.word.wait(self.parties, deadline, action) }?;
        Ok(BarrierWaitResult { index })
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties)
            .finish_non_exhaustive()
    }
}

/// Which of those who passed a [`Barrier`] a thread was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: u32,
}

impl BarrierWaitResult {
    /// A number below that of the parties, another for each of a round.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Whether this is the one of the round whose number is 0: the last to come.
    #[must_use]
    pub fn is_leader(self) -> bool {
        self.index == 0
    }
}

/// A thread's part in a [`Barrier`], until dropped.
#[must_use = "the thread takes part until this is dropped"]
pub struct BarrierMember<'a> {
    word: &'a BarrierWord,
    /// Not `Send`: the part is the thread's.
    thread: PhantomData<MutexGuard<'a, ()>>,
}

impl Drop for BarrierMember<'_> {
    fn drop(&mut self) {
        self.word.resign();
    }
}

impl fmt::Debug for BarrierMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierMember").finish_non_exhaustive()
    }
}
