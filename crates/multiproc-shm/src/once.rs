//! Something that is done once among processes.

use std::fmt;
use std::io;
use std::time::Duration;

use multiproc_sync::{Deadline, Held, OnceWord};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};

/// Something that only the first of several processes does, while the others wait until it is done.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// thing to do.
///
/// ```
/// use multiproc_shm::{Once, SharedArray};
///
/// let (once, table) = (Once::new()?, SharedArray::<u64>::zeroed(10)?);
/// once.call_once(|_| (0..10).for_each(|i| table.lock().unwrap()[i] = 1 << i));
/// once.call_once(|_| unreachable!("it is done"));
/// assert_eq!(table.to_vec()?[9], 512);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
///
/// One that is killed or panics at it leaves it to the next, who is told so by the [`OnceState`].
///
/// # Differences from Python
///
/// `multiprocessing` has no such thing.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Once(Shared<OnceWord>);

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for OnceWord {
    const KIND: u32 = 22;

    fn sweep(&self, process: u32) {
        OnceWord::sweep(self, process);
    }
}

/// What who does it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnceState(Held);

impl OnceState {
    /// Whether somebody began before, and was killed or panicked: it may be half done.
    #[must_use]
    pub fn is_poisoned(self) -> bool {
        self.0 != Held::Sound
    }
}

impl Once {
    /// Something that is not done yet.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<Once> {
        Shared::create().map(Once)
    }

    /// Does `work`, unless it has been done by somebody; waits while another is at it.
    ///
    /// # Panics
    /// Where `work` does, or calls this again; or if the thread holds a thousand locks.
    pub fn call_once(&self, work: impl FnOnce(OnceState)) {
        // SAFETY: the memory stays mapped while `self` is borrowed.
        unsafe { self.0.call_once(|held| work(OnceState(held))) };
    }

    /// As [`call_once`](Self::call_once), waiting for another who is at it for no longer than `timeout`, which
    /// does not limit `work` itself. Says whether it is done.
    ///
    /// # Panics
    /// As [`call_once`](Self::call_once).
    #[must_use]
    pub fn call_once_timeout(&self, work: impl FnOnce(OnceState), timeout: Duration) -> bool {
        let work = |held| work(OnceState(held));
        // SAFETY: the memory stays mapped while `self` is borrowed.
        unsafe { self.0.call_once_until(work, Deadline::after(timeout)) }
    }

    /// Whether it is done.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.0.is_done()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("is_completed", &self.is_completed())
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_another_gives_up_in_time() {
        let (once, moment) = (Once::new().unwrap(), Duration::from_millis(1));
        once.call_once(|_| {
            let other = once.clone();
            let waits =
                move || other.call_once_timeout(|_| unreachable!("another is at it"), moment);
            assert!(!std::thread::spawn(waits).join().unwrap());
        });
        assert!(once.call_once_timeout(|_| unreachable!("it is done"), moment));
    }
}
