//! The end that reads records in order and gives their room back.
//!
//! Its position is private; every published position and every header is checked before it is used,
//! and read once.

use std::fmt;

use multiproc_sync::primitive::{AtomicU32, Deadline, Ordering, Woken, futex};

use super::corrupt::Corrupt;
use super::layout::{self, RECORD_HEADER, State, Word, is_position, record_size};
use super::memory::Memory;
use super::park::{self, AWAKE, PARKED, Park};
use super::record::Record;
use super::spin::Spin;

/// The consumer's end of a ring. `M` keeps the memory mapped.
pub struct Consumer<M> {
    memory: Memory<M>,
    /// The next record to look at.
    head: u64,
    /// Up to where the producer may write again, less a lap.
    released: u64,
    /// Records are published up to here, or further.
    tail: u64,
    /// The beginning of a message was found revoked: what goes on with it is passed over.
    skipping: bool,
    /// Where the producer slept when last found asleep.
    found_asleep: u32,
    spin: Spin,
}

impl<M> Consumer<M> {
    /// The consumer's end of a ring that [`init`](super::init) made, going on with the first record that
    /// was not released.
    ///
    /// # Errors
    /// [`Corrupt`] where the memory is no ring of this capacity.
    ///
    /// # Safety
    /// `base` is aligned to 128 and begins [`bytes_needed(capacity)`](super::bytes_needed) bytes, mapped for
    /// reading and writing until `owner` is dropped. No other consumer is in use at the same time.
    #[cfg(not(loom))]
    pub unsafe fn new(owner: M, base: *mut u8, capacity: usize) -> Result<Consumer<M>, Corrupt> {
        // SAFETY: the same obligations.
        Consumer::over(unsafe { Memory::new(owner, base, capacity) }?)
    }

    pub(super) fn over(memory: Memory<M>) -> Result<Consumer<M>, Corrupt> {
        // Relaxed: written by consumers only, and one hands over to the next.
        let head = memory.header().backward.head.load(Ordering::Relaxed);
        if !is_position(head) {
            return Err(Corrupt::Head { found: head });
        }
        Ok(Consumer {
            memory,
            head,
            released: head,
            tail: head,
            skipping: false,
            found_asleep: AWAKE,
            spin: Spin::new(),
        })
    }

    /// The longest payload of one record.
    #[must_use]
    pub fn max_len(&self) -> usize {
        layout::max_len(self.memory.capacity())
    }

    /// The next record, if there is one. It stays the next until it is [advanced](Record::advance) over
    /// or taken back; one that is claimed is found again.
    ///
    /// # Errors
    /// [`Corrupt`] where the memory is not as the producer should have left it.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<Record<'_, M>>, Corrupt> {
        let word = self.next()?;
        Ok(word.map(|word| Record::new(self, word)))
    }

    /// Passes over padding and what was taken back, and returns the header of the record at `head`.
    #[inline]
    fn next(&mut self) -> Result<Option<Word>, Corrupt> {
        loop {
            if self.head == self.tail && !self.refresh_tail()? {
                return Ok(None);
            }
            // Relaxed: `refresh_tail` made the header visible; later changes to its state carry no data.
            let word = Word(self.memory.word(self.head).load(Ordering::Relaxed));
            let state = word.state().map_err(|found| Corrupt::State { found })?;
            self.check_length(word, state)?;
            match state {
                State::Ready | State::Claimed if word.is_first() || !self.skipping => {
                    self.skipping = false;
                    return Ok(Some(word));
                }
                State::Revoked if word.is_first() => self.skipping = word.has_more(),
                State::Ready | State::Claimed | State::Revoked | State::Padding => {}
            }
            self.head += record_size(word.len() as usize) as u64;
        }
    }

    /// Gives the room of everything advanced over back to the producer, and says whether it sleeps: it
    /// is then the caller's to wake, by [`Consumer::wake_producer`] or by what it waits on.
    #[must_use = "a producer that sleeps has to be woken"]
    pub fn release(&mut self) -> bool {
        if self.released == self.head {
            return false;
        }
        let backward = &self.memory.header().backward;
        // Release: payload has been read; pairs with Acquire in `Producer::refresh_head`.
        backward.head.store(self.head, Ordering::Release);
        self.released = self.head;
        let place = park::take(&backward.producer);
        if place != AWAKE {
            self.found_asleep = place;
        }
        place != AWAKE
    }

    /// Where the producer slept when it was last found asleep: [`PARKED`] for its word in the ring, else
    /// what it gave to [`Producer::begin_park_on`](super::Producer::begin_park_on).
    #[must_use]
    pub fn found_asleep(&self) -> u32 {
        self.found_asleep
    }

    /// Declares that this side will sleep until there is a record. Releases what was advanced over: a
    /// producer that sleeps could not publish otherwise.
    pub fn begin_park(&mut self) -> Park {
        self.begin_park_on(PARKED)
    }

    /// As [`Consumer::begin_park`], on something other than its word in the ring, which `place` names to the
    /// producer; any number but [`AWAKE`].
    pub fn begin_park_on(&mut self, place: u32) -> Park {
        let wake_peer = self.release();
        park::declare(&self.memory.header().forward.consumer, place);
        let sleep = !self.has_news();
        if !sleep {
            self.end_park();
        }
        Park { sleep, wake_peer }
    }

    /// Withdraws the declaration of [`Consumer::begin_park`], once awake, and says whether the peer has
    /// sent a wake-up, or is about to.
    pub fn end_park(&mut self) -> bool {
        park::withdraw(&self.memory.header().forward.consumer)
    }

    /// Wakes a producer that waits on its word in the ring.
    pub fn wake_producer(&self) {
        futex::wake(&self.memory.header().backward.producer, 1);
    }

    /// The word on which this side waits for records: [`PARKED`] while it sleeps.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        &self.memory.header().forward.consumer
    }

    /// Whether [`Consumer::peek`] has something to look at. Costs one load: made for searching before
    /// a sleep.
    #[must_use]
    pub fn has_news(&self) -> bool {
        // Relaxed: who finds something goes on to `peek`, which acquires.
        self.memory.header().forward.tail.load(Ordering::Relaxed) != self.head
    }

    /// Sleeps on [`Consumer::word`] until there is something to look at, having released what was
    /// advanced over. `false` where the deadline passes first. A producer's death does not end it.
    pub fn wait_for_record(&mut self, deadline: Deadline) -> bool {
        loop {
            let (tail, head) = (&self.memory.header().forward.tail, self.head);
            if self.spin.until(|| tail.load(Ordering::Relaxed) != head) {
                return true;
            }
            let park = self.begin_park();
            if park.wake_peer {
                self.wake_producer();
            }
            if !park.sleep {
                return true;
            }
            let woken = futex::wait(self.word(), PARKED, deadline);
            self.end_park();
            if self.has_news() {
                return true;
            }
            if woken == Woken::TimedOut {
                return false;
            }
        }
    }

    /// For [`Record`], which is at `head`.
    pub(super) fn memory(&self) -> &Memory<M> {
        &self.memory
    }

    pub(super) fn position(&self) -> u64 {
        self.head
    }

    /// Goes on behind the record at `head`, and releases if it is time to.
    #[inline]
    pub(super) fn advance(&mut self, word: Word) -> bool {
        self.head += record_size(word.len() as usize) as u64;
        // Relaxed: only whether to release early; `release` asks again as it must.
        let waited_for = self
            .memory
            .header()
            .backward
            .producer
            .load(Ordering::Relaxed)
            != AWAKE;
        let due = self.head - self.released >= self.memory.capacity() as u64 / 4;
        (due || waited_for) && self.release()
    }

    /// Reads how far the producer has come, which is at most a lap ahead. Says whether that is further
    /// than was known.
    fn refresh_tail(&mut self) -> Result<bool, Corrupt> {
        // Acquire: pairs with Release in `Producer::publish`.
        let tail = self.memory.header().forward.tail.load(Ordering::Acquire);
        let capacity = self.memory.capacity() as u64;
        if !is_position(tail) || tail < self.head || tail - self.released > capacity {
            return Err(Corrupt::Tail { found: tail });
        }
        self.tail = tail;
        Ok(self.tail != self.head)
    }

    /// Errors where the record at `head` reaches beyond what is published, or beyond its lap.
    #[inline]
    fn check_length(&self, word: Word, state: State) -> Result<(), Corrupt> {
        let wrong = Err(Corrupt::Length { found: word.len() });
        let (len, capacity) = (word.len() as usize, self.memory.capacity());
        if len > capacity {
            return wrong;
        }
        let to_end = capacity - self.memory.offset(self.head);
        let fits = match state {
            State::Padding => len + RECORD_HEADER == to_end,
            _ => len <= self.max_len() && record_size(len) <= to_end,
        };
        if fits && record_size(len) as u64 <= self.tail - self.head {
            Ok(())
        } else {
            wrong
        }
    }
}

impl<M> fmt::Debug for Consumer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("capacity", &self.memory.capacity())
            .field("head", &self.head)
            .field("released", &self.released)
            .finish_non_exhaustive()
    }
}
