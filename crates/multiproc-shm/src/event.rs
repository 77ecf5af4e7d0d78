//! Events that processes wait for.

use multiproc_sys::wait::{Source, Watch};
use std::fmt;
use std::io;
use std::time::Duration;

use multiproc_sync::{Deadline, EventWord};
use serde::{Deserialize, Serialize};

use crate::home::{Primitive, Shared};

/// Something that happens, for which processes wait: it is set or not.
///
/// A value of this type is a handle: clones, in this process and in any it is sent to, stand for the same
/// event.
///
/// ```
/// use multiproc_shm::Event;
/// use std::time::Duration;
///
/// let event = Event::new()?;
/// assert!(!event.wait_timeout(Duration::ZERO));
/// event.set();
/// event.wait();
/// event.clear();
/// assert!(!event.is_set());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When a process dies
///
/// Nobody is left waiting, whether it waited for the event, cleared or set it. One that is killed in the
/// middle of a set has set it or not.
///
/// # Differences from Python
///
/// A wait ends whenever the event is set while it lasts, even if it is cleared at once; Python's may then
/// say `False`.
#[doc(alias = "multiprocessing.Event")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event(Shared<EventWord>);

// SAFETY: atomics only, and new as zeroes.
unsafe impl Primitive for EventWord {
    const KIND: u32 = 19;

    fn sweep(&self, _process: u32) {
        EventWord::sweep(self);
    }
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// Where there is no memory for it, or too many files are open.
    pub fn new() -> io::Result<Event> {
        Shared::create().map(Event)
    }

    /// Sets the event and wakes all who wait for it. Nothing changes where it is set.
    ///
    /// # Panics
    /// If the thread holds a thousand locks.
    pub fn set(&self) {
        self.0.set();
    }

    /// Clears the event. Nothing changes where it is not set.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Whether the event is set at this moment.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Waits until the event is set.
    ///
    /// # Panics
    /// As [`set`](Self::set).
    pub fn wait(&self) {
        let _always: bool = self.0.wait(Deadline::NEVER);
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`. Says whether the event is set, or was
    /// meanwhile.
    ///
    /// # Panics
    /// As [`set`](Self::set).
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.0.wait(Deadline::after(timeout))
    }
}

/// Ready while the event is set. It is looked at, so one that is cleared at once may be missed.
impl Source for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        let seen = self.0.watch();
        Ok(Watch::Word(self.0.word(), seen))
    }

    fn unwatch(&self) {
        self.0.unwatch();
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .finish()
    }
}
