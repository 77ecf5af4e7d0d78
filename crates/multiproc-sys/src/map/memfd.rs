//! memfds, reserved in full and sealed against resizing.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use memmap2::{MmapOptions, MmapRaw};

use super::headroom;
use crate::syscall::{check, restarting};

/// Shared memory of `length` bytes, zeroed. Each page is there from the start, so that a full
/// machine is an error here and not a fatal signal at a later write.
///
/// # Errors
/// `InvalidInput` for a length that no file can have, `FileTooLarge` past `RLIMIT_FSIZE`,
/// `OutOfMemory` where the machine or the control group has less memory than that, and what the
/// kernel answers: too many open files, no space. Nothing is left behind.
pub fn create(length: usize) -> io::Result<OwnedFd> {
    create_reserving(length, length)
}

/// As [`create`], of which only the first `reserved` bytes are there from the start. The rest is to be
/// [reserved](reserve_more) before anybody writes to it.
///
/// # Errors
/// As [`create`].
pub fn create_reserving(length: usize, reserved: usize) -> io::Result<OwnedFd> {
    let size = offset(length)?;
    headroom::check(reserved as u64)?;
    headroom::check_file_size(length as u64)?;
    const NAME: &CStr = c"multiproc";
    // SAFETY: `NAME` is a C string.
    let fd = check(unsafe {
        libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    })?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let memory = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open; the call takes no pointer.
    restarting(|| unsafe { libc::ftruncate(fd, size) })?;
    reserve(&memory, offset(reserved)?, headroom::check)?;
    // SAFETY: the descriptor is open; the call takes no pointer.
    check(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, SEALS) })?;
    Ok(memory)
}

/// Neither shorter nor longer for ever. The seal on sealing stays off so that a write seal can come.
pub(super) const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

/// Reserved between two looks at what is left, so that a reservation that the machine cannot meet is noticed
/// before all of its memory is gone.
const STRIDE: libc::off_t = 64 << 20;
/// Reserved by one call, at most and at least. Where a signal interrupts it, the kernel undoes the whole of
/// the call (6.18 goes on; older ones do not), and a program's timer may send one every millisecond, in which
/// some three megabytes are reserved.
const SLICE: libc::off_t = 4 << 20;
const SLIVER: libc::off_t = 64 << 10;

/// Makes sure that `length` bytes of `memory` from `at` on are there.
///
/// # Errors
/// `OutOfMemory` where the machine or the control group has less memory than that, and what the kernel
/// answers.
pub fn reserve_more(memory: &OwnedFd, at: usize, length: usize) -> io::Result<()> {
    let (at, length) = (offset(at)?, offset(length)?);
    in_slices(length, headroom::check, |start, length| {
        // SAFETY: the descriptor is open; the call takes no pointer.
        check(unsafe { libc::fallocate(memory.as_raw_fd(), 0, at + start, length) }).map(drop)
    })
}

/// Gives `length` bytes of `memory` from `at` on back to the machine, of whole pages. They are zeroes then, and
/// not reserved.
///
/// # Errors
/// What the kernel answers.
pub fn release(memory: &OwnedFd, at: usize, length: usize) -> io::Result<()> {
    const HOW: libc::c_int = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (at, length) = (offset(at)?, offset(length)?);
    // SAFETY: the descriptor is open; the call takes no pointer.
    restarting(|| unsafe { libc::fallocate(memory.as_raw_fd(), HOW, at, length) }).map(drop)
}

fn offset(bytes: usize) -> io::Result<libc::off_t> {
    libc::off_t::try_from(bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no memory can be {bytes} bytes long"),
        )
    })
}

/// Has the kernel find a page for every byte.
pub(super) fn reserve(
    memory: &OwnedFd,
    size: libc::off_t,
    look: impl Fn(u64) -> io::Result<()>,
) -> io::Result<()> {
    in_slices(size, look, |start, length| {
        // SAFETY: the descriptor is open; the call takes no pointer.
        check(unsafe { libc::fallocate(memory.as_raw_fd(), 0, start, length) }).map(drop)
    })
}

fn in_slices(
    size: libc::off_t,
    look: impl Fn(u64) -> io::Result<()>,
    mut allocate: impl FnMut(libc::off_t, libc::off_t) -> io::Result<()>,
) -> io::Result<()> {
    let (mut done, mut slice) = (0, SLICE);
    while done < size {
        if done % STRIDE == 0 {
            look(STRIDE.min(size - done).cast_unsigned())?;
        }
        let length = slice.min(size - done).min(STRIDE - done % STRIDE);
        match allocate(done, length) {
            Ok(()) => {
                done += length;
                slice = (slice * 2).min(SLICE);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                slice = (slice / 2).max(SLIVER);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many bytes received memory has, having made sure that nobody can change that.
///
/// # Errors
/// `InvalidData` where the descriptor is not memory of this kind or may still be resized.
pub fn length(memory: &OwnedFd) -> io::Result<usize> {
    if seals(memory)? & SEALS != SEALS {
        return Err(refuse("the received memory is not sealed against resizing"));
    }
    usize::try_from(stat(memory)?.st_size)
        .map_err(|_| refuse("the received memory has no sensible length"))
}

/// The kernel's numbers for the memory, which no other has for as long as somebody has it open or mapped.
///
/// # Errors
/// What the kernel answers.
pub fn identity(memory: &OwnedFd) -> io::Result<[u64; 2]> {
    stat(memory).map(|stat| [stat.st_dev, stat.st_ino])
}

pub(super) fn stat(file: &OwnedFd) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the descriptor is open and `stat` has room for the answer.
    check(unsafe { libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: `fstat` succeeded and has filled it.
    Ok(unsafe { stat.assume_init() })
}

pub(super) fn refuse(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// # Errors
/// `InvalidData` where the descriptor is not memory of this kind.
pub(super) fn seals(memory: &OwnedFd) -> io::Result<libc::c_int> {
    // SAFETY: the descriptor is open; the call takes no pointer.
    check(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_GET_SEALS) })
        .map_err(|_| refuse("the received descriptor is not shared memory"))
}

/// Shared memory in this process's address space, readable and writable, until dropped.
///
/// Other processes may write to it at any time: it is reached through raw pointers and atomics only.
#[derive(Debug)]
pub struct Mapping(MmapRaw);

impl Mapping {
    /// Maps the first `length` bytes of `memory`.
    ///
    /// # Errors
    /// `InvalidInput` for a length of zero, and what `mmap` answers (no memory, too many mappings).
    pub fn new(memory: &OwnedFd, length: usize) -> io::Result<Mapping> {
        MmapOptions::new().len(length).map_raw(memory).map(Mapping)
    }

    /// The first byte; aligned to a page.
    #[must_use]
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// How many bytes are mapped.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Asks for huge pages. Advice: the kernel may have none, or not for memory of this kind.
    pub fn advise_huge_pages(&self) {
        // Those that are there are put together, and later ones are made so.
        let _advice = [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE].map(|advice| self.advise(advice));
    }

    /// Enters each page into this process's page table, so that none of the first accesses has to.
    ///
    /// # Errors
    /// What the kernel answers; `InvalidInput` before Linux 5.14.
    pub fn populate(&self) -> io::Result<()> {
        self.advise(libc::MADV_POPULATE_WRITE)
    }

    /// Has forked children of this process find nothing where it is mapped here.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        self.advise(libc::MADV_DONTFORK)
    }

    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: the range is that of the mapping, whose contents none of the advices changes.
        restarting(|| unsafe { libc::madvise(self.as_ptr().cast(), self.len(), advice) }).map(drop)
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(
            at <= self.len() && bytes.len() <= self.len() - at,
            "write past the end of a mapping"
        );
        let target = self.as_ptr().wrapping_add(at);
        // SAFETY: the target lies inside the mapping (checked above), which no Rust reference covers.
        unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Has zeroes in the first `length` bytes.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn zero(&self, length: usize) {
        assert!(length <= self.len(), "write past the end of a mapping");
        // SAFETY: inside the mapping (checked above), which no Rust reference covers.
        unsafe { self.as_ptr().write_bytes(0, length) };
    }

    /// Appends the `length` bytes from `at` on to `buffer`, as they are at this moment.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn read(&self, at: usize, length: usize, buffer: &mut Vec<u8>) {
        assert!(
            at <= self.len() && length <= self.len() - at,
            "read past the end of a mapping"
        );
        buffer.reserve(length);
        let source = self.as_ptr().wrapping_add(at);
        let free = buffer.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: the source lies inside the mapping (checked above), the target in the capacity that
        // was just reserved; fresh heap memory and a mapping do not overlap.
        unsafe { source.copy_to_nonoverlapping(free, length) };
        // SAFETY: `length` more bytes were just written.
        unsafe { buffer.set_len(buffer.len() + length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_memory_is_sealed_zeroed_and_shared() {
        let memory = create(10_000).unwrap();
        assert_eq!(length(&memory).unwrap(), 10_000);
        let (one, two) = (
            Mapping::new(&memory, 10_000).unwrap(),
            Mapping::new(&memory, 10_000).unwrap(),
        );
        let (last, seen) = (
            one.as_ptr().wrapping_add(9_999),
            two.as_ptr().wrapping_add(9_999),
        );
        // SAFETY: byte 9,999 is inside the mapping, which nobody else has.
        unsafe { last.write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { seen.read() }, 7);
        // SAFETY: as above, for byte 0.
        assert_eq!(unsafe { two.as_ptr().read() }, 0);
        // SAFETY: no pointer is passed.
        assert_eq!(unsafe { libc::ftruncate(memory.as_raw_fd(), 1) }, -1);
    }

    #[test]
    fn memory_that_may_shrink_is_refused() {
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(c"x".as_ptr(), libc::MFD_ALLOW_SEALING) };
        // SAFETY: just made.
        let unsealed = unsafe { OwnedFd::from_raw_fd(fd) };
        assert_eq!(
            length(&unsealed).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert_eq!(
            length(&file).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_reservation_that_is_interrupted_again_and_again_is_whole_in_the_end() {
        let (mut reserved, mut interrupted) = (0, 0);
        let size = 3 * STRIDE + 4097;
        in_slices(
            size,
            |_| Ok(()),
            |start, length| {
                assert_eq!(start, reserved, "in order, and no byte twice");
                if length > 300_000 {
                    interrupted += 1;
                    return Err(io::ErrorKind::Interrupted.into());
                }
                reserved += length;
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(reserved, size);
        assert!(interrupted > 100);
    }

    #[test]
    fn a_reservation_ends_where_memory_does() {
        let taken = std::cell::Cell::new(0);
        let look = |more| {
            if taken.get() + more > 200 << 20 {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            taken.set(taken.get() + more);
            Ok(())
        };
        let error = in_slices(8 << 30, look, |_, _| Ok(())).unwrap_err();
        assert_eq!(
            (error.kind(), taken.get()),
            (io::ErrorKind::OutOfMemory, 3 * (64 << 20))
        );
    }

    #[test]
    fn more_than_the_machine_has_is_an_error() {
        assert_eq!(
            create(usize::MAX).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            create(1 << 46).unwrap_err().kind(),
            io::ErrorKind::OutOfMemory
        );
    }
}
