//! The sending end: one per process and channel, however many handles it has there.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use multiproc_shm::Block;
use multiproc_shm::bulk::{self, LENDER};
use multiproc_shm::ring::{self, Outgoing, PARKED, Producer, Spin};
use multiproc_sync::Deadline;
use multiproc_sync::primitive::{Woken, futex};
use multiproc_sys::handle::{Interest, OwnedHandle};
use multiproc_wire::Handoff;
use multiproc_wire::handoff::Lender;

use super::glance::Glance;
use super::known;
use super::names::{Handles, Names, Plan};
use super::shared::{Shared, Turn};
use super::{DOZE, Limits, ON_LINE};
use crate::error::{ChannelError, Stop};
use crate::id::{self, Id};
use crate::line::{Heard, Line};
use crate::outside::{self, Stub};
use crate::reactor;
use crate::transport::{Outlet, PREFIX, Told};
use crate::words::{self, Watched};

/// The tag of a message that consists of its bytes.
pub(super) const PLAIN: u16 = 0;
/// The tag of a message that has the prefix and a parcel.
pub(super) const WITH_HANDLES: u16 = 1;
/// The tag of a message that has the prefix, a table of its handles and perhaps a parcel: see `names.rs`.
pub(super) const NAMED: u16 = 3;
/// The tag of a message that has the prefix, a length and a parcel: it is in memory of its own, the parcel's last handle.
pub(super) const OUTSIDE: u16 = 2;

/// A future's offer waits for the turn so long: who has it is through in microseconds, unless it waits for room.
const SHORTLY: Duration = Duration::from_millis(1);

/// A sending end of a channel: a handle to this process's.
#[derive(Clone, Debug)]
pub(crate) struct Tx(pub(super) Arc<Port>);

/// This process's sending end of a channel.
#[derive(Debug)]
pub(super) struct Port {
    id: Id,
    shared: Shared,
    line: Line,
    /// Used by whoever has the turn.
    waiting: Mutex<Waiting>,
    /// Used by whoever has the turn.
    names: Arc<Names>,
    next_parcel: AtomicU64,
    /// How many messages were taken when last looked.
    taken: AtomicU64,
    glance: Glance,
    limits: Limits,
    /// Where this process is noted as one that sends.
    noted: Option<usize>,
}

/// What a wait for room needs.
#[derive(Debug, Default)]
struct Waiting {
    spin: Spin,
    /// For reading from the line.
    buffer: Vec<u8>,
}

impl Tx {
    /// The first sending end of a new channel.
    pub(super) fn new(shared: Shared, line: Line, limits: Limits) -> Tx {
        Tx::open(id::fresh(), shared, line, limits)
    }

    /// One more sending end of a channel.
    pub(super) fn open(id: Id, shared: Shared, line: Line, limits: Limits) -> Tx {
        let noted = shared.enter();
        let ours = Arc::new(Port {
            noted,
            id,
            names: Names::new(shared.clone()),
            shared,
            line,
            waiting: Mutex::default(),
            next_parcel: AtomicU64::new(id::random()),
            taken: AtomicU64::new(0),
            glance: Glance::new(),
            limits,
        });
        known::enter(id, &ours);
        Tx(ours)
    }
}

/// Where a message may be no longer than that, its length is not to be told from what is left of it here.
const ANY_LENGTH: usize = 1 << 28;

impl Tx {
    pub(crate) fn lender(&self) -> Option<&'static Lender> {
        (self.0.limits.max_message > ANY_LENGTH).then_some(&LENDER)
    }
}

impl Outlet for Tx {
    fn send(
        &self,
        message: &mut [u8],
        handoff: &Handoff,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        self.0.send(message, handoff, until)
    }

    fn offer(&self, message: &mut [u8], handoff: &Handoff) -> Result<(), Stop> {
        self.0.offer(message, handoff)
    }

    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop> {
        let line = self.0.line.duplicate()?;
        let end = reactor::enter(line, Interest::End, waker)?;
        let seen = self.0.shared.wait_for_room();
        let word = words::enter(Arc::clone(&self.0) as Arc<_>, seen, waker)?;
        Ok(Told::by_word_and_handle(word, end))
    }

    fn len(&self) -> usize {
        self.0.shared.len()
    }

    fn bound(&self) -> Option<u64> {
        self.0.limits.messages
    }

    fn is_closed(&self) -> bool {
        // A line that cannot be asked is of no use to a send either.
        self.0.shared.is_closed() || self.0.line.has_ended().unwrap_or(true)
    }

    fn close(&self) {
        self.0.shared.close();
        // Whoever sleeps on the line; one who is gone needs no telling.
        let _anybody: io::Result<bool> = self.0.line.ring();
    }
}

/// For futures that wait for room.
impl Watched for Port {
    fn word(&self) -> &AtomicU32 {
        self.shared.room_word()
    }

    fn unwatch(&self) {
        self.shared.end_wait_for_room();
    }
}

impl Port {
    fn send(
        &self,
        message: &mut [u8],
        handoff: &Handoff,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        self.check_length(message)?;
        if handoff.is_empty() && self.send_at_once(&message[PREFIX..])? {
            return Ok(());
        }
        let turn = self.shared.turn(until).ok_or(Stop::NotNow)?;
        self.send_in_turn(
            turn,
            message,
            handoff.into(),
            tag_for(handoff.handles()),
            until,
        )
    }

    /// Sends a message of any length if there is room for it, or for what stands for it.
    fn offer(&self, message: &mut [u8], handoff: &Handoff) -> Result<(), Stop> {
        self.check_length(message)?;
        if message.len() > ring::max_len(self.shared.capacity()) {
            self.look_for_room(size_of::<Stub>())?;
            // Before anything is locked.
            let (mut stub, all) = outside::put(message, handoff.handles())?;
            let handles = Handles {
                all: &all,
                known: &[],
            };
            let turn = self.turn_shortly()?;
            return self.send_in_turn(turn, &mut stub, handles, OUTSIDE, None);
        }
        if handoff.is_empty() && self.send_at_once(&message[PREFIX..])? {
            return Ok(());
        }
        let turn = self.turn_shortly()?;
        self.send_in_turn(
            turn,
            message,
            handoff.into(),
            tag_for(handoff.handles()),
            None,
        )
    }

    fn turn_shortly(&self) -> Result<Turn<'_>, Stop> {
        let turn = self.shared.turn(Some(Deadline::after(SHORTLY)));
        turn.ok_or(Stop::NotNow)
    }

    /// Whether a record of `len` bytes, or the longest there can be, would find room.
    fn look_for_room(&self, len: usize) -> Result<(), Stop> {
        let turn = self.turn_shortly()?;
        let sent = self.shared.sent().load(Ordering::Relaxed);
        let mut producer = self.shared.producer(&turn)?;
        let has_room = producer.has_room(len.min(producer.max_len()))?;
        if has_room && self.has_place(sent) {
            Ok(())
        } else {
            Err(Stop::NotNow)
        }
    }

    #[inline]
    fn check_length(&self, message: &[u8]) -> Result<(), Stop> {
        let (len, limit) = (message.len() - PREFIX, self.limits.max_message);
        if len > limit {
            return Err(ChannelError::too_long(len, limit).into());
        }
        Ok(())
    }

    fn send_in_turn(
        &self,
        turn: Turn<'_>,
        message: &mut [u8],
        handles: Handles<'_>,
        tag: u16,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        let sent = self.send_with(&turn, message, handles, tag, until);
        drop(turn);
        // With the one that a future passes before it asks for the turn once more.
        fence(Ordering::SeqCst);
        self.shared.tell_of_room();
        if sent.is_err() {
            self.tell_of_the_end();
        }
        sent
    }

    /// After a turn in which nothing was sent: in a closed channel the receiver may have looked meanwhile, when it could not
    /// know that nothing more comes, and sleep.
    #[cold]
    fn tell_of_the_end(&self) {
        if self.shared.is_closed() {
            // One who is gone needs no telling.
            let _gone: Result<(), Stop> = self.shared.wake_receiver(|| self.ring());
        }
    }

    fn send_with(
        &self,
        turn: &Turn<'_>,
        message: &mut [u8],
        handles: Handles<'_>,
        tag: u16,
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        self.look_after_receiver()?;
        let mut producer = self.shared.producer(turn)?;
        if turn.inherited {
            self.take_over(&producer)?;
        }
        let sent = self.shared.sent().load(Ordering::Relaxed);
        if !self.has_place(sent) {
            let until = until.ok_or(Stop::NotNow)?;
            self.wait(&mut producer, until, |_| self.has_place(sent))?;
        }
        let plan = match tag {
            WITH_HANDLES => self.names.plan(handles),
            _ => Plan::default(),
        };
        let (coming, is_named) = (plan.coming(handles.all), plan.is_named());
        let parcel = (!coming.is_empty()).then(|| self.name_parcel(&coming, message));
        let (prefix, body) = message.split_at(PREFIX);
        let mut outgoing = match tag {
            PLAIN => Outgoing::new(body, tag),
            _ if is_named => Outgoing::new(body, NAMED).behind(plan.head(prefix)),
            _ => Outgoing::new(&*message, tag),
        };
        while !outgoing.push(&mut producer)? {
            // What was pushed and not published is forgotten with the producer.
            let until = until.ok_or(Stop::NotNow)?;
            let len = outgoing.next_len(producer.max_len());
            self.wait(&mut producer, until, |it| it.has_room(len) != Ok(false))?;
        }
        if let Some(name) = parcel {
            // Before the message's end is published: who finds that finds them.
            let until = until.unwrap_or_else(Deadline::now);
            match self.line.send(name, &coming, until)? {
                Heard::Something => {}
                Heard::Nothing => return Err(Stop::NotNow),
                Heard::End => return Err(self.receiver_is_gone()),
            }
        }
        // A peer gone wild may have left any number there.
        let sent = sent.wrapping_add(1);
        self.shared.intend(producer.pushed_to(), sent);
        self.names.commit(&plan);
        let asleep = producer.publish();
        self.shared.sent().store(sent, Ordering::Relaxed);
        if asleep {
            // It is sent: who is gone was gone too late.
            let _gone = self.wake(&producer);
        }
        Ok(())
    }

    /// Sends what fits into one record, if there is room for it and nobody else is sending, which is the rule.
    /// Otherwise nothing has happened.
    #[inline]
    fn send_at_once(&self, message: &[u8]) -> Result<bool, Stop> {
        // Written in the rarest case only: what is passed on in every case is a bit.
        let mut stopped = None;
        let section = |mut producer: Producer<&Block>| {
            if let Err(stop) = self.look_after_receiver() {
                stopped = Some(stop);
                return false;
            }
            let sent = self.shared.sent().load(Ordering::Relaxed);
            if !self.has_place(sent) || producer.push(&[message], PLAIN).is_err() {
                return false;
            }
            self.shared
                .intend(producer.pushed_to(), sent.wrapping_add(1));
            producer.publish_quietly();
            self.shared
                .sent()
                .store(sent.wrapping_add(1), Ordering::Relaxed);
            true
        };
        let sent = self.shared.brief_turn(section).unwrap_or(Ok(false))?;
        if !sent {
            let Some(stop) = stopped else {
                return Ok(false);
            };
            self.tell_of_the_end();
            return Err(stop);
        }
        // By the lock's release: whoever waited for the turn, if only to offer.
        self.shared.tell_of_room();
        if self.shared.receiver_sleeps() {
            let _gone = self.shared.wake_receiver(|| self.ring());
        }
        Ok(true)
    }

    /// Makes sure, now and then, that there is a receiver.
    #[inline]
    fn look_after_receiver(&self) -> Result<(), Stop> {
        if self.shared.is_closed() || self.glance.is_due() && self.line.has_ended()? {
            return Err(self.receiver_is_gone());
        }
        Ok(())
    }

    /// After one who was killed with the turn. It may have published a message without counting it or ringing,
    /// and there may be no room until the receiver looks.
    #[cold]
    fn take_over(&self, producer: &Producer<&Block>) -> Result<(), Stop> {
        self.shared.recount(producer.published_to());
        producer.wake_consumer();
        self.ring()
    }

    /// Whether the channel's bound lets another message in.
    #[inline]
    fn has_place(&self, sent: u64) -> bool {
        self.limits.messages.is_none_or(|bound| {
            // Relaxed: how many come to be there is all that is concluded.
            sent.saturating_sub(self.taken.load(Ordering::Relaxed)) < bound
                || sent.saturating_sub(self.refresh_taken()) < bound
        })
    }

    fn refresh_taken(&self) -> u64 {
        let taken = self.shared.taken().load(Ordering::Relaxed);
        self.taken.store(taken, Ordering::Relaxed);
        taken
    }

    /// Names the handles in the message's prefix.
    #[cold]
    fn name_parcel(&self, handles: &[Arc<OwnedHandle>], message: &mut [u8]) -> u64 {
        // Relaxed: a counter, whose values only have to differ.
        let name = self.next_parcel.fetch_add(1, Ordering::Relaxed);
        let total = u32::try_from(handles.len()).unwrap_or(u32::MAX);
        message[..8].copy_from_slice(&name.to_le_bytes());
        message[8..PREFIX].copy_from_slice(&total.to_le_bytes());
        name
    }

    /// Waits until `ready`, having published what was pushed: on the ring's word for a moment, and then on the
    /// line, which is where the receiver's death is heard.
    #[cold]
    fn wait(
        &self,
        producer: &mut Producer<&Block>,
        until: Deadline,
        ready: impl Fn(&mut Producer<&Block>) -> bool,
    ) -> Result<(), Stop> {
        if producer.publish() {
            self.wake(producer)?;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { spin, buffer } = &mut *waiting;
        loop {
            if spin.until(|| ready(producer)) {
                return Ok(());
            }
            let left = self.shared.left();
            // Acquire: pairs with the Release of who leaves.
            let seen = left.load(Ordering::Acquire);
            if self.shared.is_closed() {
                return Err(self.receiver_is_gone());
            }
            if self.park(producer, PARKED, &ready)? {
                return Ok(());
            }
            let words = [(producer.word(), PARKED), (left, seen)];
            let woken = futex::wait_any(&words, until.or(Deadline::after(DOZE)));
            producer.end_park();
            if woken == Woken::Look {
                continue;
            }
            if self.park(producer, ON_LINE, &ready)? {
                return Ok(());
            }
            let heard = self.line.listen(buffer, &mut Vec::new(), until);
            producer.end_park();
            match heard? {
                Heard::End => return Err(self.receiver_is_gone()),
                Heard::Nothing if ready(producer) => return Ok(()),
                Heard::Nothing => return Err(Stop::NotNow),
                Heard::Something => {}
            }
        }
    }

    /// Declares that this side is about to sleep. `true` if it is not to: it is ready.
    fn park(
        &self,
        producer: &mut Producer<&Block>,
        place: u32,
        ready: impl Fn(&mut Producer<&Block>) -> bool,
    ) -> Result<bool, Stop> {
        let park = producer.begin_park_on(place, ready);
        if park.wake_peer
            && let Err(error) = self.wake(producer)
        {
            producer.end_park();
            return Err(error);
        }
        Ok(!park.sleep)
    }

    /// Wakes the receiver where it was found asleep.
    fn wake(&self, producer: &Producer<&Block>) -> Result<(), Stop> {
        if producer.found_asleep() == PARKED {
            producer.wake_consumer();
            return Ok(());
        }
        self.ring()
    }

    fn ring(&self) -> Result<(), Stop> {
        if self.line.ring()? {
            Ok(())
        } else {
            Err(self.receiver_is_gone())
        }
    }

    #[cold]
    fn receiver_is_gone(&self) -> Stop {
        bulk::receiver_ended();
        Stop::Disconnected(self.shared.end_of_receiver())
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }
}

fn tag_for(handles: &[Arc<OwnedHandle>]) -> u16 {
    if handles.is_empty() {
        PLAIN
    } else {
        WITH_HANDLES
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.leave(self.noted);
        known::leave(self.id);
    }
}
