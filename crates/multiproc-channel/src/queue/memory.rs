//! A queue's memory: where things lie, and how all of its state changes at once.
//!
//! | bytes | what |
//! |---|---|
//! | 0..40 | the lock, under which everything is changed |
//! | 64.., 128.., 192.. | the alarms: something came, room came, everything was done |
//! | 240..244 | which of the two copies of the state holds |
//! | 244..256 | whether somebody waits at each alarm |
//! | 256..260 | whether the flag is in use |
//! | 320.., 448.. | the two copies of the [`State`] |
//! | 1024.. | the hands: which process has taken how many messages, and is through with how many |
//! | [`CHUNKS`].. | chunks of [`CHUNK`] bytes: the number of the next, then records |
//!
//! # Invariants
//!
//! 1. Everything but the lock is written by who has the lock.
//! 2. A change writes the copy of the state that does not hold, and then the word that says which holds: one
//!    store, before which nothing has happened and after which all has.
//! 3. Chunks from the state's `grown` on are not reserved and never looked at.
//! 4. What is read from the memory is checked before it acts as an index or a length.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use multiproc_shm::Block;
use multiproc_sync::{Alarm, Deadline, LockGuard, LockTimeoutError, LockWord};
use serde::{Deserialize, Serialize};

const ITEMS: usize = 64;
const ROOM: usize = 128;
const FINISHED: usize = 192;
const WHICH: usize = 240;
const WAITING: usize = 244;
const FLAG_IN_USE: usize = 256;
const COPIES: [usize; 2] = [320, 448];
const HANDS: usize = 1024;
const HAND: usize = 64;
pub(crate) const MAX_HANDS: usize = 256;

/// Behind the block's header of 128 bytes, so that a chunk is made of whole pages.
pub(super) const CHUNKS: usize = CHUNK - 128;
pub(super) const CHUNK: usize = 64 << 10;
/// A gibibyte of messages that wait; longer ones wait outside.
pub(super) const MAX_CHUNKS: u32 = 1 << 14;

/// No chunk.
pub(super) const NONE: u32 = u32::MAX;

/// A place in the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chunk: u32,
    pub(super) at: u32,
}

/// All that changes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The oldest record.
    pub(super) head: Place,
    /// Where the next record goes.
    pub(super) tail: Place,
    /// The chunk whose records were all taken and that is not among the free ones yet, or [`NONE`].
    pub(super) loose: u32,
    pub(super) closed: u32,
    /// The first free chunk, or [`NONE`].
    pub(super) free: u32,
    /// How many chunks are in use or free.
    pub(super) grown: u32,
    /// How many messages were ever sent, and taken.
    pub(super) sent: u64,
    pub(super) taken: u64,
    /// How many of those that are here have handles.
    pub(super) parcels: u64,
    /// How many messages were in the hands of processes when they ended.
    pub(super) lost: u64,
    /// The hand, counted from 1, that is being counted as lost; or 0.
    pub(super) losing: u64,
}

const WORDS: usize = 9;

/// What waits are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Items = 0,
    Room = 1,
    Finished = 2,
}

/// The memory of one queue, mapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    block: Block,
}

/// Who has it changes the queue, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _guard: LockGuard<'a>,
    /// The one before was killed in the middle.
    pub(super) inherited: bool,
}

impl Memory {
    pub(super) fn create() -> io::Result<Memory> {
        multiproc_sys::robust::available()?;
        let length = CHUNKS + CHUNK * MAX_CHUNKS as usize;
        let block = Block::create_reserving(length, CHUNKS + CHUNK)?;
        let memory = Memory { block };
        memory.commit(&State::NEW);
        Ok(memory)
    }

    /// Whether received memory is as long as a queue's is.
    pub(super) fn is_whole(&self) -> bool {
        self.block.len() == CHUNKS + CHUNK * MAX_CHUNKS as usize
    }

    /// The right to change the queue; `None` where somebody else has it until the deadline.
    pub(super) fn turn(&self, until: Deadline) -> Option<Turn<'_>> {
        // SAFETY: the guard borrows `self`, which keeps the memory mapped, and is never leaked.
        match unsafe { self.lock().guard_until(until) } {
            Ok(guard) => Some(Turn {
                _guard: guard,
                inherited: false,
            }),
            Err(LockTimeoutError::Poisoned(error)) => Some(Turn {
                _guard: error.into_inner(),
                inherited: true,
            }),
            Err(LockTimeoutError::TimedOut) => None,
        }
    }

    /// What a dead one left behind was looked after.
    pub(super) fn settled(&self) {
        self.lock().clear_poison();
    }

    pub(super) fn state(&self) -> State {
        let copy = COPIES[self.which()];
        let words = std::array::from_fn(|index| {
            // Relaxed: written under the lock.
            self.count(copy + index * 8).load(Ordering::Relaxed)
        });
        State::from_words(words)
    }

    /// Makes `state` hold, at once (Invariant 2).
    pub(super) fn commit(&self, state: &State) {
        let other = 1 - self.which();
        for (index, word) in state.to_words().into_iter().enumerate() {
            self.count(COPIES[other] + index * 8)
                .store(word, Ordering::Relaxed);
        }
        // Release: a process that is killed here has written the copy before; nobody else looks without the lock.
        self.word(WHICH)
            .store(u32::from(other == 1), Ordering::Release);
    }

    fn which(&self) -> usize {
        self.word(WHICH).load(Ordering::Acquire) as usize & 1
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    pub(super) fn alarm(&self, of: For) -> &Alarm {
        let at = match of {
            For::Items => ITEMS,
            For::Room => ROOM,
            For::Finished => FINISHED,
        };
        let alarm = self.at(at).cast::<Alarm>();
        // SAFETY: before the chunks, in the block, which is longer and aligned to 128; the offset is a multiple of
        // 64; made of atomics, of which any bytes are values, whoever writes to them.
        unsafe { &*alarm }
    }

    /// Whether somebody waits at an alarm, or did and was killed.
    pub(super) fn waiting(&self, of: For) -> &AtomicU32 {
        self.word(WAITING + of as usize * 4)
    }

    pub(super) fn flag_in_use(&self) -> &AtomicU32 {
        self.word(FLAG_IN_USE)
    }

    /// A number of a hand.
    pub(super) fn hand(&self, hand: usize, number: usize) -> &AtomicU64 {
        self.count(HANDS + hand.min(MAX_HANDS - 1) * HAND + number * 8)
    }

    /// The word that begins a chunk: the number of the next.
    pub(super) fn next(&self, chunk: u32) -> &AtomicU64 {
        self.count(CHUNKS + chunk.min(MAX_CHUNKS - 1) as usize * CHUNK)
    }

    /// The word at a place that is inside a chunk.
    pub(super) fn header(&self, place: Place) -> &AtomicU64 {
        self.count(self.offset(place))
    }

    /// Copies bytes to behind the word at a place that has room for them.
    ///
    /// # Safety
    /// The caller has the turn, and nobody reads there without it.
    pub(super) unsafe fn write(&self, place: Place, parts: &[&[u8]]) {
        let mut at = self.offset(place) + 8;
        for part in parts {
            assert!(at + part.len() <= self.block.len());
            let to = self.at(at);
            // SAFETY: inside the block, just checked; the caller vouches for the rest.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len()) };
            at += part.len();
        }
    }

    /// Copies bytes from behind the word at a place.
    ///
    /// # Safety
    /// As [`write`](Self::write).
    pub(super) unsafe fn read(&self, place: Place, len: usize, to: &mut Vec<u8>) {
        let at = self.offset(place) + 8;
        assert!(at + len <= self.block.len());
        to.reserve(len);
        let from = self.at(at);
        // SAFETY: inside the block, just checked; `reserve` made room; the caller vouches for the rest.
        unsafe {
            std::ptr::copy_nonoverlapping(
                from,
                to.spare_capacity_mut().as_mut_ptr().cast::<u8>(),
                len,
            )
        };
        // SAFETY: the bytes were just written.
        unsafe { to.set_len(to.len() + len) };
    }

    pub(super) fn reserve(&self, chunk: u32) -> io::Result<()> {
        self.block.reserve(CHUNKS + chunk as usize * CHUNK, CHUNK)
    }

    /// Gives chunks back to the machine.
    pub(super) fn release(&self, from: u32, to: u32) {
        let (from, to) = (from as usize, to.min(MAX_CHUNKS) as usize);
        // What cannot be given back stays.
        let _kept: io::Result<()> = self
            .block
            .release(CHUNKS + from * CHUNK, to.saturating_sub(from) * CHUNK);
    }

    fn offset(&self, place: Place) -> usize {
        let chunk = place.chunk.min(MAX_CHUNKS - 1) as usize;
        let at = (place.at as usize).min(CHUNK - 8) & !7;
        CHUNKS + chunk * CHUNK + at
    }

    fn at(&self, at: usize) -> *mut u8 {
        self.block.as_ptr().wrapping_add(at)
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn lock(&self) -> &LockWord {
        // SAFETY: at the start of the block, which is aligned to 128 and longer; made of atomics, of which any
        // bytes are values, whoever writes to them.
        unsafe { &*self.at(0).cast::<LockWord>() }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at < COPIES[0] && at.is_multiple_of(4));
        // SAFETY: the constant offsets are inside the block and multiples of four; an atomic, of which any bytes are
        // a value, whoever writes to them.
        unsafe { &*self.at(at).cast::<AtomicU32>() }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn count(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at + 8 <= self.block.len() && at.is_multiple_of(8));
        // SAFETY: offsets are bounded where they are made (`offset`, `hand`, `next`), inside the block and multiples
        // of eight; an atomic, of which any bytes are a value, whoever writes to them.
        unsafe { &*self.at(at).cast::<AtomicU64>() }
    }
}

impl State {
    /// Of an empty queue of one chunk.
    const NEW: State = State {
        head: Place::FIRST,
        tail: Place::FIRST,
        loose: NONE,
        closed: 0,
        free: NONE,
        grown: 1,
        sent: 0,
        taken: 0,
        parcels: 0,
        lost: 0,
        losing: 0,
    };

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(super) fn len(&self) -> u64 {
        self.sent.saturating_sub(self.taken)
    }

    fn to_words(self) -> [u64; WORDS] {
        [
            pair(self.head.chunk, self.head.at),
            pair(self.tail.chunk, self.tail.at),
            pair(self.loose, self.closed),
            pair(self.free, self.grown),
            self.sent,
            self.taken,
            self.parcels,
            self.lost,
            self.losing,
        ]
    }

    fn from_words(words: [u64; WORDS]) -> State {
        let [head, tail, loose, free, sent, taken, parcels, lost, losing] = words;
        let place = |word| {
            let (chunk, at) = halves(word);
            Place { chunk, at }
        };
        let ((loose, closed), (free, grown)) = (halves(loose), halves(free));
        State {
            head: place(head),
            tail: place(tail),
            loose,
            closed,
            free,
            grown,
            sent,
            taken,
            parcels,
            lost,
            losing,
        }
    }
}

impl Place {
    /// Behind the word that begins the first chunk.
    pub(super) const FIRST: Place = Place { chunk: 0, at: 8 };
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    (
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([a, b, c, d]),
    )
}
