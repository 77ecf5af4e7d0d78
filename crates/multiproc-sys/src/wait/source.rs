//! What can be waited for together with other things, whatever it is.
//!
//! The interface stands here so that those who wait need not know what they wait for, and what is waited for
//! need not know who waits.

use std::io;
use std::sync::atomic::AtomicU32;

use crate::clock::Deadline;
use crate::handle::{AsHandle, BorrowedHandle, Interest, OwnedHandle, poll};

/// Something that becomes ready: a channel with a message, a process that has ended, a moment that has come.
pub trait Source {
    /// Whether it is ready. What is broken, or will never be, is: whoever goes on to use it is told why.
    fn is_ready(&self) -> bool;

    /// Says what to sleep on until it may have become ready, from now on. The caller asks
    /// [`is_ready`](Self::is_ready) once more before it sleeps.
    ///
    /// # Errors
    /// Too many open files.
    fn watch(&self) -> io::Result<Watch<'_>>;

    /// The caller sleeps no more.
    fn unwatch(&self) {}
}

/// What to sleep on.
#[derive(Debug)]
pub enum Watch<'a> {
    /// Until something can be read from this handle, or its other side is gone.
    Handle(BorrowedHandle<'a>),
    /// The same, of a handle made for this wait.
    Owned(OwnedHandle),
    /// Until a moment.
    Until(Deadline),
    /// Until this word, shared by processes or not, holds something else. Who changes it wakes those who sleep on it.
    Word(&'a AtomicU32, u32),
    /// Nothing tells of it: it is to be looked at every now and then.
    Look,
}

/// A handle as a source: ready when something can be read from it, its other side is gone, or the process that
/// it stands for has ended.
#[derive(Clone, Copy, Debug)]
pub struct Readable<'a>(pub BorrowedHandle<'a>);

impl<'a> Readable<'a> {
    /// Of what has a handle.
    pub fn of(it: &'a impl AsHandle) -> Readable<'a> {
        Readable(it.as_handle())
    }
}

impl Source for Readable<'_> {
    fn is_ready(&self) -> bool {
        poll([(self.0, Interest::Read)], Deadline::now()).is_ok_and(|[found]| found.any())
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        Ok(Watch::Handle(self.0))
    }
}

/// A moment as a source.
impl Source for Deadline {
    fn is_ready(&self) -> bool {
        self.has_passed()
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        Ok(Watch::Until(*self))
    }
}
