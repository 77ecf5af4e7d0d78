//! What the parent is told of a task.

use multiproc_shm::ring::Outgoing;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_wire::{Failure, Frame, Handoff};

use super::{Worker, ring_both};
use crate::job::{Handles, MAX_BYTES, MAX_HANDLES};
use crate::protocol::{CALLER, HANDLES, HANDLES_FRAME, LONG, RESULT_LOST};
use crate::view::recorder::Stamps;

impl Worker {
    /// Tells what became of a task, with what is handed over by it.
    pub(super) fn answer(
        &mut self,
        kind: u16,
        ticket: [u8; 4],
        result: &[u8],
        mut handoffs: Vec<Handoff>,
    ) -> Result<(), Failure> {
        if result.len() > MAX_BYTES {
            let why = format!(
                "it takes {} bytes, and {MAX_BYTES} is the limit",
                result.len()
            );
            return self.put(RESULT_LOST, &ticket, why.as_bytes());
        }
        if handoffs.iter().all(Handoff::is_empty) {
            return self.put(kind, &ticket, result);
        }
        let mut tag = kind;
        let handles: Handles = handoffs
            .iter()
            .flat_map(|handoff| handoff.handles().iter().cloned())
            .collect();
        let count = handles.len();
        if count > MAX_HANDLES {
            let why = format!("it has {count} handles in it, and {MAX_HANDLES} is the limit");
            return self.put(RESULT_LOST, &ticket, why.as_bytes());
        }
        if count > 0 {
            tag |= HANDLES;
            // Before the parent can look. What then does not come to it stays lent.
            for loan in handoffs.iter_mut().flat_map(Handoff::take_loans) {
                loan.sent();
            }
            // There may be no room before the parent has taken what was sent earlier.
            ring_both(&self.bells);
            let frame = Frame {
                kind: HANDLES_FRAME,
                body: &ticket,
                handles: &handles,
            };
            if let Err(error) = self.link.send(frame, Deadline::NEVER) {
                return self.put(RESULT_LOST, &ticket, error.to_string().as_bytes());
            }
        }
        self.put(tag, &ticket, result)?;
        handoffs.into_iter().for_each(Handoff::sent);
        Ok(())
    }

    /// Publishes what a task returned, which is behind a byte for its length, if it is short and there is room where
    /// short ones go. Nobody is told of it before [`tell`](Self::tell).
    #[inline]
    pub(super) fn answer_shortly(&mut self) -> bool {
        let result = &mut self.result;
        let length = u8::try_from(result.len() - 1).unwrap_or(LONG);
        // An answer with times has a record of its own.
        if length == LONG || self.began.is_some() {
            return false;
        }
        result[0] = length;
        let appended = self.items.append(result);
        self.untold += u32::from(appended);
        appended
    }

    /// Wakes whoever waits for answers that were published quietly.
    pub(super) fn tell(&mut self) {
        if self.untold > 0 {
            self.untold = 0;
            self.bells.ring(CALLER);
        }
    }

    /// Publishes one answer, and wakes whoever waits for it.
    pub(super) fn put(&mut self, tag: u16, ticket: &[u8], body: &[u8]) -> Result<(), Failure> {
        match self.began {
            // What is no answer to a task has no ticket.
            Some(started) if !ticket.is_empty() => {
                let ended = Deadline::now().nanos();
                let stamps = Stamps { started, ended }.to_bytes();
                self.put_parts(tag, [ticket, body, &stamps])
            }
            _ => self.put_parts(tag, [ticket, body]),
        }
    }

    fn put_parts<const N: usize>(&mut self, tag: u16, parts: [&[u8]; N]) -> Result<(), Failure> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length <= self.results.max_len() && self.results.push(&parts, tag).is_ok() {
            return self.publish();
        }
        let mut outgoing = Outgoing::new(parts.concat(), tag);
        while !outgoing.push(&mut self.results)? {
            self.publish()?;
            let needed = outgoing.next_len(self.results.max_len());
            let park = self.results.begin_park(needed);
            if park.sleep {
                ring_both(&self.bells);
                futex::wait(
                    self.results.word(),
                    multiproc_shm::ring::PARKED,
                    Deadline::NEVER,
                );
                self.results.end_park();
            }
        }
        self.publish()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the callers return it")]
    pub(super) fn publish(&mut self) -> Result<(), Failure> {
        // The parent sleeps on its bell, not on the ring.
        self.results.publish_quietly();
        self.bells.ring(CALLER);
        self.untold = 0;
        Ok(())
    }
}
