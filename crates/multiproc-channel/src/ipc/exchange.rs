//! Ends of ipc-channels as descriptors, and descriptors as ends.
//!
//! ipc-channel keeps its descriptors to itself. They leave and enter it in its messages only, and its messages leave
//! and enter the process through a socket with a path; so that is the way: an end is sent, by ipc-channel, to a
//! socket of ours, where its descriptor is taken out of the packet; and a descriptor is put into a copy of such a
//! packet and sent to a server of ipc-channel, which makes an end of it.
//!
//! # Why not in the message itself
//!
//! An `IpcSender` that meets another codec than ipc-channel's puts its descriptor into a table of the thread, and
//! from there into the thread's next ipc-channel message, whoever that is for; and one that cannot be encoded leaves
//! there what came before. Here each end goes in a message of its own, of one end, which is always encoded, and what
//! others have left in that table is thrown away before.
//!
//! # What is left behind
//!
//! Nothing, unless the process is killed in the few system calls that this takes: then an empty folder.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender};
use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, OwnedHandle};
use multiproc_sys::socket::{Meeting, Packets};
use multiproc_sys::stream::owner_only;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An end of an ipc-channel: one descriptor, for ipc-channel's own codec to carry.
pub trait End: Serialize + DeserializeOwned + sealed::Sealed {
    /// Some end of this type, as a pattern for the packets that carry them.
    #[doc(hidden)]
    fn sample() -> io::Result<Self>;
}

mod sealed {
    use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender};

    #[expect(
        unnameable_types,
        reason = "so that nobody else implements what it seals"
    )]
    pub trait Sealed {}
    impl<T> Sealed for IpcSender<T> {}
    impl<T> Sealed for IpcReceiver<T> {}
    impl Sealed for IpcBytesSender {}
    impl Sealed for IpcBytesReceiver {}
}

impl<T: Serialize + DeserializeOwned> End for IpcSender<T> {
    fn sample() -> io::Result<Self> {
        ipc::channel().map(|(sender, _)| sender)
    }
}

impl<T: Serialize + DeserializeOwned> End for IpcReceiver<T> {
    fn sample() -> io::Result<Self> {
        ipc::channel().map(|(_, receiver)| receiver)
    }
}

impl End for IpcBytesSender {
    fn sample() -> io::Result<Self> {
        ipc::bytes_channel().map(|(sender, _)| sender)
    }
}

impl End for IpcBytesReceiver {
    fn sample() -> io::Result<Self> {
        ipc::bytes_channel().map(|(_, receiver)| receiver)
    }
}

/// A way out for one end. Once there is one, an end that is sent is not lost.
pub(super) struct Exit<E> {
    side: IpcSender<E>,
    packets: Packets,
}

impl<E: End> Exit<E> {
    pub(super) fn open() -> io::Result<Exit<E>> {
        let mut folder = tempfile::Builder::new();
        let folder = folder
            .prefix("multiproc-")
            .permissions(owner_only())
            .tempdir()?;
        let path = folder.path().join("socket");
        let meeting = Meeting::at(&path)?;
        let name = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let side = IpcSender::connect(name.to_owned())?;
        Ok(Exit {
            side,
            packets: meeting.accept()?,
        })
    }

    /// The end's descriptor.
    pub(super) fn release(self, end: E) -> io::Result<OwnedHandle> {
        self.send(end).map(|(_, handle)| handle)
    }

    /// The packet that ipc-channel makes of an end: its bytes, and the descriptor.
    fn send(self, end: E) -> io::Result<(Vec<u8>, OwnedHandle)> {
        sweep()?;
        self.side.send(end).map_err(io::Error::other)?;
        let (bytes, handles) = self
            .packets
            .receive(Deadline::now())?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        match <[OwnedHandle; 1]>::try_from(handles) {
            Ok([handle]) => Ok((bytes, handle)),
            Err(_) => Err(io::Error::other(
                "an end of an ipc-channel has not one descriptor",
            )),
        }
    }
}

/// Rids this thread of ends that met another codec, or an encoding that failed: they would be in its next message.
fn sweep() -> io::Result<()> {
    let (sender, _receiver) = ipc::channel::<()>()?;
    // ipc-channel panics where there are more than 64 of them, and has let go of them by then.
    let _swept = catch_unwind(AssertUnwindSafe(|| sender.send(())));
    Ok(())
}

/// An end of this descriptor.
pub(super) fn adopt<E: End>(handle: &impl AsHandle) -> io::Result<E> {
    // The bytes say that one end comes, and which descriptor it has: the first. They are the same for all ends of
    // a type, and made by the ipc-channel that will read them.
    let (bytes, _) = Exit::open()?.send(E::sample()?)?;
    let (server, name) = IpcOneShotServer::<E>::new()?;
    let packets = Packets::connect(Path::new(&name))?;
    packets.send(&bytes, &[handle.as_handle()], Deadline::now())?;
    // Waits for nobody: what it waits for is there.
    let (_, end) = server.accept().map_err(io::Error::other)?;
    Ok(end)
}
