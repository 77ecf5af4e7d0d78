//! Frames over a private socket: a kind, a body of any size, handles.
//!
//! A small body travels in the socket's message. A large one goes into shared memory whose handle
//! travels, so that no frame ever waits for room that only a reader could make: the socket holds
//! several whole frames.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | kind, the user's |
//! | 1 | 0: the body follows; 1: it is in the memory that is the last handle |
//! | 2..10 | length of the body, little-endian |
//! | 10.. | the body, if it follows |

use std::io;
use std::sync::Arc;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use multiproc_sys::map::{self, Mapping};
use multiproc_sys::socket::{Received, Socket};

/// The largest body that is accepted: 1 GiB.
pub const MAX_BODY: usize = 1 << 30;
/// Up to here a body travels in the message itself: far below what a socket holds.
const INLINE: usize = 32 << 10;
const HEADER: usize = 10;

/// A frame to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it is, in the user's numbering.
    pub kind: u8,
    /// Its bytes.
    pub body: &'a [u8],
    /// Its handles.
    pub handles: &'a [Arc<OwnedHandle>],
}

/// What [`Link::receive`] found.
#[derive(Debug)]
pub enum Incoming {
    /// A frame.
    Frame {
        /// What it is, in the user's numbering.
        kind: u8,
        /// Its bytes.
        body: Vec<u8>,
        /// Its handles.
        handles: Vec<Arc<OwnedHandle>>,
    },
    /// The other side is gone, and all that it had sent was received.
    End,
    /// The deadline passed first.
    TimedOut,
}

/// One side of a private connection that carries frames.
#[derive(Debug)]
pub struct Link(Socket);

impl Link {
    /// Over one end of a pair.
    #[must_use]
    pub fn new(socket: Socket) -> Link {
        Link(socket)
    }

    /// Two connected sides.
    ///
    /// # Errors
    /// Too many open files, no memory.
    pub fn pair() -> io::Result<(Link, Link)> {
        let (one, two) = Socket::pair()?;
        Ok((Link(one), Link(two)))
    }

    /// Sends a frame, waiting for room until the deadline.
    ///
    /// # Errors
    /// `InvalidInput` for a body over [`MAX_BODY`] or too many handles, `TimedOut`, `BrokenPipe` where
    /// the other side is gone, and what making shared memory for a large body answers.
    pub fn send(&self, frame: Frame<'_>, deadline: Deadline) -> io::Result<()> {
        let Frame {
            kind,
            body,
            handles,
        } = frame;
        if body.len() > MAX_BODY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a message of {} bytes is over the limit of {MAX_BODY}",
                    body.len()
                ),
            ));
        }
        let mut borrowed: Vec<BorrowedHandle<'_>> =
            handles.iter().map(|handle| handle.as_handle()).collect();
        let apart = body.len() > INLINE;
        let mut message = Vec::with_capacity(HEADER + if apart { 0 } else { body.len() });
        message.extend([kind, u8::from(apart)]);
        message.extend((body.len() as u64).to_le_bytes());
        if !apart {
            message.extend(body);
            return self.0.send(&message, &borrowed, deadline);
        }
        let memory = map::create(body.len())?;
        Mapping::new(&memory, body.len())?.write(0, body);
        borrowed.push(memory.as_handle());
        self.0.send(&message, &borrowed, deadline)
    }

    /// Waits for a frame until the deadline.
    ///
    /// # Errors
    /// `InvalidData` for what is no frame; the connection is then of no use any more.
    pub fn receive(&self, deadline: Deadline) -> io::Result<Incoming> {
        let mut message = Vec::new();
        let mut handles = match self.0.receive(&mut message, deadline)? {
            Received::Message(handles) => handles,
            Received::End => return Ok(Incoming::End),
            Received::TimedOut => return Ok(Incoming::TimedOut),
        };
        let malformed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "malformed frame on a private socket",
            )
        };
        let (header, inline) = message.split_at_checked(HEADER).ok_or_else(malformed)?;
        let length = header[2..].first_chunk().copied().map(u64::from_le_bytes);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length
            .filter(|length| *length <= MAX_BODY)
            .ok_or_else(malformed)?;
        let body = match header[1] {
            0 if inline.len() == length => inline.to_vec(),
            1 if inline.is_empty() => {
                let memory = handles.pop().ok_or_else(malformed)?;
                read_apart(&memory, length)?
            }
            _ => return Err(malformed()),
        };
        Ok(Incoming::Frame {
            kind: header[0],
            body,
            handles: handles.into_iter().map(Arc::new).collect(),
        })
    }
}

fn read_apart(memory: &OwnedHandle, length: usize) -> io::Result<Vec<u8>> {
    if map::length(memory)? != length {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame's body is not as long as the frame says",
        ));
    }
    let mut body = Vec::new();
    Mapping::new(memory, length)?.read(0, length, &mut body);
    Ok(body)
}

impl Link {
    /// For waiting: readable when a frame or the end is there.
    #[must_use]
    pub fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

impl From<Link> for OwnedHandle {
    fn from(link: Link) -> OwnedHandle {
        link.0.into()
    }
}

impl From<OwnedHandle> for Link {
    /// For a handle that was a link's; over anything else, every use is an error.
    fn from(handle: OwnedHandle) -> Link {
        Link(handle.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(link: &Link) -> (u8, Vec<u8>, usize) {
        match link
            .receive(Deadline::after(std::time::Duration::from_secs(60)))
            .unwrap()
        {
            Incoming::Frame {
                kind,
                body,
                handles,
            } => (kind, body, handles.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frames_of_every_size_arrive_without_a_reader() {
        let (one, two) = Link::pair().unwrap();
        let handle = Arc::new(OwnedHandle::from(std::fs::File::open("/dev/null").unwrap()));
        let bodies =
            [0, 1, INLINE, INLINE + 1, 5 << 20].map(|length| vec![length.to_le_bytes()[0]; length]);
        for (kind, body) in (0..).zip(&bodies) {
            let frame = Frame {
                kind,
                body,
                handles: std::slice::from_ref(&handle),
            };
            one.send(frame, Deadline::now()).unwrap();
        }
        for (kind, body) in (0..).zip(bodies) {
            assert!(receive(&two) == (kind, body, 1));
        }
        drop(one);
        assert!(matches!(
            two.receive(Deadline::NEVER).unwrap(),
            Incoming::End
        ));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let (one, two) = Socket::pair().unwrap();
        let two = Link::new(two);
        let header = |apart: u8, length: u64| [&[7, apart][..], &length.to_le_bytes()].concat();
        let memory = map::create(5).unwrap();
        let messages: [(Vec<u8>, bool); 7] = [
            (vec![], false),
            (vec![1; 9], false),
            (header(0, 5), false),
            (header(1, 5), false),
            (header(1, 6), true),
            (header(1, u64::MAX), true),
            (header(2, 0), false),
        ];
        for (message, with_memory) in messages {
            let handles = if with_memory {
                &[memory.as_handle()][..]
            } else {
                &[]
            };
            one.send(&message, handles, Deadline::NEVER).unwrap();
            let error = two.receive(Deadline::now()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{message:?}");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_the_sender() {
        let (one, _two) = Link::pair().unwrap();
        let body = vec![0; MAX_BODY + 1];
        let error = one
            .send(
                Frame {
                    kind: 0,
                    body: &body,
                    handles: &[],
                },
                Deadline::now(),
            )
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
