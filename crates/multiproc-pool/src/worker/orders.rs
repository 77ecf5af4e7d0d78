//! What the parent says, as it comes out of the ring of tasks.

use multiproc_process::function::FunctionRef;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_wire::{Failure, Incoming, decode};

use super::{Worker, ring_both, state};
use crate::job::Handles;
use crate::protocol::{
    ANNOUNCE, CHUNK, DISCARD, EXIT, FOLLOWS, FORGET, HANDLES, HANDLES_FRAME, LET_GO, NAMED, PING,
    PREPARE, RUN, RUN_HEADER, SPAN, TASK,
};

pub(super) enum Order {
    Announce(Vec<u8>),
    Ping,
    Discard([u8; 4]),
    Prepare { body: Vec<u8>, handles: bool },
    Forget([u8; 4]),
    Span(Vec<u8>),
    LetGo(Vec<u8>),
    Task { body: Vec<u8>, tag: u16 },
}

/// More functions than any program has.
const MAX_FUNCTIONS: usize = 1 << 20;

/// A record that its sender could not have written.
pub(super) fn malformed() -> Failure {
    Failure::from("the parent sent what no parent sends")
}

impl Worker {
    /// Waits for the next order, and makes it this worker's. `None` when there will be none.
    pub(super) fn next(&mut self) -> Result<Option<Order>, Failure> {
        loop {
            let Some(mut record) = self.tasks.peek()? else {
                self.rest();
                continue;
            };
            let tag = record.tag();
            match tag & !(HANDLES | CHUNK | FOLLOWS | RUN | NAMED) {
                EXIT => {
                    self.tell();
                    return Ok(None);
                }
                PING => {
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Ping));
                }
                SPAN | ANNOUNCE | LET_GO => {
                    let mut body = Vec::with_capacity(record.len());
                    record.append_to(&mut body);
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(match tag {
                        SPAN => Order::Span(body),
                        LET_GO => Order::LetGo(body),
                        _ => Order::Announce(body),
                    }));
                }
                DISCARD => {
                    let mut ticket = [0; 4];
                    if !record.copy_to(&mut ticket) {
                        return Err(malformed());
                    }
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Discard(ticket)));
                }
                PREPARE => {
                    let body = self.receive()?;
                    let handles = tag & HANDLES != 0;
                    return Ok(Some(Order::Prepare { body, handles }));
                }
                FORGET => {
                    let mut key = [0; 4];
                    if !record.copy_to(&mut key) {
                        return Err(malformed());
                    }
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Forget(key)));
                }
                TASK if tag & RUN != 0 => {
                    let mut head = [0; RUN_HEADER];
                    if !record.copy_to(&mut head) {
                        return Err(malformed());
                    }
                    let [a, b, c, d, _, _, _, _, count @ ..] = head;
                    let count = u16::try_from(u32::from_le_bytes(count))?;
                    // Before the claim, behind which the parent looks at it.
                    let first = u32::from_le_bytes([a, b, c, d]);
                    self.claiming.begin(&self.lane.claims(), first, count);
                    if !record.claim() {
                        continue;
                    }
                    let mut body = std::mem::take(&mut self.body);
                    body.clear();
                    record.append_to(&mut body);
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Task { body, tag }));
                }
                // One that was taken back meanwhile is passed over by the next look.
                TASK if !record.claim() => {}
                TASK if !record.has_more() => {
                    let mut body = std::mem::take(&mut self.body);
                    body.clear();
                    record.append_to(&mut body);
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Task { body, tag }));
                }
                TASK => {
                    let body = self.receive()?;
                    return Ok(Some(Order::Task { body, tag }));
                }
                _ => return Err(malformed()),
            }
        }
    }

    /// The message whose first record is the next; a task is claimed before.
    pub(super) fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        if let Some(record) = self.tasks.peek()?.filter(|record| !record.has_more()) {
            let mut body = std::mem::take(&mut self.body);
            body.clear();
            record.append_to(&mut body);
            if record.advance() {
                ring_both(&self.bells);
            }
            return Ok(body);
        }
        loop {
            let Some(record) = self.tasks.peek()? else {
                self.rest();
                continue;
            };
            let whole = self.incoming.add(&record)?;
            if record.advance() {
                ring_both(&self.bells);
            }
            if whole {
                return Ok(self.incoming.take());
            }
        }
    }

    /// Sleeps until there is something to look at.
    pub(super) fn rest(&mut self) {
        self.tell();
        let Worker { tasks, spin, .. } = self;
        if spin.until(|| tasks.has_news()) {
            return;
        }
        let park = self.tasks.begin_park();
        if park.sleep || park.wake_peer {
            // The parent wants to know of a worker that has nothing, and of room.
            ring_both(&self.bells);
        }
        if park.sleep {
            futex::wait(
                self.tasks.word(),
                multiproc_shm::ring::PARKED,
                Deadline::NEVER,
            );
            self.tasks.end_park();
        }
    }

    pub(super) fn learn(&mut self, body: &[u8]) -> Result<(), Failure> {
        let (number, reference) = body.split_first_chunk().ok_or_else(malformed)?;
        let number = u32::from_le_bytes(*number) as usize;
        // The parent counts functions from 0 without gaps.
        if number > MAX_FUNCTIONS {
            return Err(malformed());
        }
        let reference: FunctionRef = decode(reference, Vec::new())?;
        if self.functions.len() <= number {
            self.functions.resize(number + 1, None);
        }
        self.functions[number] = Some(reference.resolve().map_err(|error| error.to_string()));
        Ok(())
    }

    /// Takes in the handles up to those of this ticket, and drops them, unless that is done already.
    pub(super) fn discard(&mut self, ticket: [u8; 4]) -> Result<(), Failure> {
        let number = u32::from_le_bytes(ticket);
        // Tickets wrap around; frames come in their order.
        let done = self
            .last_frame
            .is_some_and(|last| last.wrapping_sub(number) < u32::MAX / 2);
        if !done {
            drop(self.take_handles(ticket)?);
        }
        Ok(())
    }

    /// The handles that came with the task of this ticket. Those of tasks that were taken back came too.
    pub(super) fn take_handles(&mut self, ticket: [u8; 4]) -> Result<Handles, Failure> {
        loop {
            let Incoming::Frame {
                kind: HANDLES_FRAME,
                body,
                handles,
            } = self.link.receive(Deadline::NEVER)?
            else {
                return Err(malformed());
            };
            let found = *body.first_chunk().ok_or_else(malformed)?;
            self.last_frame = Some(u32::from_le_bytes(found));
            if found == ticket {
                return Ok(handles);
            }
        }
    }

    /// Keeps what the tasks of a call have in common.
    pub(super) fn prepare(&mut self, body: &[u8], handles: bool) -> Result<(), Failure> {
        let (ticket, rest) = body.split_first_chunk::<4>().ok_or_else(malformed)?;
        let (key, bytes) = rest.split_first_chunk().ok_or_else(malformed)?;
        let key = u32::from_le_bytes(*key);
        let handles = match handles {
            true => self.take_handles(*ticket),
            false => Ok(Handles::new()),
        };
        match handles {
            Ok(handles) => state::keep(key, bytes.to_vec(), handles),
            Err(why) => state::spoil(key, why.to_string()),
        }
        Ok(())
    }
}
