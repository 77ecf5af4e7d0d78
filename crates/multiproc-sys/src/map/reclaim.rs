//! Whether memory that was handed out is nobody else's any more.
//!
//! The kernel counts in a file's inode how often it was opened. All that comes of one opening, being copies of its
//! descriptor here and in other processes, in messages on their way, in processes made by `fork`, and mappings,
//! keeps that opening alive. So the memory is opened once more, the old opening let go, and the kernel asked for
//! a write lease, which it grants where the new opening is the only one.
//!
//! The first opening, that by `memfd_create`, is not in the count. Memory that is to be reclaimed later is
//! therefore [reopened](reopen) before anybody is given it.
//!
//! # What the count does not show
//!
//! An `O_PATH` descriptor, and single pages that a process has spliced into a pipe or had pinned by a driver. No
//! call of this project makes these: a process that does has gone wild, and can spoil values as in any memory that
//! it was given.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::memfd::{SEALS, refuse, seals, stat};
use crate::syscall::check;

/// Of Linux's `fcntl.h`; not in the `libc` crate for each of its targets.
const F_SETSIG: libc::c_int = 10;

/// Memory of which it was asked whether anybody else has it.
#[derive(Debug)]
pub enum Reclaimed {
    /// Nobody has, in any form.
    Alone(OwnedFd),
    /// Somebody still has.
    Shared(OwnedFd),
}

/// Another opening of the same memory.
///
/// # Errors
/// What the kernel answers: `/proc` is not there, too many open files.
pub fn reopen(memory: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    // Made to close at `exec`, as all that the standard library opens.
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map(File::into)
}

/// Whether `memory`, of a descriptor that [`reopen`] made and of which this is the last here, is anybody else's.
/// Where nobody has it, it is `length` bytes as reserved at first, which may be mapped and written to.
///
/// # Errors
/// Where there is no telling, or it is not as it was made; the memory is given up.
pub fn reclaim(memory: OwnedFd, length: usize) -> io::Result<Reclaimed> {
    let again = reopen(&memory)?;
    drop(memory);
    if !is_only_opening(&again)? {
        return Ok(Reclaimed::Shared(again));
    }
    let (stat, own) = (stat(&again)?, seals(&again)?);
    // A file's blocks are counted by 512 bytes. A process that had it may have punched holes.
    let reserved = u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512);
    if own != SEALS || usize::try_from(stat.st_size) != Ok(length) || reserved < length as u64 {
        return Err(refuse("somebody has changed what kind of memory it is"));
    }
    Ok(Reclaimed::Alone(again))
}

/// The lease is given back at once. Only who opens the memory by way of this process's `/proc` could break it in
/// between, a debugger say: it waits for these few instructions, and the signal that this process gets is one that
/// does nothing unless handled, instead of the usual SIGIO, which would end it.
fn is_only_opening(memory: &OwnedFd) -> io::Result<bool> {
    let fd = memory.as_raw_fd();
    // SAFETY: the descriptor is open; the call takes no pointer.
    check(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) })?;
    // SAFETY: as above.
    match check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK) }) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::{Frozen, Mapping, create, freeze, release};
    use super::*;

    const LENGTH: usize = 10_000;

    fn memory() -> OwnedFd {
        reopen(&create(LENGTH).unwrap()).unwrap()
    }

    /// Asked again and again: children of other tests have copies of everything for a moment.
    fn alone(mut memory: OwnedFd) -> OwnedFd {
        for _ in 0..100_000 {
            memory = match reclaim(memory, LENGTH).unwrap() {
                Reclaimed::Alone(memory) => return memory,
                Reclaimed::Shared(memory) => memory,
            };
        }
        panic!("somebody has it");
    }

    fn shared(memory: OwnedFd) -> OwnedFd {
        match reclaim(memory, LENGTH).unwrap() {
            Reclaimed::Alone(_) => panic!("nobody has it"),
            Reclaimed::Shared(memory) => memory,
        }
    }

    #[test]
    fn each_form_of_having_it_is_seen() {
        let descriptor = memory();
        let kept = descriptor.try_clone().unwrap();
        let descriptor = shared(descriptor);
        drop(kept);
        let descriptor = alone(descriptor);

        let mapping = Mapping::new(&descriptor, LENGTH).unwrap();
        let descriptor = shared(descriptor);
        drop(mapping);
        let descriptor = alone(descriptor);

        let opened = reopen(&descriptor).unwrap();
        let descriptor = shared(descriptor);
        drop(opened);
        let read = File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap();
        let descriptor = shared(descriptor);
        drop(read);
        assert_eq!(stat(&alone(descriptor)).unwrap().st_size, 10_000);
    }

    #[test]
    fn memory_that_is_not_as_it_was_made_is_given_up() {
        let punched = memory();
        release(&punched, 0, 4096).unwrap();
        assert_eq!(
            reclaim(punched, LENGTH).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let frozen = memory();
        assert!(freeze(&frozen).unwrap());
        drop(Frozen::map(&frozen).unwrap());
        assert_eq!(
            reclaim(frozen, LENGTH).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let file = OwnedFd::from(File::open("/dev/null").unwrap());
        assert!(reclaim(file, LENGTH).is_err());
    }
}
