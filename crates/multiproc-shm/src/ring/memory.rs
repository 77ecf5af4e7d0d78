//! A ring's bytes, in memory that may be another process's too.
//!
//! The only file of the ring that touches the memory: header words and positions as atomics, payload
//! by copying through raw pointers. There is never a reference to payload.
//!
//! # Invariants
//!
//! 1. `base` is the start of `bytes_needed(capacity)` live bytes, aligned to 128, for as long as
//!    `owner` lives; the capacity is one a ring can have.
//! 2. A position, taken modulo the capacity, lies inside the data.

use std::ptr::NonNull;

use multiproc_sync::primitive::{AtomicU64, Ordering};

use super::corrupt::Corrupt;
use super::layout::{Header, MAGIC, VERSION, is_capacity};

/// Lays out an empty ring in memory that nobody else uses yet, or any more.
///
/// # Errors
/// [`Corrupt::Capacity`] where `capacity` is no power of two between [`MIN_CAPACITY`](super::MIN_CAPACITY)
/// and [`MAX_CAPACITY`](super::MAX_CAPACITY).
///
/// # Safety
/// `base` is aligned to 128 and begins [`bytes_needed(capacity)`](super::bytes_needed) writable bytes,
/// and no end of a ring is in use on them.
pub unsafe fn init(base: *mut u8, capacity: usize) -> Result<(), Corrupt> {
    if !is_capacity(capacity) {
        return Err(Corrupt::Capacity {
            found: capacity as u64,
        });
    }
    #[expect(clippy::cast_ptr_alignment, reason = "the caller vouches for it")]
    let header = base.cast::<Header>();
    // SAFETY: the caller vouches for the bytes; all zeroes is a valid header.
    unsafe { header.write_bytes(0, 1) };
    // SAFETY: just written, and made of atomics.
    let header = unsafe { &*header };
    header.identity.version.store(VERSION, Ordering::Relaxed);
    header
        .identity
        .capacity
        .store(capacity as u64, Ordering::Relaxed);
    // Release: whoever finds the magic number finds the rest. Pairs with Acquire in `Memory::new`.
    header.identity.magic.store(MAGIC, Ordering::Release);
    Ok(())
}

/// The memory of one ring, seen from one end.
pub(super) struct Memory<M> {
    base: NonNull<u8>,
    capacity: usize,
    /// Keeps the memory where it is.
    _owner: M,
}

// SAFETY: `base` points to memory that `owner` keeps and that any thread may use; it is changed
// through atomics, and as payload by one end at a time (README.md, Invariants 1 and 2).
unsafe impl<M: Send> Send for Memory<M> {}

impl<M> Memory<M> {
    /// # Safety
    /// `base` is aligned to 128 and begins `bytes_needed(capacity)` bytes that stay mapped, readable
    /// and writable, at this address until `owner` is dropped.
    pub(super) unsafe fn new(
        owner: M,
        base: *mut u8,
        capacity: usize,
    ) -> Result<Memory<M>, Corrupt> {
        if !is_capacity(capacity) {
            return Err(Corrupt::Capacity {
                found: capacity as u64,
            });
        }
        if base.is_null() {
            return Err(Corrupt::Magic { found: 0 });
        }
        // SAFETY: the caller's obligations, and the capacity is one.
        let memory = unsafe { Memory::again(owner, base, capacity) };
        let identity = &memory.header().identity;
        // Acquire: pairs with Release in `init`.
        let magic = identity.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(Corrupt::Magic { found: magic });
        }
        let version = identity.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(Corrupt::Version { found: version });
        }
        let found = identity.capacity.load(Ordering::Relaxed);
        if found != capacity as u64 {
            return Err(Corrupt::Capacity { found });
        }
        Ok(memory)
    }

    /// Of memory that [`new`](Self::new) has looked at.
    ///
    /// # Safety
    /// As of [`new`](Self::new), which has found a ring there, of this capacity.
    #[inline]
    pub(super) unsafe fn again(owner: M, base: *mut u8, capacity: usize) -> Memory<M> {
        Memory {
            // SAFETY: it begins mapped memory, says the caller.
            base: unsafe { NonNull::new_unchecked(base) },
            capacity,
            _owner: owner,
        }
    }

    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(super) fn header(&self) -> &Header {
        // SAFETY: by Invariant 1 the header's bytes are live and aligned; it is made of atomics, for
        // which any bytes are valid and which other processes may change.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// The header word of the record at `position`, a multiple of 8.
    #[inline]
    pub(super) fn word(&self, position: u64) -> &AtomicU64 {
        debug_assert!(position.is_multiple_of(8));
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "the data and the position are aligned to 8"
        )]
        let word = self.at(position).cast::<AtomicU64>();
        // SAFETY: aligned, and by Invariant 2 inside the data, whose size is a multiple of 8; any
        // bytes are a valid atomic.
        unsafe { &*word }
    }

    /// Where `position` lies.
    #[inline]
    pub(super) fn at(&self, position: u64) -> *mut u8 {
        let offset = self.offset(position);
        // SAFETY: the header lies inside the memory.
        let data = unsafe { self.base.as_ptr().add(size_of::<Header>()) };
        // SAFETY: by Invariant 2 inside the memory.
        unsafe { data.add(offset) }
    }

    /// How far into a lap `position` is.
    #[inline]
    pub(super) fn offset(&self, position: u64) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "less than the capacity, a usize"
        )]
        let offset = (position & (self.capacity as u64 - 1)) as usize;
        offset
    }

    /// Copies `bytes` to `position`.
    ///
    /// # Safety
    /// They fit before the end of the lap, and that part of the ring is the producer's.
    #[inline]
    pub(super) unsafe fn write(&self, position: u64, bytes: &[u8]) {
        debug_assert!(self.offset(position) + bytes.len() <= self.capacity);
        // SAFETY: the bytes fit into the data as the caller vouches, and are nobody else's; a slice
        // of ours does not overlap them.
        unsafe { copy(bytes.as_ptr(), self.at(position), bytes.len()) };
    }

    /// Copies `len` bytes at `position` to `destination`.
    ///
    /// # Safety
    /// They lie before the end of the lap in a published record, and `destination` has room for them.
    #[inline]
    pub(super) unsafe fn read(&self, position: u64, destination: *mut u8, len: usize) {
        debug_assert!(self.offset(position) + len <= self.capacity);
        // SAFETY: inside the data, and room at the destination, as the caller vouches; private memory
        // does not overlap the ring.
        unsafe { copy(self.at(position), destination, len) };
    }
}

/// Copies `len` bytes. Short ones, which are what most records are, without a call: as their first and their last
/// word, which may overlap.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`].
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    match len {
        0 => {}
        // SAFETY: the first byte, that in the middle, and the last.
        1..=3 => unsafe { copy_few(from, to, len) },
        // SAFETY: two times 8 bytes, of which the first begin and the last end with the range.
        8..=16 => unsafe { copy_ends::<8>(from, to, len) },
        // SAFETY: as above, with 4 bytes.
        4..=7 => unsafe { copy_ends::<4>(from, to, len) },
        // SAFETY: as above, with 16 bytes.
        17..=32 => unsafe { copy_ends::<16>(from, to, len) },
        // SAFETY: the caller's obligations.
        _ => unsafe { to.copy_from_nonoverlapping(from, len) },
    }
}

/// Copies one byte, two, or three.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`], and `len` is 1 to 3.
#[inline]
unsafe fn copy_few(from: *const u8, to: *mut u8, len: usize) {
    let places = [0, len / 2, len - 1];
    for place in places {
        // SAFETY: less than `len`, and so many bytes from there can be read.
        let byte = unsafe { from.wrapping_add(place).read() };
        // SAFETY: as above, and written.
        unsafe { to.wrapping_add(place).write(byte) };
    }
}

/// Copies the first `N` bytes and the last `N` of `len`.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`], and `len` is between `N` and twice that.
#[inline]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let last = len - N;
    // SAFETY: `len` bytes from there can be read, and any bytes are an array of bytes.
    let first_bytes = unsafe { from.cast::<[u8; N]>().read() };
    // SAFETY: as above; the last `N` of them.
    let last_bytes = unsafe { from.wrapping_add(last).cast::<[u8; N]>().read() };
    // SAFETY: `len` bytes from there can be written.
    unsafe { to.cast::<[u8; N]>().write(first_bytes) };
    // SAFETY: as above; the last `N` of them.
    unsafe { to.wrapping_add(last).cast::<[u8; N]>().write(last_bytes) };
}
