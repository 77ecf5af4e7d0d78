//! A handshake over a socket, by whoever has time for it.

use std::io;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle};
use multiproc_sys::stream::Stream;

use crate::connection::Peer;
use crate::error::{Error, Why};
use crate::handshake::{Handshake, Step};
use crate::hello::Role;
use crate::settings::Settings;

/// A connection whose other side is not known yet.
#[derive(Debug)]
pub(crate) struct Pending {
    stream: Stream,
    handshake: Handshake,
    peer: Peer,
    until: Deadline,
    max_message: usize,
    come: Vec<u8>,
}

/// A connection whose other side is known.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
    pub(crate) max_message: usize,
}

impl Pending {
    /// Begins a handshake: says hello.
    pub(crate) fn new(
        stream: Stream,
        peer: Peer,
        role: Role,
        settings: &Settings,
        until: Deadline,
    ) -> Result<Pending, Error> {
        let handshake = Handshake::new(role, settings)
            .map_err(|error| Why::Io("no random bytes for a handshake", error))?;
        let pending = Pending {
            stream,
            handshake,
            peer,
            until,
            max_message: settings.max_message,
            come: Vec::new(),
        };
        pending.say(pending.handshake.opening())?;
        Ok(pending)
    }

    pub(crate) fn until(&self) -> Deadline {
        self.until
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// For waiting: readable when [`advance`](Self::advance) has something to do.
    pub(crate) fn as_handle(&self) -> BorrowedHandle<'_> {
        self.stream.as_handle()
    }

    /// Tells the other side that its user is not let in.
    pub(crate) fn refuse_user(&self, user: u32) -> Error {
        match Handshake::refuse_user(user) {
            Step::Refused { answer, error } => {
                // Whether it hears that is its own business.
                drop(self.say(&answer));
                error
            }
            _ => Why::OtherUser(Some(user)).into(),
        }
    }

    /// Does what can be done without waiting: `Some` once the other side is known.
    ///
    /// # Errors
    /// Where it is not who it should be, or is gone. The handshake has ended then.
    pub(crate) fn advance(&mut self) -> Result<Option<bool>, Error> {
        loop {
            self.come.clear();
            let wants = self.handshake.wants();
            // Handles of somebody unknown are none that anybody wants.
            match self.stream.receive(&mut self.come, wants, None) {
                Ok(None) => return Ok(None),
                Ok(Some(0)) => return Err(Why::Truncated("the handshake").into()),
                Ok(Some(_)) => {}
                Err(error) => return Err(failed(error)),
            }
            match self.handshake.take(&self.come) {
                Step::More => {}
                Step::Answer(answer) => self.say(&answer)?,
                Step::Done { answer, same_build } => {
                    self.say(&answer)?;
                    return Ok(Some(same_build));
                }
                Step::Refused { answer, error } => {
                    drop(self.say(&answer));
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn into_known(self, is_same_build: bool) -> Known {
        Known {
            stream: self.stream,
            peer: Peer {
                is_same_build,
                ..self.peer
            },
            max_message: self.max_message,
        }
    }

    /// Sends a few bytes, for which a new connection always has room.
    fn say(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self.stream.send(bytes, &[]) {
            Ok(Some(count)) if count == bytes.len() => Ok(()),
            Ok(_) => Err(Why::Malformed("it does not read what it is sent").into()),
            // What it has said before it went may tell why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset => Why::Truncated("the handshake").into(),
        _ => Why::Io("the connection failed in the handshake", error).into(),
    }
}
