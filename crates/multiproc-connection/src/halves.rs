//! The two directions of a connection.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, Interest, poll};
use multiproc_sys::stream::{HANDLES_A_SEND, Stream};
use multiproc_wire::{Handoff, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Why};
use crate::inbox::{BYTES, HEADER, Header, Inbox, KEPT, MAX_HANDLES, Message, VALUE};

/// What both directions know of the connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) same_build: bool,
    pub(crate) max_message: usize,
}

/// The sending direction of a [`Connection`](crate::Connection).
///
/// When it is dropped, the other side's receiving ends.
pub struct SendHalf<S> {
    wire: Arc<Wire>,
    buffer: Vec<u8>,
    broken: bool,
    messages: PhantomData<fn(S)>,
}

/// The receiving direction of a [`Connection`](crate::Connection).
pub struct RecvHalf<R> {
    wire: Arc<Wire>,
    inbox: Inbox,
    /// Whether the other side's end was seen.
    ended: bool,
    /// What looking for a message has met, for the receiving call to say.
    failure: Option<Error>,
    messages: PhantomData<fn() -> R>,
}

impl<S> SendHalf<S> {
    pub(crate) fn new(wire: Arc<Wire>) -> SendHalf<S> {
        SendHalf {
            wire,
            buffer: Vec::new(),
            broken: false,
            messages: PhantomData,
        }
    }

    /// Sends a value, waiting for room as long as it takes.
    ///
    /// # Errors
    /// [`Disconnected`](crate::ErrorKind::Disconnected), [`Codec`](crate::ErrorKind::Codec),
    /// [`TooLong`](crate::ErrorKind::TooLong), [`NoHandles`](crate::ErrorKind::NoHandles). Nothing of the value was sent
    /// then.
    pub fn send(&mut self, value: &S) -> Result<(), Error>
    where
        S: Serialize,
    {
        self.send_value(value, Deadline::NEVER)
    }

    /// Sends a value, waiting for room at most this long.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`TimedOut`](crate::ErrorKind::TimedOut). Where a part of the value had been sent
    /// by then, nothing more can be: each further call is [`Broken`](crate::ErrorKind::Broken), and the other side
    /// receives the messages before it and then [`Truncated`](crate::ErrorKind::Truncated), once this half is dropped.
    pub fn send_timeout(&mut self, value: &S, timeout: Duration) -> Result<(), Error>
    where
        S: Serialize,
    {
        self.send_value(value, Deadline::after(timeout))
    }

    /// Sends bytes as they are, which the other side receives with
    /// [`recv_bytes`](RecvHalf::recv_bytes).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[doc(alias = "multiprocessing.connection.Connection.send_bytes")]
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check(bytes.len())?;
        let header = Header {
            kind: BYTES,
            handles: 0,
            length: bytes.len() as u64,
        };
        // Short ones go with their header, in one call.
        if bytes.len() <= 16 << 10 {
            let mut message = std::mem::take(&mut self.buffer);
            message.clear();
            message.extend_from_slice(&header.to_bytes());
            message.extend_from_slice(bytes);
            let result = self.transmit(&[&message], &[], Deadline::NEVER);
            self.buffer = message;
            return result;
        }
        self.transmit(&[&header.to_bytes(), bytes], &[], Deadline::NEVER)
    }

    fn send_value(&mut self, value: &S, until: Deadline) -> Result<(), Error>
    where
        S: Serialize,
    {
        let mut message = std::mem::take(&mut self.buffer);
        message.clear();
        message.resize(HEADER, 0);
        let result = encode(value, &mut message)
            .map_err(Error::from)
            .and_then(|handoff| self.send_encoded(&mut message, handoff, until));
        if message.capacity() <= KEPT {
            self.buffer = message;
        }
        result
    }

    fn send_encoded(
        &mut self,
        message: &mut [u8],
        handoff: Handoff,
        until: Deadline,
    ) -> Result<(), Error> {
        self.check(message.len() - HEADER)?;
        let count = handoff.handles().len();
        if count > 0 {
            if !self.wire.stream.passes_handles() {
                return Err(Why::HandlesOverTcp.into());
            }
            if !self.wire.same_build {
                return Err(Why::HandlesBetweenBuilds.into());
            }
        }
        let handles = u32::try_from(count).ok().filter(|_| count <= MAX_HANDLES);
        let handles = handles.ok_or(Why::TooManyHandles {
            count,
            limit: MAX_HANDLES,
        })?;
        let length = (message.len() - HEADER) as u64;
        let header = Header {
            kind: VALUE,
            handles,
            length,
        };
        message[..HEADER].copy_from_slice(&header.to_bytes());
        let borrowed: Vec<BorrowedHandle<'_>> = handoff
            .handles()
            .iter()
            .map(|handle| handle.as_handle())
            .collect();
        self.transmit(&[message], &borrowed, until)?;
        handoff.sent();
        Ok(())
    }

    fn check(&self, length: usize) -> Result<(), Error> {
        let limit = self.wire.max_message;
        if length > limit {
            return Err(Why::TooLong {
                length: length as u64,
                limit,
            }
            .into());
        }
        Ok(())
    }

    /// Sends the parts one after the other, and the handles with the first bytes.
    fn transmit(
        &mut self,
        parts: &[&[u8]],
        handles: &[BorrowedHandle<'_>],
        until: Deadline,
    ) -> Result<(), Error> {
        if self.broken {
            return Err(Why::Broken.into());
        }
        let mut begun = false;
        let result = self.transmit_from(parts, handles, until, &mut begun);
        self.broken = begun && result.is_err();
        result
    }

    fn transmit_from(
        &self,
        parts: &[&[u8]],
        handles: &[BorrowedHandle<'_>],
        until: Deadline,
        begun: &mut bool,
    ) -> Result<(), Error> {
        let mut sets = handles.chunks(HANDLES_A_SEND).peekable();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let set = sets.peek().copied().unwrap_or_default();
                // Each set but the last takes one byte with it, so that there is a byte for the next.
                let bytes = if set.len() == HANDLES_A_SEND {
                    &rest[..1]
                } else {
                    rest
                };
                match self.wire.stream.send(bytes, set) {
                    Ok(Some(count)) => {
                        *begun = true;
                        rest = &rest[count..];
                        sets.next();
                    }
                    Ok(None) => {
                        let writable = [(self.wire.stream.as_handle(), Interest::Write)];
                        let [found] = poll(writable, until)
                            .map_err(|error| Why::Io("cannot wait for the connection", error))?;
                        if !found.any() {
                            return Err(Why::TimedOut("the message could not be sent").into());
                        }
                    }
                    Err(error) => return Err(sending(error)),
                }
            }
        }
        Ok(())
    }
}

fn sending(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Why::Disconnected.into(),
        _ => Why::Io("a message cannot be sent", error).into(),
    }
}

impl<S> Drop for SendHalf<S> {
    fn drop(&mut self) {
        self.wire.stream.finish();
    }
}

impl<R> RecvHalf<R> {
    pub(crate) fn new(wire: Arc<Wire>) -> RecvHalf<R> {
        let inbox = Inbox::new(wire.max_message);
        RecvHalf {
            wire,
            inbox,
            ended: false,
            failure: None,
            messages: PhantomData,
        }
    }

    /// The next value, waited for as long as it takes.
    ///
    /// # Errors
    /// [`Disconnected`](crate::ErrorKind::Disconnected) once the other side is gone and everything it sent was
    /// received. [`Codec`](crate::ErrorKind::Codec), [`WrongForm`](crate::ErrorKind::WrongForm) and
    /// [`TooLong`](crate::ErrorKind::TooLong) cost one message; [`Truncated`](crate::ErrorKind::Truncated),
    /// [`Malformed`](crate::ErrorKind::Malformed) and [`Io`](crate::ErrorKind::Io) end the connection.
    pub fn recv(&mut self) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.recv_until(Deadline::NEVER)
    }

    /// The next value, waited for at most this long.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`TimedOut`](crate::ErrorKind::TimedOut); what had come of it by then is kept, and
    /// the next call goes on with it.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.recv_until(Deadline::after(timeout))
    }

    fn recv_until(&mut self, until: Deadline) -> Result<R, Error>
    where
        R: DeserializeOwned,
    {
        self.take(until, |message| {
            if message.kind != VALUE {
                return Err(Why::WrongForm { wanted: "a value" }.into());
            }
            Ok(decode(message.body, message.handles)?)
        })
    }

    /// The next bytes, as they were given to [`send_bytes`](SendHalf::send_bytes).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    #[doc(alias = "multiprocessing.connection.Connection.recv_bytes")]
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>, Error> {
        self.recv_bytes_until(Deadline::NEVER)
    }

    /// The next bytes, waited for at most this long.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>, Error> {
        self.recv_bytes_until(Deadline::after(timeout))
    }

    fn recv_bytes_until(&mut self, until: Deadline) -> Result<Vec<u8>, Error> {
        self.take(until, |message| {
            if message.kind != BYTES {
                return Err(Why::WrongForm { wanted: "bytes" }.into());
            }
            Ok(message.body.to_vec())
        })
    }

    /// Whether a receiving call has an answer now or within this time: a message, the end, or an error.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the system refuses to wait.
    #[doc(alias = "multiprocessing.connection.Connection.poll")]
    pub fn poll(&mut self, timeout: Duration) -> Result<bool, Error> {
        let until = Deadline::after(timeout);
        loop {
            if self.ended || self.inbox.is_ready() {
                return Ok(true);
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) if !self.wait(until)? => return Ok(false),
                Ok(false) => {}
                Err(error) => self.failure = Some(error),
            }
        }
    }

    fn take<T>(
        &mut self,
        until: Deadline,
        open: impl FnOnce(Message<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        while !self.inbox.is_ready() {
            if self.ended {
                return Err(self.end());
            }
            if !self.read()? && !self.wait(until)? {
                return Err(Why::TimedOut("no message came").into());
            }
        }
        let Some(message) = self.inbox.next()? else {
            return Err(self.end());
        };
        let result = open(message);
        self.inbox.shrink();
        result
    }

    fn end(&self) -> Error {
        if self.inbox.is_empty() {
            Why::Disconnected.into()
        } else {
            Why::Truncated("a message").into()
        }
    }

    /// Takes in what is there. `false` where nothing is.
    fn read(&mut self) -> Result<bool, Error> {
        let takes_handles = self.wire.stream.passes_handles() && self.wire.same_build;
        let (bytes, limit, handles) = self.inbox.room();
        match self
            .wire
            .stream
            .receive(bytes, limit, takes_handles.then_some(handles))
        {
            Ok(None) => Ok(false),
            Ok(Some(count)) => {
                self.ended = count == 0;
                Ok(true)
            }
            Err(error) => {
                self.ended = true;
                match error.kind() {
                    // It left something unread when it went.
                    io::ErrorKind::ConnectionReset => Ok(true),
                    _ => {
                        // What came with it may lack its files.
                        self.inbox.give_up();
                        Err(Why::Io("the connection failed", error).into())
                    }
                }
            }
        }
    }

    fn wait(&self, until: Deadline) -> Result<bool, Error> {
        let [found] = poll([(self.wire.stream.as_handle(), Interest::Read)], until)
            .map_err(|error| Why::Io("cannot wait for the connection", error))?;
        Ok(found.any())
    }
}

impl<S> fmt::Debug for SendHalf<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf").finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for RecvHalf<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf").finish_non_exhaustive()
    }
}
