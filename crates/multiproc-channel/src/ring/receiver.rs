//! The receiving end: one in all processes.

use std::io;
use std::mem;
use std::sync::Arc;

use multiproc_shm::Block;
use multiproc_shm::ring::{Assembler, Consumer, Corrupt, DEFAULT_LIMIT, PARKED, Spin};
use multiproc_sync::Deadline;
use multiproc_sync::primitive::{Ordering, Woken, futex};
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::wait::Watch;

use super::kept::{self, Kept, LONGEST_HEAD};
use super::sender::{NAMED, OUTSIDE, PLAIN, WITH_HANDLES};
use super::shared::Shared;
use super::{DOZE, Limits, ON_LINE};
use crate::error::{ChannelError, Stop};
use crate::line::{Heard, Line, Parcel};
use crate::outside;
use crate::peer::PeerEnd;
use crate::seat::{Leave, Seat};
use crate::transport::{Got, Inlet, PREFIX, Received, SHORT};
use crate::words::LOOK_AGAIN;

/// The receiving end of a channel, or the place where it was.
#[derive(Debug)]
pub(crate) struct Rx {
    pub(super) seat: Seat<End>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) shared: Shared,
    pub(super) line: Line,
    consumer: Consumer<Block>,
    assembler: Assembler,
    pub(super) limits: Limits,
    /// What is not sent again.
    pub(super) kept: Kept,
    /// Handles that came before their message was looked at.
    pub(super) parcels: Vec<Parcel>,
    spin: Spin,
    /// How many messages were taken when it was last waited for one.
    waited_at: u64,
    /// For reading from the line.
    buffer: Vec<u8>,
    /// What the next receive answers: it was looked for, and found.
    pub(super) found: Option<Result<Message, Stop>>,
    /// Whether the channel ends with this end.
    last: bool,
    /// Somebody sleeps on the line between calls: who leaves with nothing says so anew.
    watched: bool,
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Message {
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) handles: Vec<Arc<OwnedHandle>>,
}

impl Rx {
    pub(super) fn new(end: End) -> Rx {
        Rx {
            seat: Seat::new(end),
        }
    }
}

impl Inlet for Rx {
    type Message = Message;

    #[inline]
    fn receive(
        &self,
        short: &mut [u8; SHORT],
        until: Option<Deadline>,
    ) -> Result<Got<Message>, Stop> {
        self.seat.with(|end| match end.take_short(short) {
            Some(len) => Ok(Got::Short(len)),
            None => end.receive(short, until),
        })?
    }

    fn give_back(&self, message: Message) {
        // One that has moved needs none.
        let _here: Result<(), ChannelError> = self
            .seat
            .with(|end| end.assembler.give_back(message.buffer));
    }

    fn len(&self) -> Result<usize, ChannelError> {
        self.seat.with(|end| {
            let there = end.shared.len();
            there.saturating_add(usize::from(matches!(end.found, Some(Ok(_)))))
        })
    }

    fn is_ready(&self) -> bool {
        self.seat.with(End::is_ready).unwrap_or(true)
    }

    fn watch(&self) -> io::Result<Watch<'_>> {
        let watch = self.seat.with(|end| {
            // Whether it is to sleep, the caller finds out by itself.
            end.watched = true;
            while !end.park(ON_LINE)? && !end.is_ready() {}
            end.line.duplicate().map(Watch::Owned)
        });
        watch.unwrap_or(Ok(Watch::Look))
    }

    fn unwatch(&self) {
        // One that has moved watches nothing.
        let _withdrawn: Result<bool, ChannelError> = self.seat.with(|end| {
            end.watched = false;
            end.consumer.end_park()
        });
    }

    fn close(&self) -> Result<(), ChannelError> {
        self.seat.with(|end| {
            end.shared.close();
            // Whoever sleeps on the line; one who is gone needs no telling.
            let _anybody: io::Result<bool> = end.line.ring();
        })
    }
}

impl Leave for End {
    fn has_moved(&mut self) {
        self.last = false;
    }
}

impl End {
    /// An end that goes on where another has stopped, or begins.
    pub(super) fn new(shared: Shared, line: Line, limits: Limits) -> Result<End, Corrupt> {
        // SAFETY: a channel has one receiver: it is made once, and moves only (`Seat`).
        let consumer = unsafe { shared.consumer() }?;
        shared.receive_here();
        Ok(End {
            shared,
            line,
            consumer,
            assembler: Assembler::new(
                limits.max_message.min(DEFAULT_LIMIT - LONGEST_HEAD) + LONGEST_HEAD,
            ),
            limits,
            kept: Kept::default(),
            parcels: Vec::new(),
            spin: Spin::new(),
            waited_at: 0,
            buffer: Vec::new(),
            found: None,
            last: true,
            watched: false,
        })
    }

    /// Gives back all room that was not given back yet, so that another end can go on.
    pub(super) fn release(&mut self) -> Result<(), Stop> {
        if self.consumer.release() {
            self.wake()?;
        }
        Ok(())
    }

    /// Wakes the sender that was found asleep. One that is gone needs no waking.
    fn wake(&self) -> io::Result<()> {
        if self.consumer.found_asleep() == PARKED {
            self.consumer.wake_producer();
            return Ok(());
        }
        self.line.ring().map(drop)
    }

    pub(super) fn begun(&self) -> Option<&[u8]> {
        self.assembler.begun()
    }

    pub(super) fn resume(
        &mut self,
        found: Option<Message>,
        begun: Option<Vec<u8>>,
        parcels: Vec<Parcel>,
        kept: Kept,
    ) {
        self.found = found.map(Ok);
        if let Some(begun) = begun {
            self.assembler.resume(begun);
        }
        self.parcels = parcels;
        self.kept = kept;
    }

    /// Looks for what the next receive answers.
    fn is_ready(&mut self) -> bool {
        if self.found.is_none() {
            let mut short = [0; SHORT];
            self.found = match self.receive(&mut short, None) {
                Err(Stop::NotNow) => None,
                Err(stop) => Some(Err(stop)),
                Ok(Got::Message(message)) => Some(Ok(message)),
                Ok(Got::Short(len)) => Some(Ok(Message::plain(short[..len].to_vec()))),
            };
        }
        self.found.is_some()
    }

    /// The next message, if all of it is there and nothing about it is out of the ordinary: copied once, from the ring
    /// to where it is decoded.
    #[inline]
    fn take_short(&mut self, short: &mut [u8; SHORT]) -> Option<usize> {
        if self.found.is_some() {
            return None;
        }
        // What is wrong is found again, and told, by `take`.
        let record = self.consumer.peek().ok().flatten()?;
        let len = record.len();
        let ordinary = record.tag() == PLAIN
            && record.is_first()
            && !record.has_more()
            && len <= SHORT.min(self.limits.max_message)
            && self.assembler.begun().is_none();
        if !ordinary || !record.copy_to(&mut short[..len]) {
            return None;
        }
        End::count(&self.shared);
        let wake = record.advance();
        if let Err(error) = self.passed_over(wake, true) {
            // The message is here; what failed is for the next receive to tell.
            self.found = Some(Err(error));
        }
        Some(len)
    }

    /// Counts a message that is taken.
    #[inline]
    fn count(shared: &Shared) {
        // Relaxed: ahead of the fence that a sender which waits for it makes this side pass.
        let taken = shared.taken().load(Ordering::Relaxed);
        shared
            .taken()
            .store(taken.wrapping_add(1), Ordering::Relaxed);
    }

    /// After a record was advanced over: wakes the sender that waits for what that has made.
    #[inline]
    fn passed_over(&mut self, mut wake: bool, is_end: bool) -> Result<(), Stop> {
        if is_end && self.limits.messages.is_some() || self.shared.room_is_waited_for() {
            // What a sender waits for may be this one message.
            wake |= self.consumer.release();
            // After the fence that comes with a release.
            self.shared.tell_of_room();
        }
        if wake {
            self.wake()?;
        }
        Ok(())
    }

    fn receive(
        &mut self,
        short: &mut [u8; SHORT],
        until: Option<Deadline>,
    ) -> Result<Got<Message>, Stop> {
        if let Some(found) = self.found.take() {
            return found.map(Got::Message);
        }
        let mut ended = false;
        loop {
            if let Some(got) = self.take(short)? {
                return Ok(got);
            }
            if ended || self.shared.is_closed() && self.nobody_is_sending() {
                match self.take(short)? {
                    Some(got) => return Ok(got),
                    None => return Err(Stop::Disconnected(self.end_of_senders(ended))),
                }
            }
            match self.wait(until)? {
                Heard::Something => {}
                // What was sent before the end is taken first.
                Heard::End => ended = true,
                Heard::Nothing if self.consumer.has_news() => {}
                // The declaration may have been taken for a part of a message, and its bell heard.
                Heard::Nothing if self.watched && !self.park(ON_LINE)? => {}
                Heard::Nothing => return Err(Stop::NotNow),
            }
        }
    }

    /// In a closed channel, whether all who found it open are through.
    fn nobody_is_sending(&self) -> bool {
        self.shared.turn(None).is_some()
    }

    #[cold]
    fn end_of_senders(&self, ended: bool) -> PeerEnd {
        if ended {
            self.shared.end_of_senders()
        } else {
            PeerEnd::CLOSED
        }
    }

    /// The next message, if all of it is there.
    fn take(&mut self, short: &mut [u8; SHORT]) -> Result<Option<Got<Message>>, Stop> {
        if let Some(len) = self.take_short(short) {
            return Ok(Some(Got::Short(len)));
        }
        while let Some(record) = self.consumer.peek()? {
            let tag = record.tag();
            let whole = self.assembler.add(&record);
            let is_end = !record.has_more();
            if is_end {
                End::count(&self.shared);
            }
            let wake = record.advance();
            self.passed_over(wake, is_end)?;
            if whole? {
                return self.message(tag).map(Got::Message).map(Some);
            }
        }
        Ok(None)
    }

    fn message(&mut self, tag: u16) -> Result<Message, Stop> {
        let mut buffer = self.assembler.take();
        if tag == NAMED {
            return self.named(buffer);
        }
        if tag != WITH_HANDLES && tag != OUTSIDE {
            return Ok(Message::plain(buffer));
        }
        let (line, parcels) = (&self.line, &mut self.parcels);
        let handles = line.parcel(&buffer, &mut self.buffer, parcels)?;
        let mut handles = handles.ok_or(ChannelError::HANDLES_LOST)?;
        if tag == OUTSIDE {
            outside::take(&mut buffer, &mut handles, self.limits.max_message)?;
        }
        Ok(Message {
            buffer,
            start: if tag == OUTSIDE { 0 } else { PREFIX },
            handles,
        })
    }

    /// A message that begins with a table of its handles.
    #[cold]
    fn named(&mut self, buffer: Vec<u8>) -> Result<Message, Stop> {
        let table = kept::table(&buffer).ok_or(ChannelError::HANDLES_LOST)?;
        let came = match kept::some_come(table) {
            true => (self.line).parcel(&buffer, &mut self.buffer, &mut self.parcels),
            false => Ok(Some(Vec::new())),
        };
        let handles = came.map(|came| self.kept.resolve(table, came?));
        let Ok(Some(handles)) = handles else {
            self.kept.lose(table, &self.shared);
            handles?;
            return Err(ChannelError::HANDLES_LOST.into());
        };
        let start = kept::start(table);
        Ok(Message {
            buffer,
            start,
            handles,
        })
    }

    /// Waits until there is something to look at.
    fn wait(&mut self, until: Option<Deadline>) -> Result<Heard, Stop> {
        if !self.kept.is_empty() {
            let (consumer, assembler) = (&self.consumer, &self.assembler);
            let all = || !consumer.has_news() && assembler.begun().is_none();
            self.kept.let_go(&self.shared, all);
        }
        let Some(until) = until else {
            return self.listen(Deadline::now());
        };
        // Relaxed: written by this side.
        let taken = self.shared.taken().load(Ordering::Relaxed);
        let several = taken.wrapping_sub(self.waited_at);
        self.waited_at = taken;
        let consumer = &self.consumer;
        if self.spin.until_several(several, || consumer.has_news()) {
            return Ok(Heard::Something);
        }
        // Acquire: pairs with the Release of who leaves.
        let seen = self.shared.left().load(Ordering::Acquire);
        // Where nobody is noted whose leaving would be told, the line is to be asked at once.
        if self.shared.has_senders() {
            if !self.park(PARKED)? {
                return Ok(Heard::Something);
            }
            let words = [(self.consumer.word(), PARKED), (self.shared.left(), seen)];
            let woken = futex::wait_any(&words, until.or(Deadline::after(DOZE)));
            self.consumer.end_park();
            if woken == Woken::Look {
                return Ok(Heard::Something);
            }
        }
        if !self.park(ON_LINE)? {
            return Ok(Heard::Something);
        }
        // By itself after a while for one thing only: a sender that is killed in the few instructions between publishing
        // its message and ringing, while others live and are silent.
        let heard = self.listen(until.or(Deadline::after(LOOK_AGAIN)));
        self.consumer.end_park();
        match heard? {
            Heard::Nothing if !until.has_passed() => Ok(Heard::Something),
            heard => Ok(heard),
        }
    }

    /// Declares that this side is about to sleep there. `false` where it is to look first.
    fn park(&mut self, place: u32) -> io::Result<bool> {
        let park = self.consumer.begin_park_on(place);
        self.shared.tell_of_room();
        if park.wake_peer
            && let Err(error) = self.wake()
        {
            self.consumer.end_park();
            return Err(error);
        }
        if !park.sleep {
            return Ok(false);
        }
        self.shared.meet_senders();
        let sleep = !self.consumer.has_news();
        if !sleep {
            self.consumer.end_park();
        }
        Ok(sleep)
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
            self.shared.abandon();
        }
    }
}

impl Message {
    /// One that consists of its bytes.
    fn plain(buffer: Vec<u8>) -> Message {
        Message {
            buffer,
            start: 0,
            handles: Vec::new(),
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
