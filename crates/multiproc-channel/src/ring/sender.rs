//! The sending end: one per process and channel, however many handles it has there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use multiproc_shm::Block;
use multiproc_shm::ring::{Outgoing, Producer, Spin};
use multiproc_sync::Deadline;
use multiproc_sys::handle::OwnedHandle;

use super::glance::Glance;
use super::known::{self, Id};
use super::line::{Heard, Line};
use super::shared::Shared;
use crate::error::{ChannelError, Stop};
use crate::peer::PeerEnd;
use crate::transport::{Outlet, PREFIX};

/// The tag of a message that consists of its bytes.
pub(super) const PLAIN: u16 = 0;
/// The tag of a message that has the prefix and a parcel.
pub(super) const WITH_HANDLES: u16 = 1;

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
    next_parcel: AtomicU64,
    glance: Glance,
    max_message: usize,
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
    pub(super) fn new(shared: Shared, line: Line, max_message: usize) -> Tx {
        Tx::open(known::fresh_id(), shared, line, max_message)
    }

    /// One more sending end of a channel.
    pub(super) fn open(id: Id, shared: Shared, line: Line, max_message: usize) -> Tx {
        let ours = Arc::new(Port {
            id,
            shared,
            line,
            waiting: Mutex::default(),
            next_parcel: AtomicU64::new(known::random()),
            glance: Glance::new(),
            max_message,
        });
        known::enter(id, &ours);
        Tx(ours)
    }
}

impl Outlet for Tx {
    fn send(
        &self,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        self.0.send(message, handles, until)
    }
}

impl Port {
    fn send(
        &self,
        message: &mut [u8],
        handles: &[Arc<OwnedHandle>],
        until: Option<Deadline>,
    ) -> Result<(), Stop> {
        let len = message.len() - PREFIX;
        if len > self.max_message {
            return Err(ChannelError::too_long(len, self.max_message).into());
        }
        let turn = self.shared.turn(until).ok_or(Stop::NotNow)?;
        if self.shared.is_closed() || self.glance.is_due() && self.line.has_ended()? {
            return Err(Stop::Disconnected(PeerEnd::CLOSED));
        }
        if turn.inherited {
            // One who was killed may have published without ringing, and there may be no room until
            // the receiver looks.
            self.ring()?;
        }
        let mut producer = self.shared.producer(&turn)?;
        let parcel = (!handles.is_empty()).then(|| self.name_parcel(handles, message));
        let (start, tag) = if parcel.is_some() {
            (0, WITH_HANDLES)
        } else {
            (PREFIX, PLAIN)
        };
        let mut outgoing = Outgoing::new(&message[start..], tag);
        while !outgoing.push(&mut producer)? {
            // What was pushed and not published is forgotten with the producer.
            let until = until.ok_or(Stop::NotNow)?;
            let len = outgoing.next_len(producer.max_len());
            self.wait_for_room(&mut producer, len, until)?;
        }
        if let Some(name) = parcel {
            // Before the message's end is published: who finds that finds them.
            match self
                .line
                .send(name, handles, until.unwrap_or_else(Deadline::now))?
            {
                Heard::Something => {}
                Heard::Nothing => return Err(Stop::NotNow),
                Heard::End => return Err(Stop::Disconnected(PeerEnd::CLOSED)),
            }
        }
        if producer.publish() {
            self.ring()?;
        }
        Ok(())
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

    #[cold]
    fn wait_for_room(
        &self,
        producer: &mut Producer<&Block>,
        len: usize,
        until: Deadline,
    ) -> Result<(), Stop> {
        if producer.publish() {
            self.ring()?;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { spin, buffer } = &mut *waiting;
        let has_room = |producer: &mut Producer<_>| producer.has_room(len) != Ok(false);
        while !spin.until(|| has_room(producer)) {
            let park = producer.begin_park(len);
            if park.wake_peer {
                self.ring()?;
            }
            if !park.sleep {
                return Ok(());
            }
            let heard = self.line.listen(buffer, &mut Vec::new(), until);
            producer.end_park();
            match heard? {
                Heard::End => return Err(Stop::Disconnected(PeerEnd::CLOSED)),
                Heard::Nothing if !has_room(producer) => return Err(Stop::NotNow),
                Heard::Nothing | Heard::Something => {}
            }
        }
        Ok(())
    }

    fn ring(&self) -> Result<(), Stop> {
        if self.line.ring()? {
            Ok(())
        } else {
            Err(Stop::Disconnected(PeerEnd::CLOSED))
        }
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

    pub(super) fn max_message(&self) -> usize {
        self.max_message
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        known::leave(self.id);
    }
}
