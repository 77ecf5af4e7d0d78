//! A message on its way through a ring, cut into records as room comes.

use multiproc_sync::primitive::Deadline;

use super::corrupt::Corrupt;
use super::layout::Word;
use super::producer::{Position, Producer, PushError};

/// A message of any length that is being pushed. The consumer puts it together with an
/// [`Assembler`](super::Assembler).
///
/// Dropping it half-way leaves a message without an end: the consumer discards it when the next one
/// begins.
#[derive(Debug)]
pub struct Outgoing<B> {
    /// What goes before the message, and is one with it.
    head: Vec<u8>,
    message: B,
    tag: u16,
    pushed: usize,
    first: Option<Position>,
}

impl<B: AsRef<[u8]>> Outgoing<B> {
    /// A message of which nothing was pushed yet.
    pub fn new(message: B, tag: u16) -> Outgoing<B> {
        Outgoing {
            head: Vec::new(),
            message,
            tag,
            pushed: 0,
            first: None,
        }
    }

    /// The same, that begins with `head`: the consumer receives both as one message.
    #[must_use]
    pub fn behind(self, head: Vec<u8>) -> Outgoing<B> {
        Outgoing { head, ..self }
    }

    fn len(&self) -> usize {
        self.head.len() + self.message.as_ref().len()
    }

    /// Pushes as much as there is room for, and says whether that was the rest. Publishing is the
    /// caller's.
    ///
    /// # Errors
    /// [`Corrupt`] where the consumer's position makes no sense.
    pub fn push<M>(&mut self, producer: &mut Producer<M>) -> Result<bool, Corrupt> {
        while !self.is_done() {
            let length = self.next_len(producer.max_len());
            let head = &self.head[self.pushed.min(self.head.len())..];
            let message = &self.message.as_ref()[self.pushed.saturating_sub(self.head.len())..];
            let head = &head[..head.len().min(length)];
            let part = [head, &message[..length - head.len()]];
            let first = if self.first.is_none() { Word::FIRST } else { 0 };
            let more = if self.pushed + length < self.len() {
                Word::MORE
            } else {
                0
            };
            match producer.push_part(&part, self.tag, first | more) {
                Ok(position) => {
                    self.pushed += length;
                    self.first.get_or_insert(position);
                }
                Err(PushError::Corrupt(corrupt)) => return Err(corrupt),
                // Never too large: the part is no longer than a record.
                Err(PushError::Full | PushError::TooLarge { .. }) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Pushes and publishes everything, waiting for room on the ring's own words and waking a consumer
    /// that waits there. `false` where the deadline passes first; it can go on later.
    ///
    /// # Errors
    /// [`Corrupt`] where the consumer's position makes no sense.
    pub fn send<M>(
        &mut self,
        producer: &mut Producer<M>,
        deadline: Deadline,
    ) -> Result<bool, Corrupt> {
        while !self.push(producer)? {
            if !producer.wait_for_room(self.next_len(producer.max_len()), deadline) {
                return Ok(false);
            }
        }
        if producer.publish() {
            producer.wake_consumer();
        }
        Ok(true)
    }

    /// The length of the next record in a ring whose records are at most `max_len` long: what
    /// to wait for room for.
    #[must_use]
    pub fn next_len(&self, max_len: usize) -> usize {
        (self.len() - self.pushed).min(max_len)
    }

    /// The record that begins the message, once it is pushed: what to take back, or to ask about.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.first
    }

    /// Whether all of it was pushed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.first.is_some() && self.pushed == self.len()
    }

    /// The message.
    #[must_use]
    pub fn into_message(self) -> B {
        self.message
    }
}
