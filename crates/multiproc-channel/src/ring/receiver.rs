//! The receiving end: one in all processes.

use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multiproc_shm::Block;
use multiproc_shm::ring::{Assembler, Consumer, Corrupt, Spin};
use multiproc_sync::Deadline;
use multiproc_sys::handle::OwnedHandle;

use super::line::{Heard, Line, Parcel};
use super::sender::WITH_HANDLES;
use super::shared::Shared;
use crate::error::{ChannelError, Stop};
use crate::peer::PeerEnd;
use crate::transport::{Inlet, PREFIX, Received};

/// A sleeping receiver looks by itself after this long. Only one thing needs it: a sender that is killed
/// in the few instructions between publishing its message and ringing, while others live and are silent.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The receiving end of a channel, or the place where it was.
#[derive(Debug)]
pub(crate) struct Rx {
    place: Arc<Mutex<Place>>,
    /// For the next message.
    spare: RefCell<Vec<u8>>,
}

#[derive(Debug)]
enum Place {
    Here(End),
    /// In a message that was not sent yet.
    Packed(End),
    Moved,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) shared: Shared,
    pub(super) line: Line,
    consumer: Consumer<Block>,
    assembler: Assembler,
    pub(super) max_message: usize,
    /// Handles that came before their message was looked at.
    pub(super) parcels: Vec<Parcel>,
    spin: Spin,
    /// For reading from the line.
    buffer: Vec<u8>,
    /// Whether the channel ends with this end.
    last: bool,
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Message {
    buffer: Vec<u8>,
    start: usize,
    handles: Vec<Arc<OwnedHandle>>,
}

impl Rx {
    pub(super) fn new(end: End) -> Rx {
        Rx {
            place: Arc::new(Mutex::new(Place::Here(end))),
            spare: RefCell::default(),
        }
    }

    /// Puts the end into a message, as `put` says, and gives what must be told when the message was sent.
    /// `None` where the end is in a message already, or elsewhere.
    pub(super) fn pack<R>(&self, put: impl FnOnce(&mut End) -> R) -> Option<(R, Departure)> {
        let mut place = lock(&self.place);
        match mem::replace(&mut *place, Place::Moved) {
            Place::Here(mut end) => {
                let result = put(&mut end);
                *place = Place::Packed(end);
                Some((result, Departure(Arc::clone(&self.place))))
            }
            elsewhere => {
                *place = elsewhere;
                None
            }
        }
    }
}

impl Inlet for Rx {
    type Message = Message;

    fn receive(&self, until: Option<Deadline>) -> Result<Message, Stop> {
        match &mut *lock(&self.place) {
            Place::Here(end) => {
                end.assembler.give_back(self.spare.take());
                end.receive(until)
            }
            Place::Packed(_) | Place::Moved => Err(ChannelError::MOVED.into()),
        }
    }

    fn give_back(&self, message: Message) {
        self.spare.replace(message.buffer);
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An end in a message. It stays here if this is dropped.
#[derive(Debug)]
pub(super) struct Departure(Arc<Mutex<Place>>);

impl Departure {
    /// The message was sent.
    pub(super) fn complete(self) {
        let left = mem::replace(&mut *lock(&self.0), Place::Moved);
        if let Place::Packed(mut end) = left {
            end.last = false;
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let mut place = lock(&self.0);
        *place = match mem::replace(&mut *place, Place::Moved) {
            Place::Packed(end) => Place::Here(end),
            completed => completed,
        };
    }
}

impl End {
    /// An end that goes on where another has stopped, or begins.
    pub(super) fn new(shared: Shared, line: Line, max_message: usize) -> Result<End, Corrupt> {
        // SAFETY: a channel has one receiver: it is made once, and moves only (`Place`).
        let consumer = unsafe { shared.consumer() }?;
        Ok(End {
            shared,
            line,
            consumer,
            assembler: Assembler::new(max_message + PREFIX),
            max_message,
            parcels: Vec::new(),
            spin: Spin::new(),
            buffer: Vec::new(),
            last: true,
        })
    }

    /// Gives back all room that was not given back yet, so that another end can go on.
    pub(super) fn release(&mut self) -> Result<(), Stop> {
        if self.consumer.release() {
            self.line.ring()?;
        }
        Ok(())
    }

    pub(super) fn begun(&self) -> Option<&[u8]> {
        self.assembler.begun()
    }

    pub(super) fn resume(&mut self, begun: Option<Vec<u8>>, parcels: Vec<Parcel>) {
        if let Some(begun) = begun {
            self.assembler.resume(begun);
        }
        self.parcels = parcels;
    }

    fn receive(&mut self, until: Option<Deadline>) -> Result<Message, Stop> {
        let mut ended = false;
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            if ended {
                return Err(Stop::Disconnected(PeerEnd::CLOSED));
            }
            match self.wait(until)? {
                Heard::Something => {}
                // What was sent before the end is taken first.
                Heard::End => ended = true,
                Heard::Nothing if self.consumer.has_news() => {}
                Heard::Nothing => return Err(Stop::NotNow),
            }
        }
    }

    /// The next message, if all of it is there.
    #[inline]
    fn take(&mut self) -> Result<Option<Message>, Stop> {
        while let Some(record) = self.consumer.peek()? {
            let tag = record.tag();
            let whole = self.assembler.add(&record);
            // A sender that is gone needs no waking.
            if record.advance() {
                self.line.ring()?;
            }
            if whole? {
                return self.message(tag).map(Some);
            }
        }
        Ok(None)
    }

    fn message(&mut self, tag: u16) -> Result<Message, Stop> {
        let buffer = self.assembler.take();
        if tag != WITH_HANDLES {
            return Ok(Message {
                buffer,
                start: 0,
                handles: Vec::new(),
            });
        }
        let name = buffer.first_chunk().copied().map(u64::from_le_bytes);
        let parcel = name
            .filter(|_| buffer.len() >= PREFIX)
            .map(|name| self.parcel(name));
        let handles = parcel
            .transpose()?
            .flatten()
            .ok_or(ChannelError::HANDLES_LOST)?;
        Ok(Message {
            buffer,
            start: PREFIX,
            handles,
        })
    }

    /// The handles of a message that is there, so that they are on the line or were heard already. Those
    /// before them are a dead sender's.
    fn parcel(&mut self, name: u64) -> Result<Option<Vec<Arc<OwnedHandle>>>, Stop> {
        let whole = |parcel: &Parcel| parcel.name == name && parcel.handles.len() >= parcel.total;
        loop {
            if let Some(at) = self.parcels.iter().position(whole) {
                return Ok(self
                    .parcels
                    .drain(..=at)
                    .next_back()
                    .map(|parcel| parcel.handles));
            }
            if self.listen(Deadline::now())? != Heard::Something {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something to look at.
    fn wait(&mut self, until: Option<Deadline>) -> Result<Heard, Stop> {
        let Some(until) = until else {
            return self.listen(Deadline::now());
        };
        let consumer = &self.consumer;
        if self.spin.until(|| consumer.has_news()) {
            return Ok(Heard::Something);
        }
        let park = self.consumer.begin_park();
        if park.wake_peer {
            self.line.ring()?;
        }
        if !park.sleep {
            return Ok(Heard::Something);
        }
        let heard = self.listen(until.or(Deadline::after(LOOK_AGAIN)));
        self.consumer.end_park();
        match heard? {
            Heard::Nothing if !until.has_passed() => Ok(Heard::Something),
            heard => Ok(heard),
        }
    }

    fn listen(&mut self, until: Deadline) -> Result<Heard, Stop> {
        Ok(self
            .line
            .listen(&mut self.buffer, &mut self.parcels, until)?)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.last {
            self.shared.close();
        }
    }
}

impl Received for Message {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take_handles(&mut self) -> Vec<Arc<OwnedHandle>> {
        mem::take(&mut self.handles)
    }
}
