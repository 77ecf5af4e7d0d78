//! Lanes: what a parent and one of its workers share. A ring each way, another for short items, and a death word, in one
//! block.
//!
//! | bytes | what |
//! |---|---|
//! | 0..40 | the worker's death word |
//! | 48..52 | what the parent asks of the worker beside the rings |
//! | 64..92 | which of the six ends and the death word are taken, a word each |
//! | 128..136 | which tasks of the record that the worker has claimed it has claimed: [`Claims`] |
//! | 256..264 | and which of them it may claim |
//! | 384.. | the ring from parent to worker |
//! | then | the ring from worker to parent, at a multiple of 128 |
//! | then | a smaller ring of short items from worker to parent, at a multiple of 128 |
//!
//! Each end of a ring is given out once in the memory's life, so that no safe code can have two
//! producers or two consumers of one ring.

use std::fmt;
use std::io;

use multiproc_sync::primitive::{AtomicU32, AtomicU64, Ordering, RobustWord};
use serde::{Deserialize, Serialize};

use crate::block::Block;
use crate::ring::{self, Claims, Consumer, Corrupt, ItemConsumer, ItemProducer, Producer};

const ASKED: usize = 48;
const TAKEN: usize = 64;
/// On a line of its own.
const CLAIMS: usize = 128;
const LIMIT: usize = 256;
const FIRST_RING: usize = 384;

/// What a parent and one of its workers share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lane {
    block: Block,
    capacity: u32,
}

/// Why an end of a lane cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneError {
    /// It was given out before.
    Taken,
    /// The memory is no lane.
    Corrupt(Corrupt),
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaneError::Taken => f.write_str("this end of the lane was given out before"),
            LaneError::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl std::error::Error for LaneError {}

/// A parent's ends of a lane.
pub type ParentEnds = (Producer<Block>, Consumer<Block>, ItemConsumer<Block>);

/// A worker's ends of a lane.
pub type WorkerEnds = (Consumer<Block>, Producer<Block>, ItemProducer<Block>);

#[derive(Clone, Copy)]
enum End {
    DownProducer,
    DownConsumer,
    UpProducer,
    UpConsumer,
    ItemProducer,
    ItemConsumer,
    DeathWord,
}

impl Lane {
    /// A lane whose rings hold `capacity` bytes each.
    ///
    /// # Errors
    /// `InvalidInput` for a capacity that no ring can have; where there is no memory for it, or too many
    /// files are open.
    pub fn create(capacity: usize) -> io::Result<Lane> {
        let invalid = |error: &dyn fmt::Display| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no lane can be made: {error}"),
            )
        };
        let stored = u32::try_from(capacity).map_err(|error| invalid(&error))?;
        let size = size(capacity).ok_or_else(|| invalid(&"it would be too large"))?;
        let lane = Lane {
            block: Block::create(size)?,
            capacity: stored,
        };
        let rings = [
            (FIRST_RING, capacity),
            (second_ring(capacity), capacity),
            (item_ring(capacity), item_capacity(capacity)),
        ];
        for (offset, capacity) in rings {
            let base = lane.block.as_ptr().wrapping_add(offset);
            // SAFETY: aligned to 128, with room for the ring (`size`), and nobody else has the block yet.
            unsafe { ring::init(base, capacity) }.map_err(|error| invalid(&error))?;
        }
        Ok(lane)
    }

    /// The parent's ends: it produces tasks and consumes results, short ones and others.
    ///
    /// # Errors
    /// [`LaneError`] where they were given out before, or the memory is no lane.
    pub fn parent(&self) -> Result<ParentEnds, LaneError> {
        let down = self.producer(End::DownProducer, FIRST_RING)?;
        let up = self.consumer(End::UpConsumer, second_ring(self.capacity()))?;
        let (base, capacity) = self.items(End::ItemConsumer)?;
        // SAFETY: `take` has found room for the ring, and has given this end out once.
        let items = unsafe { ItemConsumer::new(self.block.clone(), base, capacity) };
        Ok((down, up, items.map_err(LaneError::Corrupt)?))
    }

    /// The worker's ends: it consumes tasks and produces results, short ones and others.
    ///
    /// # Errors
    /// [`LaneError`] where they were given out before, or the memory is no lane.
    pub fn worker(&self) -> Result<WorkerEnds, LaneError> {
        let down = self.consumer(End::DownConsumer, FIRST_RING)?;
        let up = self.producer(End::UpProducer, second_ring(self.capacity()))?;
        let (base, capacity) = self.items(End::ItemProducer)?;
        // SAFETY: `take` has found room for the ring, and has given this end out once.
        let items = unsafe { ItemProducer::new(self.block.clone(), base, capacity) };
        Ok((down, up, items.map_err(LaneError::Corrupt)?))
    }

    fn items(&self, end: End) -> Result<(*mut u8, usize), LaneError> {
        let capacity = self.capacity();
        let base = self.take(end, item_ring(capacity))?;
        Ok((base, item_capacity(capacity)))
    }

    /// Which tasks are claimed of a record that has several.
    #[must_use]
    #[inline]
    pub fn claims(&self) -> Claims<'_> {
        #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
        let word = |offset| self.block.as_ptr().wrapping_add(offset).cast::<AtomicU64>();
        // SAFETY: an aligned word at byte 128 of the block, which `create` or `check` found longer; any bytes are
        // an atomic's.
        let claims = unsafe { &*word(CLAIMS) };
        // SAFETY: as above, at byte 256.
        let limit = unsafe { &*word(LIMIT) };
        Claims::new(claims, limit)
    }

    /// Ties the death word to the calling thread, once in the lane's life: the kernel marks the word and
    /// wakes who waits on it when the thread ends.
    ///
    /// # Errors
    /// [`LaneError::Taken`] where a thread did so before; [`LaneError::Corrupt`] where the lane is too
    /// short to be one.
    ///
    /// # Panics
    /// If the platform has no robust words.
    pub fn hold_death_word(&self) -> Result<(), LaneError> {
        self.check()?;
        self.take(End::DeathWord, 0)?;
        let word = self.death_word();
        // The mapping has to outlive the thread, whoever drops the lane: it is never unmapped.
        Box::leak(Box::new(self.block.clone()));
        // SAFETY: the mapping was just leaked; the word is nobody's.
        let _alive: u32 = unsafe { word.hold_until_death() };
        Ok(())
    }

    /// The word that the kernel marks with [`multiproc_sync::primitive::OWNER_DIED`].
    #[must_use]
    pub fn death(&self) -> &AtomicU32 {
        &self.death_word().word
    }

    /// A word in which the parent can ask something of a worker that is busy. 0 at first; what it means is theirs to
    /// agree on.
    #[must_use]
    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    pub fn asked(&self) -> &AtomicU32 {
        let word = self.block.as_ptr().wrapping_add(ASKED).cast::<AtomicU32>();
        // SAFETY: an aligned word at byte 48 of the block, which `create` or `check` found longer; any bytes are
        // an atomic's.
        unsafe { &*word }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn death_word(&self) -> &RobustWord {
        let word = self.block.as_ptr().cast::<RobustWord>();
        // SAFETY: `check` or `create` found the block long enough; the word is at its start, which is
        // aligned to 128; it is made of atomics, of which any bytes are values, whoever writes to them.
        unsafe { &*word }
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// That the block is as long as the capacity, which came with it, demands.
    fn check(&self) -> Result<(), LaneError> {
        let wrong = Corrupt::Capacity {
            found: u64::from(self.capacity),
        };
        match size(self.capacity()) {
            Some(size) if size == self.block.len() => Ok(()),
            _ => Err(LaneError::Corrupt(wrong)),
        }
    }

    fn producer(&self, end: End, offset: usize) -> Result<Producer<Block>, LaneError> {
        let base = self.take(end, offset)?;
        // SAFETY: `take` has found room for the ring, and has given this end out once.
        let made = unsafe { Producer::new(self.block.clone(), base, self.capacity()) };
        made.map_err(LaneError::Corrupt)
    }

    fn consumer(&self, end: End, offset: usize) -> Result<Consumer<Block>, LaneError> {
        let base = self.take(end, offset)?;
        // SAFETY: `take` has found room for the ring, and has given this end out once.
        let made = unsafe { Consumer::new(self.block.clone(), base, self.capacity()) };
        made.map_err(LaneError::Corrupt)
    }

    /// The address of the ring at `offset`, for whoever is the first to ask for this end of it.
    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn take(&self, end: End, offset: usize) -> Result<*mut u8, LaneError> {
        self.check()?;
        let word = self.block.as_ptr().wrapping_add(TAKEN).cast::<AtomicU32>();
        let word = word.wrapping_add(end as usize);
        // SAFETY: one of seven aligned words at byte 64 of the block; any bytes are an atomic's.
        let word = unsafe { &*word };
        // Relaxed: only who is first; the ring itself is ordered by its own words.
        if word.swap(1, Ordering::Relaxed) != 0 {
            return Err(LaneError::Taken);
        }
        Ok(self.block.as_ptr().wrapping_add(offset))
    }
}

fn second_ring(capacity: usize) -> usize {
    (FIRST_RING + ring::bytes_needed(capacity)).next_multiple_of(128)
}

fn item_ring(capacity: usize) -> usize {
    (second_ring(capacity) + ring::bytes_needed(capacity)).next_multiple_of(128)
}

/// How many bytes of short items there can be in a lane whose rings hold so many.
fn item_capacity(capacity: usize) -> usize {
    (capacity / 8).max(ring::MIN_CAPACITY)
}

/// The size of a lane's block.
fn size(capacity: usize) -> Option<usize> {
    let items = ring::bytes_needed(item_capacity(capacity));
    (capacity <= ring::MAX_CAPACITY).then(|| item_ring(capacity) + items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use multiproc_sync::primitive::OWNER_DIED;

    #[test]
    fn records_pass_both_ways_and_ends_are_given_once() {
        let lane = Lane::create(1 << 12).unwrap();
        let (mut tasks, mut results, mut items) = lane.parent().unwrap();
        let (mut todo, mut done, mut short) = lane.worker().unwrap();
        assert_eq!(lane.parent().unwrap_err(), LaneError::Taken);
        assert_eq!(lane.clone().worker().unwrap_err(), LaneError::Taken);
        tasks.push(&[b"task"], 1).unwrap();
        assert!(!tasks.publish());
        assert_eq!(todo.peek().unwrap().unwrap().tag(), 1);
        done.push(&[b"result"], 2).unwrap();
        assert!(!done.publish());
        assert_eq!(results.peek().unwrap().unwrap().tag(), 2);
        assert!(short.append(b"\x02ok"));
        let (mut buffer, mut places) = (vec![], [0; 4]);
        assert!(items.look());
        assert_eq!(items.take(&mut buffer, &mut places), Ok(1));
        assert_eq!((&buffer[..], places), (&b"\x02ok"[..], [1, 0, 0, 0]));
        let mut claiming = ring::Claiming::new();
        claiming.begin(&lane.clone().claims(), 7, 2);
        assert_eq!(claiming.claim(&lane.claims()), Some(0));
        assert_eq!(lane.claims().take_back(7, 2, 5), 1);
    }

    #[test]
    fn the_death_word_tells_of_the_threads_end() {
        let lane = Lane::create(1 << 10).unwrap();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                lane.hold_death_word().unwrap();
                assert_eq!(lane.hold_death_word(), Err(LaneError::Taken));
                assert_eq!(lane.death().load(Ordering::Relaxed) & OWNER_DIED, 0);
            });
            worker.join().unwrap();
        });
        assert_ne!(lane.death().load(Ordering::Relaxed) & OWNER_DIED, 0);
    }

    #[test]
    fn what_no_ring_can_hold_is_an_error() {
        for capacity in [0, 1, 100, usize::MAX] {
            assert_eq!(
                Lane::create(capacity).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        let short = Lane {
            block: Block::create(4096).unwrap(),
            capacity: 1 << 20,
        };
        assert!(matches!(short.parent(), Err(LaneError::Corrupt(_))));
        assert!(matches!(
            short.hold_death_word(),
            Err(LaneError::Corrupt(_))
        ));
    }
}
