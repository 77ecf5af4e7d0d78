//! The end that pushes records, publishes them, and takes back what nobody has claimed.
//!
//! Its own positions are private: nothing that is read from the memory moves them, except in
//! [`Producer::reload`], which checks.

use std::error::Error;
use std::fmt;

use multiproc_sync::primitive::{AtomicU32, Deadline, Ordering, Woken, futex};

use super::corrupt::Corrupt;
use super::layout::{self, RECORD_HEADER, State, Word, is_position, record_size};
use super::memory::Memory;
use super::park::{self, AWAKE, PARKED, Park};
use super::spin::Spin;

/// The producer's end of a ring. `M` keeps the memory mapped.
///
/// What was pushed and not published when it is dropped was never there.
pub struct Producer<M> {
    memory: Memory<M>,
    /// Where the next record goes.
    tail: u64,
    /// Up to where the consumer may read.
    published: u64,
    /// The consumer reads from here, or from later on.
    head: u64,
    /// Where the consumer slept when last found asleep.
    found_asleep: u32,
    spin: Spin,
}

/// Names a record that was pushed, to the producer which pushed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

/// Why a record was not pushed. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// No room until the consumer releases some.
    Full,
    /// No record can be that long: it is for [`Outgoing`](super::Outgoing) to cut it up.
    TooLarge {
        /// The record's payload.
        len: usize,
        /// The longest possible payload.
        max: usize,
    },
    /// The memory is not as the consumer should have left it.
    Corrupt(Corrupt),
}

impl<M> Producer<M> {
    /// The producer's end of a ring that [`init`](super::init) made, going on where the last one stopped.
    ///
    /// # Errors
    /// [`Corrupt`] where the memory is no ring of this capacity.
    ///
    /// # Safety
    /// `base` is aligned to 128 and begins [`bytes_needed(capacity)`](super::bytes_needed) bytes, mapped for
    /// reading and writing until `owner` is dropped. No other producer is in use at the same time.
    #[cfg(not(loom))]
    pub unsafe fn new(owner: M, base: *mut u8, capacity: usize) -> Result<Producer<M>, Corrupt> {
        // SAFETY: the same obligations.
        Producer::over(unsafe { Memory::new(owner, base, capacity) }?)
    }

    /// As [`new`](Self::new), where that has been before: for producers that take turns and keep nothing in between.
    ///
    /// # Errors
    /// [`Corrupt`] where the positions make no sense.
    ///
    /// # Safety
    /// As of [`new`](Self::new); and an end of a ring of this capacity was once made at this address.
    #[cfg(not(loom))]
    #[inline]
    pub unsafe fn again(owner: M, base: *mut u8, capacity: usize) -> Result<Producer<M>, Corrupt> {
        // SAFETY: the same obligations.
        Producer::over(unsafe { Memory::again(owner, base, capacity) })
    }

    #[inline]
    pub(super) fn over(memory: Memory<M>) -> Result<Producer<M>, Corrupt> {
        // Relaxed: as in `reload`.
        let tail = memory.header().forward.tail.load(Ordering::Relaxed);
        let mut producer = Producer {
            memory,
            tail,
            published: tail,
            head: 0,
            found_asleep: AWAKE,
            spin: Spin::new(),
        };
        producer.refresh_head(tail)?;
        Ok(producer)
    }

    /// Goes on where another producer of this ring has stopped: what that one published stays, what
    /// it only pushed is overwritten. For producers that take turns under a lock.
    ///
    /// # Errors
    /// [`Corrupt`] where that cannot be the end of the records.
    pub fn reload(&mut self) -> Result<(), Corrupt> {
        // Relaxed: written by producers, and the lock between them orders that.
        let tail = self.memory.header().forward.tail.load(Ordering::Relaxed);
        if tail != self.published {
            // The head, too, has moved on if there is more than a lap between it and the tail.
            self.refresh_head(tail)?;
        }
        self.tail = tail;
        self.published = tail;
        Ok(())
    }

    /// The longest payload of one record.
    #[must_use]
    pub fn max_len(&self) -> usize {
        layout::max_len(self.memory.capacity())
    }

    /// Writes a record whose payload is `parts`, one after the other. The consumer sees it after
    /// [`Producer::publish`].
    ///
    /// # Errors
    /// [`PushError::Full`], [`PushError::TooLarge`], and [`PushError::Corrupt`] where the consumer's position
    /// makes no sense.
    #[inline]
    pub fn push(&mut self, parts: &[&[u8]], tag: u16) -> Result<Position, PushError> {
        self.push_part(parts, tag, Word::FIRST)
    }

    #[inline]
    pub(super) fn push_part(
        &mut self,
        parts: &[&[u8]],
        tag: u16,
        flags: u64,
    ) -> Result<Position, PushError> {
        let len = parts
            .iter()
            .fold(0, |sum: usize, part| sum.saturating_add(part.len()));
        let max = self.max_len();
        let word = match u32::try_from(len) {
            Ok(word_len) if len <= max => Word::new(word_len, tag, flags, State::Ready),
            _ => return Err(PushError::TooLarge { len, max }),
        };
        let (padding, size) = self.needed(len);
        if !self.fits(padding + size).map_err(PushError::Corrupt)? {
            return Err(PushError::Full);
        }
        if padding > 0 {
            self.pad(padding);
        }
        let position = self.tail;
        // Relaxed, as the payload: `publish` makes both visible.
        self.memory.word(position).store(word.0, Ordering::Relaxed);
        let mut at = position + RECORD_HEADER as u64;
        for part in parts {
            // SAFETY: `needed` left room for the whole record before the end of the lap, and `fits` found
            // that part of the ring unused.
            unsafe { self.memory.write(at, part) };
            at += part.len() as u64;
        }
        self.tail = position + size;
        Ok(Position(position))
    }

    /// Shows the consumer what was pushed, and says whether it sleeps: it is then the caller's to
    /// wake, by [`Producer::wake_consumer`] or by what it waits on.
    #[must_use = "a consumer that sleeps has to be woken"]
    #[inline]
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        let forward = &self.memory.header().forward;
        // Release: publishes headers and payload; pairs with Acquire in `Consumer::refresh_tail`.
        forward.tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
        let place = park::take(&forward.consumer);
        if place != AWAKE {
            self.found_asleep = place;
        }
        place != AWAKE
    }

    /// Where the consumer slept when it was last found asleep: [`PARKED`] for its word in the ring, else
    /// what it gave to [`Consumer::begin_park_on`](super::Consumer::begin_park_on).
    #[must_use]
    pub fn found_asleep(&self) -> u32 {
        self.found_asleep
    }

    /// The position behind everything pushed: what will be published next.
    #[must_use]
    pub fn pushed_to(&self) -> u64 {
        self.tail
    }

    /// The position behind everything published.
    #[must_use]
    pub fn published_to(&self) -> u64 {
        self.published
    }

    /// Shows the consumer what was pushed, without asking whether it sleeps: for what it need not hear of at once, and for
    /// several of which it is told together. Whoever waits for that is then woken by what passes a sequentially consistent fence
    /// afterwards: the next [`Producer::publish`] of something, or a [`bell`](crate::Bells::ring).
    #[inline]
    pub fn publish_quietly(&mut self) {
        if self.published != self.tail {
            // Release: as in `publish`.
            let tail = &self.memory.header().forward.tail;
            tail.store(self.tail, Ordering::Release);
            self.published = self.tail;
        }
    }

    /// Takes a record back, and with it the rest of the message that it begins: the consumer passes
    /// over them. `false` where the consumer was faster, or it was taken back before.
    pub fn revoke(&self, position: Position) -> bool {
        if self.is_overwritten(position) {
            return false;
        }
        let word = self.memory.word(position.0);
        // Acquire, here and on failure: what the consumer did before it claimed is seen; pairs with
        // Release in `Record::claim`.
        let now = Word(word.load(Ordering::Acquire));
        let revoked = now.with_state(State::Revoked);
        // Relaxed on success: both ends knew the record, and the consumer only passes over it.
        now.state() == Ok(State::Ready)
            && word
                .compare_exchange(now.0, revoked.0, Ordering::Relaxed, Ordering::Acquire)
                .is_ok()
    }

    /// Whether the consumer has claimed a record. What it did before that is then seen here.
    ///
    /// Only the last lap is remembered: an older record counts as claimed, and one that was taken
    /// back is not to be asked about.
    #[must_use]
    pub fn is_claimed(&self, position: Position) -> bool {
        // Acquire: pairs with Release in `Record::claim`.
        let word = || Word(self.memory.word(position.0).load(Ordering::Acquire));
        self.is_overwritten(position) || word().state() == Ok(State::Claimed)
    }

    /// Whether a record with `len` bytes of payload could be pushed now.
    ///
    /// # Errors
    /// [`Corrupt`] where the consumer's position makes no sense.
    pub fn has_room(&mut self, len: usize) -> Result<bool, Corrupt> {
        if len > self.max_len() {
            return Ok(false);
        }
        let (padding, size) = self.needed(len);
        self.fits(padding + size)
    }

    /// Declares that this side will sleep until there is room for a record of `len` bytes, or the
    /// longest there can be. Publishes what was pushed: a consumer that sleeps could not make room
    /// otherwise.
    pub fn begin_park(&mut self, len: usize) -> Park {
        self.begin_park_on(PARKED, |producer| !producer.lacks_room(len))
    }

    /// As [`Producer::begin_park`], until `ready`, and on something other than its word in the ring, which
    /// `place` names to the consumer; any number but [`AWAKE`].
    pub fn begin_park_on(
        &mut self,
        place: u32,
        ready: impl FnOnce(&mut Producer<M>) -> bool,
    ) -> Park {
        let wake_peer = self.publish();
        park::declare(&self.memory.header().backward.producer, place);
        let sleep = !ready(self);
        if !sleep {
            self.end_park();
        }
        Park { sleep, wake_peer }
    }

    /// Withdraws the declaration of [`Producer::begin_park`], once awake, and says whether the peer has
    /// sent a wake-up, or is about to.
    pub fn end_park(&mut self) -> bool {
        park::withdraw(&self.memory.header().backward.producer)
    }

    /// Wakes a consumer that waits on its word in the ring.
    pub fn wake_consumer(&self) {
        futex::wake(&self.memory.header().forward.consumer, 1);
    }

    /// The word on which this side waits for room: [`PARKED`] while it sleeps.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        &self.memory.header().backward.producer
    }

    /// The word on which the consumer waits for records: for models of those who look at it without an end of the ring.
    #[cfg(loom)]
    #[must_use]
    pub fn consumers_word(&self) -> &AtomicU32 {
        &self.memory.header().forward.consumer
    }

    /// Sleeps on [`Producer::word`] until there is room for a record of `len` bytes, having published
    /// what was pushed. `false` where the deadline passes first. A consumer's death does not end it.
    pub fn wait_for_room(&mut self, len: usize, deadline: Deadline) -> bool {
        if self.publish() {
            self.wake_consumer();
        }
        loop {
            let (head, seen) = (&self.memory.header().backward.head, self.head);
            self.spin.until(|| head.load(Ordering::Relaxed) != seen);
            let park = self.begin_park(len);
            if park.wake_peer {
                self.wake_consumer();
            }
            if !park.sleep {
                return true;
            }
            let woken = futex::wait(self.word(), PARKED, deadline);
            self.end_park();
            if !self.lacks_room(len) {
                return true;
            }
            if woken == Woken::TimedOut {
                return false;
            }
        }
    }

    /// Whether there is something to wait for. A position that makes no sense is none: the next push
    /// reports it. Nor is a record that is too long.
    fn lacks_room(&mut self, len: usize) -> bool {
        self.has_room(len.min(self.max_len())) == Ok(false)
    }

    /// The padding before a record of `len` bytes, and its size.
    #[inline]
    fn needed(&self, len: usize) -> (u64, u64) {
        let size = record_size(len);
        let to_end = self.memory.capacity() - self.memory.offset(self.tail);
        let padding = if size > to_end { to_end } else { 0 };
        (padding as u64, size as u64)
    }

    /// Whether `size` more bytes are unused. Looks at the consumer's position only if it has to.
    #[inline]
    fn fits(&mut self, size: u64) -> Result<bool, Corrupt> {
        let capacity = self.memory.capacity() as u64;
        if self.tail - self.head + size <= capacity {
            return Ok(true);
        }
        self.refresh_head(self.published)?;
        Ok(self.tail - self.head + size <= capacity)
    }

    /// Reads how far the consumer has come, which is not beyond `tail`.
    #[inline]
    fn refresh_head(&mut self, tail: u64) -> Result<(), Corrupt> {
        let capacity = self.memory.capacity() as u64;
        // Acquire: the consumer has read what lies before; pairs with Release in `Consumer::release`.
        let head = self.memory.header().backward.head.load(Ordering::Acquire);
        if !is_position(tail) {
            return Err(Corrupt::Tail { found: tail });
        }
        if !is_position(head) || head < self.head || head > tail {
            return Err(Corrupt::Head { found: head });
        }
        if tail - head > capacity {
            return Err(Corrupt::Tail { found: tail });
        }
        self.head = head;
        Ok(())
    }

    /// Fills the rest of the lap, `size` bytes.
    fn pad(&mut self, size: u64) {
        let len = u32::try_from(size - RECORD_HEADER as u64).expect("less than a capacity");
        let padding = Word::new(len, 0, 0, State::Padding);
        self.memory
            .word(self.tail)
            .store(padding.0, Ordering::Relaxed);
        self.tail += size;
    }

    /// Whether a later record stands where this one stood: the consumer was through with it then.
    fn is_overwritten(&self, position: Position) -> bool {
        self.tail.saturating_sub(position.0) > self.memory.capacity() as u64
    }
}

impl<M> fmt::Debug for Producer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.memory.capacity())
            .field("tail", &self.tail)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushError::Full => write!(f, "the ring is full"),
            PushError::TooLarge { len, max } => {
                write!(
                    f,
                    "a record of {len} bytes is longer than the ring takes ({max} bytes)"
                )
            }
            PushError::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl Error for PushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PushError::Corrupt(corrupt) => Some(corrupt),
            _ => None,
        }
    }
}
