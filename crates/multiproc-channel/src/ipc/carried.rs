//! Ends of ipc-channels inside our messages.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipc_channel::ipc::{IpcReceiver, IpcSender};
use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::handoff;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::exchange::{End, Exit, adopt};

/// An end of an ipc-channel, to be part of a message, an argument or a result.
///
/// ipc-channel's own `IpcSender` and `IpcReceiver` must not be put there as they are: in any other message than
/// ipc-channel's they look as if they were sent, and arrive with the thread's next ipc-channel message instead,
/// wherever that goes. In this wrapper they travel.
///
/// ```
/// use ipc_channel::ipc::{self, IpcSender};
/// use multiproc_channel::ipc::Carried;
/// use multiproc_process::Process;
///
/// let (sender, receiver) = ipc::channel::<String>()?;
/// let child = Process::spawn(
///     |sender: Carried<IpcSender<String>>| {
///         sender.into_inner().unwrap().send("hello".into()).unwrap();
///     },
///     Carried::new(sender),
/// )?;
/// assert_eq!(receiver.recv().unwrap(), "hello");
/// child.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A sender that was sent can be taken out and used here, too; a receiver has moved, once its message was sent, and
/// stays if it was not. Sent again and again, it is the same open file, and opens none.
pub struct Carried<E> {
    place: Arc<Mutex<Place<E>>>,
}

enum Place<E> {
    /// As ipc-channel made it.
    End(E),
    /// As it travels.
    Handle(Arc<OwnedHandle>),
    Moved,
}

/// Which ends move when they are sent.
pub trait Travels: End {
    /// Whether there is one of it only.
    #[doc(hidden)]
    const MOVES: bool;
}

impl<T> Travels for IpcSender<T>
where
    IpcSender<T>: End,
{
    const MOVES: bool = false;
}

impl<T> Travels for IpcReceiver<T>
where
    IpcReceiver<T>: End,
{
    const MOVES: bool = true;
}

fn moved() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the ipc-channel's receiver was sent to another process, which has it now",
    )
}

impl<E> Carried<E> {
    /// For this end.
    pub fn new(end: E) -> Carried<E> {
        Carried {
            place: Arc::new(Mutex::new(Place::End(end))),
        }
    }

    fn place(&self) -> MutexGuard<'_, Place<E>> {
        lock(&self.place)
    }
}

fn lock<E>(place: &Mutex<Place<E>>) -> MutexGuard<'_, Place<E>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E: Travels> Carried<E> {
    /// The end.
    ///
    /// # Errors
    /// `NotConnected` for a receiver that was sent and is elsewhere; or too many files are open, or the temporary
    /// folder cannot be written to.
    pub fn into_inner(self) -> io::Result<E> {
        let place = mem::replace(&mut *self.place(), Place::Moved);
        match place {
            Place::End(end) => Ok(end),
            Place::Handle(handle) => adopt(&handle),
            Place::Moved => Err(moved()),
        }
    }

    /// As it travels.
    fn handle(&self) -> io::Result<Arc<OwnedHandle>> {
        let mut place = self.place();
        match &*place {
            Place::Handle(handle) => return Ok(Arc::clone(handle)),
            Place::Moved => return Err(moved()),
            Place::End(_) => {}
        }
        let exit = Exit::open()?;
        let Place::End(end) = mem::replace(&mut *place, Place::Moved) else {
            return Err(moved());
        };
        let handle = Arc::new(exit.release(end)?);
        *place = Place::Handle(Arc::clone(&handle));
        Ok(handle)
    }
}

impl<E> From<E> for Carried<E> {
    fn from(end: E) -> Carried<E> {
        Carried::new(end)
    }
}

impl<E: Travels + 'static> Serialize for Carried<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Before anything is taken apart: where it cannot travel it stays as it is.
        handoff::when_sent(|| ()).map_err(ser::Error::custom)?;
        let handle = self.handle().map_err(ser::Error::custom)?;
        let index = handoff::put(&handle).map_err(ser::Error::custom)?;
        if E::MOVES {
            let place = Arc::clone(&self.place);
            handoff::when_sent(move || *lock(&place) = Place::Moved).map_err(ser::Error::custom)?;
        }
        index.serialize(serializer)
    }
}

impl<'de, E: Travels> Deserialize<'de> for Carried<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Carried<E>, D::Error> {
        let handle = handoff::take(u32::deserialize(deserializer)?).map_err(de::Error::custom)?;
        Ok(Carried {
            place: Arc::new(Mutex::new(Place::Handle(handle))),
        })
    }
}

impl<E> fmt::Debug for Carried<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}
