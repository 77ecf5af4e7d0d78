//! What goes into a worker's ring of tasks, and comes back out of it.

use std::io::ErrorKind;

use multiproc_shm::ring::{Outgoing, PushError};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Frame;

use super::{Mark, Worker};
use crate::error::TaskError;
use crate::job::Handles;
use crate::protocol::{ANNOUNCE, DISCARD, EXIT, HANDLES, HANDLES_FRAME, PING, TASK, TASK_HEADER};

/// Whether a task was sent.
pub(in crate::driver) enum Push {
    Sent(Mark),
    Full,
    /// It cannot be, ever: why.
    Failed(TaskError),
}

impl Worker {
    /// Puts a task into the worker's ring, preceded by its function if the worker does not know it.
    pub(in crate::driver) fn push(
        &mut self,
        function: u32,
        announcement: &[u8],
        (argument, handles): (&[u8], Option<&Handles>),
    ) -> Push {
        let leaving = self.dismissed || self.distrusted.is_some() || self.ending.is_some();
        if self.partial.is_some() || leaving {
            return Push::Full;
        }
        if self.known.get(function as usize) != Some(&true) {
            if let Err(error) = self.tasks.push(&[announcement], ANNOUNCE) {
                return self.refused(error);
            }
            let known = function as usize + 1;
            self.known.resize(self.known.len().max(known), false);
            self.known[function as usize] = true;
        }
        let ticket = self.next_ticket.to_le_bytes();
        let number = function.to_le_bytes();
        let length = TASK_HEADER + argument.len();
        let mut tag = TASK;
        if let Some(handles) = handles {
            // Room first: handles that were sent cannot be taken back.
            match self.tasks.has_room(length.min(self.tasks.max_len())) {
                Ok(true) => {}
                Ok(false) => return Push::Full,
                Err(corrupt) => return self.refused(PushError::Corrupt(corrupt)),
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
                    return Push::Full;
                }
                Err(error) => {
                    let why = format!("its handles cannot be sent: {error}");
                    return Push::Failed(TaskError::ArgumentsLost(why));
                }
            }
            tag |= HANDLES;
        }
        let position = if length <= self.tasks.max_len() {
            match self.tasks.push(&[&ticket, &number, argument], tag) {
                Ok(position) => position,
                Err(error) => return self.refused(error),
            }
        } else {
            let mut outgoing = Outgoing::new([&ticket, &number, argument].concat(), tag);
            let whole = match outgoing.push(&mut self.tasks) {
                Ok(whole) => whole,
                Err(corrupt) => return self.refused(PushError::Corrupt(corrupt)),
            };
            let Some(position) = outgoing.position() else {
                return Push::Full;
            };
            if !whole {
                self.partial = Some(outgoing);
            }
            position
        };
        let mark = Mark {
            ticket: self.next_ticket,
            position,
            handles: handles.is_some(),
        };
        self.next_ticket = self.next_ticket.wrapping_add(1);
        Push::Sent(mark)
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
        if self.tasks.publish() {
            self.tasks.wake_consumer();
        }
    }

    /// Takes a task back; false where the worker has started it.
    pub(in crate::driver) fn revoke(&mut self, mark: Mark) -> bool {
        if !self.tasks.revoke(mark.position) {
            return false;
        }
        if mark.handles {
            self.discard = Some(mark.ticket);
        }
        // The worker passes over what is there of it, and the rest never comes.
        self.partial
            .take_if(|outgoing| outgoing.position() == Some(mark.position));
        true
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
