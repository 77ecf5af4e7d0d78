//! The next record, as its consumer looks at it.

use std::fmt;

use multiproc_sync::primitive::Ordering;

use super::consumer::Consumer;
use super::layout::{RECORD_HEADER, State, Word};

/// The record at the front of a ring. Dropping it changes nothing; [`Record::advance`] passes over it.
///
/// The length is fixed and within bounds. The payload is shared memory: a producer that breaks the
/// protocol may change it at any time, so it is copied out and what was copied is looked at.
#[must_use = "a record stays at the front until `advance`"]
pub struct Record<'ring, M> {
    consumer: &'ring mut Consumer<M>,
    word: Word,
}

impl<'ring, M> Record<'ring, M> {
    #[inline]
    pub(super) fn new(consumer: &'ring mut Consumer<M>, word: Word) -> Record<'ring, M> {
        Record { consumer, word }
    }

    /// Makes the record the consumer's for good: the producer cannot take it back any more. `false`
    /// where it was taken back before; the next one is then found by [`Consumer::peek`].
    ///
    /// The mark stays for [`Producer::is_claimed`](super::Producer::is_claimed) to see, whatever becomes of
    /// the consumer. Where nothing is ever taken back it can be left out.
    pub fn claim(&mut self) -> bool {
        let claimed = self.word.with_state(State::Claimed);
        if self.word == claimed {
            return true;
        }
        let word = self.consumer.memory().word(self.consumer.position());
        // Release: what was done before the claim is seen by a producer that sees it; pairs with Acquire
        // in `Producer::is_claimed` and `Producer::revoke`. Acquire is not needed: the payload was published before.
        let won = word
            .compare_exchange(self.word.0, claimed.0, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        if won {
            self.word = claimed;
        }
        won
    }

    /// The payload's length.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.word.len() as usize
    }

    /// Whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the producer gave it as a mark.
    #[must_use]
    #[inline]
    pub fn tag(&self) -> u16 {
        self.word.tag()
    }

    /// Whether a message begins here, rather than going on.
    #[must_use]
    #[inline]
    pub fn is_first(&self) -> bool {
        self.word.is_first()
    }

    /// Whether the message goes on in the next record.
    #[must_use]
    #[inline]
    pub fn has_more(&self) -> bool {
        self.word.has_more()
    }

    /// Appends the payload to `buffer`.
    #[inline]
    pub fn append_to(&self, buffer: &mut Vec<u8>) {
        self.append_behind(0, buffer);
    }

    /// Appends the payload to `buffer`, but for its first `skipped` bytes, of which there may be fewer.
    #[inline]
    pub fn append_behind(&self, skipped: usize, buffer: &mut Vec<u8>) {
        let skipped = skipped.min(self.len());
        let len = self.len() - skipped;
        buffer.reserve(len);
        let room = buffer.spare_capacity_mut();
        // SAFETY: the payload's bytes lie before the end of the lap (`Consumer::check_length`), and `reserve` made room.
        unsafe {
            self.consumer.memory().read(
                self.payload() + skipped as u64,
                room.as_mut_ptr().cast(),
                len,
            )
        };
        // SAFETY: the bytes were just written.
        unsafe { buffer.set_len(buffer.len() + len) };
    }

    /// Copies the payload's first bytes into `bytes`; `false`, and nothing copied, where it is shorter.
    #[inline]
    pub fn copy_to(&self, bytes: &mut [u8]) -> bool {
        if bytes.len() > self.len() {
            return false;
        }
        // SAFETY: not more than the record's bytes, which `Consumer::check_length` found before the end of the lap.
        unsafe {
            self.consumer
                .memory()
                .read(self.payload(), bytes.as_mut_ptr(), bytes.len())
        };
        true
    }

    /// Where the payload lies, for whoever can use it in place. It is valid for [`Record::len`] bytes until
    /// the record is advanced over, and may change at any time unless the producer is trusted.
    #[cfg(not(loom))]
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.consumer.memory().at(self.payload())
    }

    /// Passes over the record. Room is given back by and by, and at once where the producer waits for
    /// it; says whether it is then the caller's to wake, as in [`Consumer::release`].
    #[must_use = "a producer that sleeps has to be woken"]
    #[inline]
    pub fn advance(self) -> bool {
        self.consumer.advance(self.word)
    }

    fn payload(&self) -> u64 {
        self.consumer.position() + RECORD_HEADER as u64
    }
}

impl<M> fmt::Debug for Record<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("tag", &self.tag())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
