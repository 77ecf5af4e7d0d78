//! What goes into a worker's ring of tasks, and comes back out of it.

use std::io::ErrorKind;

use multiproc_shm::ring::{Outgoing, Position, PushError};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Frame;

use super::{Mark, Worker};
use crate::error::TaskError;
use crate::job::{Given, Handles, MAX_BYTES, Payload, State};
use crate::protocol::{
    ANNOUNCE, CHUNK, DISCARD, EXIT, FOLLOWS, FORGET, HANDLES, HANDLES_FRAME, LET_GO, NAMED, PING,
    PREPARE, RUN, SPAN, TASK,
};
use crate::view::span::Context;

/// Whether a task was sent.
pub(in crate::driver) enum Push {
    Sent(Mark),
    Full,
    /// It cannot be, ever: why.
    Failed(TaskError),
}

impl Worker {
    /// Tells the worker what it does not know yet and needs for a task: its function, and what it has in common
    /// with the other tasks of its call.
    ///
    /// # Errors
    /// Where it cannot be told now, or ever.
    pub(in crate::driver) fn prepare(
        &mut self,
        function: u32,
        announcement: &[u8],
        state: Option<&State>,
    ) -> Result<(), Push> {
        if self.partial.is_some() || self.is_leaving() {
            return Err(Push::Full);
        }
        if self.known.get(function as usize) != Some(&true) {
            if let Err(error) = self.tasks.push(&[announcement], ANNOUNCE) {
                return Err(self.refused(error));
            }
            let known = function as usize + 1;
            self.known.resize(self.known.len().max(known), false);
            self.known[function as usize] = true;
        }
        if let Some(state) = state.filter(|state| !self.states.contains(&state.key)) {
            let key = state.key.to_le_bytes();
            let handles = Some(&state.handles).filter(|handles| !handles.is_empty());
            self.put(&[&key, &state.bytes], PREPARE, handles, 1)?;
            self.states.push(state.key);
            if self.partial.is_some() {
                return Err(Push::Full);
            }
        }
        Ok(())
    }

    /// Puts a task into the worker's ring, which is [prepared](Self::prepare) for it.
    pub(in crate::driver) fn push(&mut self, function: u32, payload: &Payload<'_>) -> Push {
        let number = function.to_le_bytes();
        let ticket = self.next_ticket;
        let (mut sent, mut lent) = (false, false);
        let position = if let Some(given) = payload.handles {
            let named = self.remembered.name(given, ticket);
            let handles = Some(&named.sent).filter(|handles| !handles.is_empty());
            sent = handles.is_some();
            let parts = [&number, &named.table[..], payload.bytes];
            let position = self.put(&parts, TASK | NAMED, handles, 1);
            if position.is_err() {
                self.remembered.withdraw(ticket);
            } else if !given.loans.is_empty() {
                lent = true;
                self.lent.sent(ticket, &given.loans);
            }
            position
        } else if payload.ends.is_empty() {
            self.put(&[&number, payload.bytes], TASK, None, 1)
        } else {
            match lengths(payload) {
                Some(lengths) => {
                    let parts = [&number[..], &lengths, payload.bytes];
                    self.put(&parts, TASK | CHUNK, None, 1)
                }
                None => {
                    return Push::Failed(TaskError::TooLarge {
                        length: payload.bytes.len(),
                        limit: MAX_BYTES,
                    });
                }
            }
        };
        match position {
            Ok(position) => Push::Sent(Mark {
                first: ticket,
                count: 1,
                index: 0,
                position,
                handles: sent,
                lent,
            }),
            Err(stop) => stop,
        }
    }

    /// Whether the worker has all that is given, so that no descriptor has to be sent.
    pub(in crate::driver) fn has_all(&mut self, given: &Given) -> bool {
        self.remembered.has_all(given)
    }

    /// The worker has answered a task: whether it had its handles.
    #[inline]
    pub(in crate::driver) fn answered(&mut self, mark: Mark, had_handles: bool) {
        if mark.handles {
            self.remembered.answered(mark.ticket(), had_handles);
        }
        if mark.lent {
            self.lent.answered(mark.ticket());
        }
    }

    /// Has the worker let go what is gone here.
    pub(in crate::driver) fn forget_gone(&mut self) {
        self.remembered.forget_gone();
    }

    /// Tells the worker in which span the call was made whose task comes next, if that is another than before. False
    /// where there is no room for that.
    pub(in crate::driver) fn told_of(&mut self, span: Option<&Context>) -> bool {
        if self.span.as_ref() == span {
            return true;
        }
        if self.partial.is_some() || self.is_leaving() {
            return false;
        }
        let pushed = self.tasks.push(&[span.map_or(&[], |span| &span[..])], SPAN);
        match pushed {
            Ok(_) => self.span = span.cloned(),
            Err(error) => drop(self.refused(error)),
        }
        pushed.is_ok()
    }

    /// Puts several tasks of a job into the ring as one record: `items` are their arguments, each behind its length.
    /// `follows`: what was sent last is of the same job.
    pub(in crate::driver) fn push_run(
        &mut self,
        function: u32,
        count: u16,
        items: &[u8],
        follows: bool,
    ) -> Push {
        let ticket = self.next_ticket;
        let (number, many) = (function.to_le_bytes(), u32::from(count).to_le_bytes());
        let tag = if follows {
            TASK | RUN | FOLLOWS
        } else {
            TASK | RUN
        };
        match self.put(&[&number, &many, items], tag, None, count) {
            Ok(position) => Push::Sent(Mark {
                first: ticket,
                count,
                index: 0,
                position,
                handles: false,
                lent: false,
            }),
            Err(stop) => stop,
        }
    }

    /// Puts a message of so many tasks into the ring, or a first part of it, behind the next ticket, its handles going
    /// before.
    fn put(
        &mut self,
        parts: &[&[u8]],
        mut tag: u16,
        handles: Option<&Handles>,
        tasks: u16,
    ) -> Result<Position, Push> {
        let ticket = self.next_ticket.to_le_bytes();
        let length = ticket.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        if let Some(handles) = handles {
            // Room first: handles that were sent cannot be taken back.
            match self.tasks.has_room(length.min(self.tasks.max_len())) {
                Ok(true) => {}
                Ok(false) => return Err(Push::Full),
                Err(corrupt) => return Err(self.refused(PushError::Corrupt(corrupt))),
            }
            let frame = Frame {
                kind: HANDLES_FRAME,
                body: &ticket,
                handles,
            };
            match self.link.send(frame, Deadline::now()) {
                Ok(()) => {}
                // Where the link is full the worker has much to do; where it is broken its death is seen to.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::TimedOut | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    return Err(Push::Full);
                }
                Err(error) => {
                    let why = format!("its handles cannot be sent: {error}");
                    return Err(Push::Failed(TaskError::ArgumentsLost(why)));
                }
            }
            tag |= HANDLES;
        }
        let position = if length <= self.tasks.max_len() {
            let pushed = match *parts {
                [one, two] => self.tasks.push(&[&ticket, one, two], tag),
                [one, two, three] => self.tasks.push(&[&ticket, one, two, three], tag),
                _ => self.tasks.push(&[&ticket, &parts.concat()], tag),
            };
            pushed.map_err(|error| self.refused(error))?
        } else {
            // Once, and into a buffer of its length: it may be a gigabyte.
            let mut whole = Vec::with_capacity(length);
            whole.extend_from_slice(&ticket);
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            let mut outgoing = Outgoing::new(whole, tag);
            let whole = outgoing
                .push(&mut self.tasks)
                .map_err(|corrupt| self.refused(PushError::Corrupt(corrupt)))?;
            let position = outgoing.position().ok_or(Push::Full)?;
            if !whole {
                self.partial = Some(outgoing);
            }
            position
        };
        self.next_ticket = self.next_ticket.wrapping_add(u32::from(tasks));
        Ok(position)
    }

    fn refused(&mut self, error: PushError) -> Push {
        if error != PushError::Full {
            self.distrust(&error.to_string());
        }
        Push::Full
    }

    /// Goes on with a large task.
    ///
    /// # Errors
    /// Where there is still no room for all of it.
    pub(in crate::driver) fn push_rest(&mut self) -> Result<(), ()> {
        let Some(outgoing) = &mut self.partial else {
            return Ok(());
        };
        match outgoing.push(&mut self.tasks) {
            Ok(true) => {
                self.partial = None;
                Ok(())
            }
            Ok(false) => Err(()),
            Err(corrupt) => {
                self.distrust(&corrupt.to_string());
                Err(())
            }
        }
    }

    /// Shows the worker what was pushed.
    pub(in crate::driver) fn publish(&mut self) {
        if let Some(ticket) = self.discard
            && self.partial.is_none()
            && self.tasks.push(&[&ticket.to_le_bytes()], DISCARD).is_ok()
        {
            self.discard = None;
        }
        while let Some(key) = self.forgotten.last()
            && self.partial.is_none()
            && self.tasks.push(&[&key.to_le_bytes()], FORGET).is_ok()
        {
            self.forgotten.pop();
        }
        let to_forget = &mut self.remembered.to_forget;
        if !to_forget.is_empty() && self.partial.is_none() {
            let numbers: Vec<u8> = to_forget.iter().flat_map(|n| n.to_le_bytes()).collect();
            if self.tasks.push(&[&numbers], LET_GO).is_ok() {
                to_forget.clear();
            }
        }
        if self.tasks.publish() {
            self.tasks.wake_consumer();
        }
    }

    /// How many bytes were ever put into the ring of tasks.
    #[cfg(test)]
    pub(in crate::driver) fn pushed(&self) -> u64 {
        self.tasks.pushed_to()
    }

    /// What tasks had in common is not needed any more. Whether the worker is still to be told.
    pub(in crate::driver) fn forget(&mut self, key: u32) -> bool {
        let Some(place) = self.states.iter().position(|known| *known == key) else {
            return false;
        };
        self.states.swap_remove(place);
        self.forgotten.push(key);
        self.publish();
        !self.forgotten.is_empty()
    }

    /// Whether nothing is to be told to it, and nothing is expected of it but answers.
    pub(in crate::driver) fn is_at_rest(&self) -> bool {
        let told = self.discard.is_none() && self.forgotten.is_empty() && self.partial.is_none();
        let told = told && self.remembered.to_forget.is_empty();
        self.ready && told && !self.is_leaving()
    }

    /// Takes back what the worker has not started of so many tasks from that one on, which were sent together: at most
    /// so many, the last of them, but all where it has begun with none. How many were taken back.
    pub(in crate::driver) fn take_back(&mut self, mark: Mark, count: usize, most: usize) -> usize {
        if !self.tasks.revoke(mark.position) {
            if mark.count == 1 {
                return 0;
            }
            let number = |tasks: usize| u16::try_from(tasks).unwrap_or(u16::MAX);
            let end = mark.index.saturating_add(number(count));
            let most = number(most.min(count));
            return usize::from(self.lane.claims().take_back(mark.first, end, most));
        }
        if mark.handles {
            self.discard = Some(mark.ticket());
            self.remembered.withdraw(mark.ticket());
        }
        if mark.lent {
            self.lent.taken_back(mark.ticket());
        }
        // The worker passes over what is there of it, and the rest never comes.
        self.partial
            .take_if(|outgoing| outgoing.position() == Some(mark.position));
        count
    }

    /// Asks for a sign of life; false where there is no room to.
    pub(in crate::driver) fn ping(&mut self) -> bool {
        self.tasks.push(&[], PING).is_ok()
    }

    /// Tells the worker that there will be no more tasks.
    pub(in crate::driver) fn dismiss(&mut self) {
        if !self.dismissed && self.partial.is_none() {
            self.dismissed = self.tasks.push(&[], EXIT).is_ok();
        }
    }

    /// Before a sleep: whether a large task has to wait for room. False where there is room already.
    pub(in crate::driver) fn park(&mut self) -> bool {
        let Some(outgoing) = &self.partial else {
            return true;
        };
        let park = self
            .tasks
            .begin_park(outgoing.next_len(self.tasks.max_len()));
        if park.wake_peer {
            self.tasks.wake_consumer();
        }
        park.sleep
    }
}

/// How many items there are, and how long each is; `None` where they are more than is sent.
fn lengths(payload: &Payload<'_>) -> Option<Vec<u8>> {
    if payload.bytes.len() > MAX_BYTES.saturating_sub(4 * (payload.ends.len() + 2)) {
        return None;
    }
    let number = |number: usize| u32::try_from(number).ok().map(u32::to_le_bytes);
    let mut lengths = Vec::with_capacity(4 * (payload.ends.len() + 1));
    lengths.extend(number(payload.ends.len())?);
    let mut start = payload.base;
    for end in payload.ends {
        lengths.extend(number(end - start)?);
        start = *end;
    }
    Some(lengths)
}
