//! A channel's memory.
//!
//! | bytes | what |
//! |---|---|
//! | 0..40 | the lock between senders |
//! | 64..68 | 1 once the receiver was dropped |
//! | 128.. | the ring |

use std::io;

use multiproc_shm::Block;
use multiproc_shm::ring::{self, Consumer, Corrupt, Producer};
use multiproc_sync::primitive::{AtomicU32, Ordering};
use multiproc_sync::{Deadline, LockGuard, LockTimeoutError, LockWord};

const CLOSED: usize = 64;
const RING: usize = 128;

/// The memory of one channel, mapped.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    block: Block,
    capacity: usize,
}

/// The right to be the producer, until dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _guard: LockGuard<'a>,
    /// The one before was killed in the middle.
    pub(super) inherited: bool,
}

impl Shared {
    pub(super) fn create(capacity: usize) -> io::Result<Shared> {
        let invalid = |error: Corrupt| {
            let why = format!("a channel cannot hold {capacity} bytes: {error}");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        if capacity > ring::MAX_CAPACITY {
            return Err(invalid(Corrupt::Capacity {
                found: capacity as u64,
            }));
        }
        multiproc_sys::robust::available()?;
        let block = Block::create(RING + ring::bytes_needed(capacity))?;
        let shared = Shared { block, capacity };
        // SAFETY: the block has room for the ring and nobody else has it; 128 bytes from a multiple of 128
        // are aligned to 128.
        unsafe { ring::init(shared.ring(), capacity) }.map_err(invalid)?;
        Ok(shared)
    }

    /// For memory that was received, with the capacity that it is said to have.
    pub(super) fn open(block: Block, capacity: usize) -> io::Result<Shared> {
        let fits =
            capacity <= ring::MAX_CAPACITY && block.len() == RING + ring::bytes_needed(capacity);
        if !fits {
            let why = "the received memory is no channel of that capacity";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Shared { block, capacity })
    }

    pub(super) fn block(&self) -> &Block {
        &self.block
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The right to be the producer. `None` where somebody else has it until the deadline; without a
    /// deadline, now.
    #[inline]
    pub(super) fn turn(&self, until: Option<Deadline>) -> Option<Turn<'_>> {
        // An uncontended lock is taken whatever the deadline.
        let until = until.unwrap_or_else(Deadline::now);
        // SAFETY: the guard borrows `self`, which keeps the memory mapped, and is never leaked.
        match unsafe { self.lock().guard_until(until) } {
            Ok(guard) => Some(Turn {
                _guard: guard,
                inherited: false,
            }),
            Err(LockTimeoutError::Poisoned(error)) => {
                // Nothing is half changed: what was not published is not there.
                self.lock().clear_poison();
                Some(Turn {
                    _guard: error.into_inner(),
                    inherited: true,
                })
            }
            Err(LockTimeoutError::TimedOut) => None,
        }
    }

    /// The producer's end, going on behind what was published.
    #[inline]
    pub(super) fn producer<'a>(
        &'a self,
        _turn: &'a Turn<'_>,
    ) -> Result<Producer<&'a Block>, Corrupt> {
        // SAFETY: the ring lies in the block, which the borrow keeps; whoever has the turn is the only
        // producer, and the end borrows it.
        unsafe { Producer::new(&self.block, self.ring(), self.capacity) }
    }

    /// The consumer's end, going on with what was not released.
    ///
    /// # Safety
    /// No other consumer of this channel is in use.
    pub(super) unsafe fn consumer(&self) -> Result<Consumer<Block>, Corrupt> {
        // SAFETY: the ring lies in the block, which the end keeps; the rest is vouched for.
        unsafe { Consumer::new(self.block.clone(), self.ring(), self.capacity) }
    }

    /// Whether the receiver was dropped. One that was killed did not say so.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        // Relaxed: nothing else is concluded from it.
        self.closed().load(Ordering::Relaxed) != 0
    }

    pub(super) fn close(&self) {
        self.closed().store(1, Ordering::Relaxed);
    }

    fn ring(&self) -> *mut u8 {
        self.block.as_ptr().wrapping_add(RING)
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn lock(&self) -> &LockWord {
        let lock = self.block.as_ptr().cast::<LockWord>();
        // SAFETY: at the start of the block, which is aligned to 128 and longer; made of atomics, of
        // which any bytes are values, whoever writes to them.
        unsafe { &*lock }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "argued below")]
    fn closed(&self) -> &AtomicU32 {
        let word = self.block.as_ptr().wrapping_add(CLOSED).cast::<AtomicU32>();
        // SAFETY: at byte 64 of the block, which is longer and aligned to 128; an atomic, of which any
        // bytes are a value, whoever writes to them.
        unsafe { &*word }
    }
}
