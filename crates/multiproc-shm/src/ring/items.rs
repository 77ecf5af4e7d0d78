//! A ring of short items without headers: each behind one byte that says how long it is, taken in many at a time.
//!
//! It has the memory of a ring of records, and its positions: bytes that are published, bytes that are released. An item
//! is published as soon as it is appended; looking whether the consumer sleeps is the caller's, as is what to do where
//! there is no room. Nothing is claimed and nothing taken back here.
//!
//! # Invariants
//!
//! 1. `head ≤ tail ≤ head + capacity`; both only grow. Between `tail` and `head + capacity` the bytes are the
//!    producer's, the others the consumer's.
//! 2. A producer that follows the protocol publishes whole items.
//!
//! # Death
//!
//! A producer that is killed before it publishes has appended nothing; a consumer that is killed before it
//! releases finds the items again.

use std::fmt;

use multiproc_sync::primitive::Ordering;

use super::corrupt::Corrupt;
use super::memory::Memory;

/// Items are shorter than this: what is left over says that the length is elsewhere.
pub const LONG: u8 = u8::MAX;

/// The end that appends items. `M` keeps the memory mapped.
pub struct ItemProducer<M> {
    memory: Memory<M>,
    tail: u64,
    /// The consumer reads from here, or from later on.
    head: u64,
}

/// The end that takes items. `M` keeps the memory mapped.
pub struct ItemConsumer<M> {
    memory: Memory<M>,
    head: u64,
    /// Up to where items were seen.
    seen: u64,
}

impl<M> ItemProducer<M> {
    /// The producer's end of a ring that [`init`](super::init) made, and of which nothing was used.
    ///
    /// # Errors
    /// [`Corrupt`] where the memory is no ring of this capacity.
    ///
    /// # Safety
    /// As for [`Producer::new`](super::Producer::new).
    #[cfg(not(loom))]
    pub unsafe fn new(owner: M, base: *mut u8, capacity: usize) -> Result<Self, Corrupt> {
        // SAFETY: the same obligations.
        let memory = unsafe { Memory::new(owner, base, capacity) }?;
        Ok(ItemProducer::over(memory))
    }

    pub(super) fn over(memory: Memory<M>) -> Self {
        ItemProducer {
            memory,
            tail: 0,
            head: 0,
        }
    }

    /// Appends and publishes an item: its length, one byte, and the bytes. `false`, and nothing appended, where there is no
    /// room.
    ///
    /// # Panics
    /// If that byte is not the length of what follows it.
    #[inline]
    pub fn append(&mut self, item: &[u8]) -> bool {
        let well_formed = item
            .split_first()
            .is_some_and(|(length, rest)| *length != LONG && usize::from(*length) == rest.len());
        assert!(well_formed, "an item is a length and as many bytes");
        let size = item.len() as u64;
        let capacity = self.memory.capacity();
        if self.tail - self.head + size > capacity as u64 && !self.has_room(size) {
            return false;
        }
        let to_end = capacity - self.memory.offset(self.tail);
        let (now, behind) = item.split_at(item.len().min(to_end));
        // SAFETY: up to the end of the lap, and that there is room was just found: the bytes are the producer's.
        unsafe { self.memory.write(self.tail, now) };
        if !behind.is_empty() {
            // SAFETY: as above, from the beginning of the lap on.
            unsafe { self.memory.write(self.tail + now.len() as u64, behind) };
        }
        self.tail += size;
        // Release: publishes the bytes; pairs with Acquire in `ItemConsumer::look`.
        let tail = &self.memory.header().forward.tail;
        tail.store(self.tail, Ordering::Release);
        true
    }

    /// Looks how far the consumer has come. A position that makes no sense is no room.
    #[cold]
    fn has_room(&mut self, size: u64) -> bool {
        // Acquire: the consumer has read what lies before; pairs with Release in `ItemConsumer::take`.
        let head = self.memory.header().backward.head.load(Ordering::Acquire);
        if head < self.head || head > self.tail {
            return false;
        }
        self.head = head;
        self.tail - head + size <= self.memory.capacity() as u64
    }
}

impl<M> ItemConsumer<M> {
    /// The consumer's end of a ring that [`init`](super::init) made, and of which nothing was used.
    ///
    /// # Errors
    /// [`Corrupt`] where the memory is no ring of this capacity.
    ///
    /// # Safety
    /// As for [`Consumer::new`](super::Consumer::new).
    #[cfg(not(loom))]
    pub unsafe fn new(owner: M, base: *mut u8, capacity: usize) -> Result<Self, Corrupt> {
        // SAFETY: the same obligations.
        let memory = unsafe { Memory::new(owner, base, capacity) }?;
        Ok(ItemConsumer::over(memory))
    }

    pub(super) fn over(memory: Memory<M>) -> Self {
        ItemConsumer {
            memory,
            head: 0,
            seen: 0,
        }
    }

    /// How many bytes of items there are to take: 0 where there is none. Costs one load.
    #[must_use]
    #[inline]
    pub fn available(&self) -> u64 {
        // Relaxed: who finds something goes on to `look`, which acquires.
        let tail = self.memory.header().forward.tail.load(Ordering::Relaxed);
        tail.wrapping_sub(self.head)
    }

    /// Whether items that were [seen](Self::look) are left to be taken.
    #[must_use]
    #[inline]
    pub fn has_seen(&self) -> bool {
        self.seen != self.head
    }

    /// Looks for items, and says whether there are any. What the producer did before it published the last of them is seen
    /// by whoever looks for it after this.
    #[inline]
    pub fn look(&mut self) -> bool {
        // Acquire: pairs with Release in `ItemProducer::append`.
        self.seen = self.memory.header().forward.tail.load(Ordering::Acquire);
        self.seen != self.head
    }

    /// Takes as many of the items that were seen as there are places, no matter what was published since. They are appended to `buffer`, each behind its length, and each
    /// place is set to where in it the item itself begins. How many were taken.
    ///
    /// The lengths are read twice, once for the places and once as they are copied: whoever uses them has to expect that
    /// a producer which breaks the protocol has changed them.
    ///
    /// # Errors
    /// [`Corrupt`] where what was published is no row of items. Nothing was taken then.
    #[inline]
    pub fn take(&mut self, buffer: &mut Vec<u8>, places: &mut [u64]) -> Result<usize, Corrupt> {
        let tail = self.seen;
        let capacity = self.memory.capacity();
        if tail < self.head || tail - self.head > capacity as u64 {
            return Err(Corrupt::Tail { found: tail });
        }
        let start = self.head;
        // Behind their lengths.
        let first = buffer.len() as u64 + 1;
        let (mut size, mut taken) = (0, 0);
        for place in places {
            let at = start + size as u64;
            if at == tail {
                break;
            }
            let length = self.byte(at);
            if at + 1 + u64::from(length) > tail || length == LONG {
                if taken > 0 {
                    // It is found again, first of all.
                    break;
                }
                return Err(Corrupt::Length {
                    found: length.into(),
                });
            }
            *place = first + size as u64;
            size += 1 + usize::from(length);
            taken += 1;
        }
        let to_end = capacity - self.memory.offset(start);
        self.copy(start, size.min(to_end), buffer);
        if size > to_end {
            self.copy(start + to_end as u64, size - to_end, buffer);
        }
        self.release(start + size as u64);
        Ok(taken)
    }

    fn release(&mut self, head: u64) {
        self.head = head;
        // Release: the items were read; pairs with Acquire in `ItemProducer::has_room`.
        let released = &self.memory.header().backward.head;
        released.store(head, Ordering::Release);
    }

    #[inline]
    fn byte(&self, position: u64) -> u8 {
        let mut byte = 0;
        // SAFETY: one byte of what is published, by Invariant 1 and the check in `take`.
        unsafe { self.memory.read(position, &raw mut byte, 1) };
        byte
    }

    /// Appends so many bytes, which end before the end of the lap.
    #[inline]
    fn copy(&self, position: u64, len: usize, buffer: &mut Vec<u8>) {
        buffer.reserve(len);
        let room = buffer.spare_capacity_mut();
        // SAFETY: within a lap and what is published, and `reserve` made room.
        unsafe { self.memory.read(position, room.as_mut_ptr().cast(), len) };
        // SAFETY: the bytes were just written.
        unsafe { buffer.set_len(buffer.len() + len) };
    }
}

impl<M> fmt::Debug for ItemProducer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemProducer")
            .field("capacity", &self.memory.capacity())
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for ItemConsumer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemConsumer")
            .field("capacity", &self.memory.capacity())
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
