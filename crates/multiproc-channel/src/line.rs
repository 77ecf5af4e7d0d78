//! The socket pair of a channel: bells, handles, and the kernel's word on who is still there.
//!
//! All senders of all processes hold one end, the receiver holds the other. Messages on it:
//!
//! | bytes | handles | meaning |
//! |---|---|---|
//! | none | none | a bell: look at the ring |
//! | parcel's name (8), how many handles it has in all (4) | up to 253 | some of the handles of a message |
//!
//! A parcel is named by its message. One whose sender was killed before the message was there is found
//! by nobody and goes with the next.

use std::io;
use std::sync::Arc;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, Interest, OwnedHandle, poll};
use multiproc_sys::socket::{Received, Socket};
use multiproc_wire::handoff;
use serde::{de, ser};

use crate::transport::PREFIX;

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Line(Socket);

/// The handles of one message, as far as they have come.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) name: u64,
    pub(crate) total: usize,
    pub(crate) handles: Vec<Arc<OwnedHandle>>,
}

/// What [`Line::listen`] heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Something: look at the ring.
    Something,
    /// The other side is gone, and everything it said was heard.
    End,
    /// Nothing until the deadline.
    Nothing,
}

/// What fits into one packet of the socket.
const HANDLES_A_MESSAGE: usize = 253;
const NAME: usize = size_of::<u64>();

impl Line {
    pub(crate) fn pair() -> io::Result<(Line, Line)> {
        let (one, two) = Socket::pair()?;
        Ok((Line(one), Line(two)))
    }

    /// Tells the other side to look at the ring. `false` where it is gone.
    pub(crate) fn ring(&self) -> io::Result<bool> {
        match self.0.send(&[], &[], Deadline::now()) {
            Ok(()) => Ok(true),
            // Full of what was not heard yet: who listens will look.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(true),
            Err(error) if is_end(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the other side is gone.
    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        let [found] = poll([(self.0.as_handle(), Interest::End)], Deadline::now())?;
        Ok(found.ended)
    }

    /// Sends handles ahead of the message they belong to. [`Heard::Nothing`] where there was no room for
    /// them until the deadline.
    pub(crate) fn send(
        &self,
        name: u64,
        handles: &[Arc<OwnedHandle>],
        until: Deadline,
    ) -> io::Result<Heard> {
        let total = u32::try_from(handles.len()).map_err(io::Error::other)?;
        let head = [&name.to_le_bytes()[..], &total.to_le_bytes()].concat();
        let handles: Vec<BorrowedHandle<'_>> =
            handles.iter().map(|handle| handle.as_handle()).collect();
        for part in handles.chunks(HANDLES_A_MESSAGE) {
            match self.0.send(&head, part, until) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Heard::Nothing),
                Err(error) if is_end(&error) => return Ok(Heard::End),
                Err(error) => return Err(error),
            }
        }
        Ok(Heard::Something)
    }

    /// Waits for one message on the line; a parcel is put to `parcels`.
    pub(crate) fn listen(
        &self,
        buffer: &mut Vec<u8>,
        parcels: &mut Vec<Parcel>,
        until: Deadline,
    ) -> io::Result<Heard> {
        let [found] = poll([(self.0.as_handle(), Interest::Read)], until)?;
        if !found.any() {
            return Ok(Heard::Nothing);
        }
        let mut received = self.0.receive(buffer, Deadline::now())?;
        if matches!(received, Received::End) {
            // An end that had unread bells is told once ahead of what it sent, and then in its place.
            received = self.0.receive(buffer, Deadline::now())?;
        }
        match received {
            Received::TimedOut => Ok(Heard::Nothing),
            Received::End => Ok(Heard::End),
            Received::Message(handles) => {
                accept(buffer, handles, parcels)?;
                Ok(Heard::Something)
            }
        }
    }

    /// The handles of a message that is there and begins with its parcel's name, so that they are on the line or were heard
    /// already. Those before them belong to messages that never came. `None` where they are lost.
    pub(crate) fn parcel(
        &self,
        message: &[u8],
        buffer: &mut Vec<u8>,
        parcels: &mut Vec<Parcel>,
    ) -> io::Result<Option<Vec<Arc<OwnedHandle>>>> {
        let name = message.get(..PREFIX).and_then(<[u8]>::first_chunk);
        let Some(name) = name.map(|name| u64::from_le_bytes(*name)) else {
            return Ok(None);
        };
        let whole = |parcel: &Parcel| parcel.name == name && parcel.handles.len() >= parcel.total;
        loop {
            if let Some(at) = parcels.iter().position(whole) {
                let found = parcels.drain(..=at).next_back();
                return Ok(found.map(|parcel| parcel.handles));
            }
            if self.listen(buffer, parcels, Deadline::now())? != Heard::Something {
                return Ok(None);
            }
        }
    }

    /// For waiting: readable when there is something to hear.
    #[cfg(feature = "ipc")]
    pub(crate) fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }

    /// The same end as a handle of its own, to be sent.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedHandle> {
        self.0.as_handle().try_clone_to_owned()
    }
}

impl From<OwnedHandle> for Line {
    fn from(handle: OwnedHandle) -> Line {
        Line(handle.into())
    }
}

/// Hands the line's end over and gives its index.
pub(crate) fn put<E: ser::Error>(line: &Line) -> Result<u32, E> {
    let end = line.duplicate().map_err(E::custom)?;
    handoff::put(&Arc::new(end)).map_err(E::custom)
}

/// The end with that index of the message being decoded. Each value that has one has its own: no message makes two
/// receivers of one.
pub(crate) fn take<E: de::Error>(index: u32) -> Result<Line, E> {
    let end = handoff::take_out(index).map_err(E::custom)?;
    end.handle()
        .as_handle()
        .try_clone_to_owned()
        .map(Line::from)
        .map_err(E::custom)
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

fn accept(head: &[u8], handles: Vec<OwnedHandle>, parcels: &mut Vec<Parcel>) -> io::Result<()> {
    if head.is_empty() && handles.is_empty() {
        return Ok(());
    }
    let malformed = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "malformed message on a channel's line",
        )
    };
    let (name, total) = head.split_first_chunk::<NAME>().ok_or_else(malformed)?;
    let total = <[u8; 4]>::try_from(total).map_err(|_| malformed())?;
    let (name, total) = (
        u64::from_le_bytes(*name),
        u32::from_le_bytes(total) as usize,
    );
    let handles = handles.into_iter().map(Arc::new);
    match parcels.last_mut() {
        Some(parcel) if parcel.name == name => parcel.handles.extend(handles),
        _ => parcels.push(Parcel {
            name,
            total,
            handles: handles.collect(),
        }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_comes_before_the_end_whatever_the_other_side_has_not_heard() {
        let (one, two) = Line::pair().unwrap();
        let handle = Arc::new(OwnedHandle::from(std::fs::File::open("/dev/null").unwrap()));
        assert!(two.ring().unwrap());
        assert_eq!(
            one.send(5, &[handle], Deadline::now()).unwrap(),
            Heard::Something
        );
        drop(one);
        let (mut buffer, mut parcels) = (vec![], vec![]);
        let mut hear = || {
            two.listen(&mut buffer, &mut parcels, Deadline::now())
                .unwrap()
        };
        assert_eq!([hear(), hear()], [Heard::Something, Heard::End]);
        assert_eq!((parcels[0].name, parcels[0].handles.len()), (5, 1));
    }

    #[test]
    fn bells_for_nobody_are_no_error() {
        let (one, two) = Line::pair().unwrap();
        for _ in 0..10_000 {
            assert!(one.ring().unwrap());
        }
        assert!(!one.has_ended().unwrap());
        drop(two);
        assert!(!one.ring().unwrap());
        assert!(one.has_ended().unwrap());
    }

    #[test]
    fn what_no_end_says_is_an_error() {
        let (one, two) = Line::pair().unwrap();
        for bytes in [&[1][..], &[1; 11], &[1; 13]] {
            one.0.send(bytes, &[], Deadline::now()).unwrap();
            let error = two
                .listen(&mut vec![], &mut vec![], Deadline::now())
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
