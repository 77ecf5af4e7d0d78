//! memfds that nobody can write to any more.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};

use memmap2::{Mmap, MmapOptions};

use super::memfd::{length, refuse, seals};
use crate::syscall::check;

/// Has the kernel refuse every later write to `memory`, by whichever process, and every mapping that
/// could. Says `false`, and changes nothing, where somebody has such a mapping now.
///
/// # Errors
/// What the kernel answers otherwise: the memory is of another kind, or sealed against seals.
pub fn freeze(memory: &OwnedFd) -> io::Result<bool> {
    // SAFETY: the descriptor is open; the call takes no pointer.
    match check(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) }) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Frozen memory in this process's address space: bytes that never change.
#[derive(Debug)]
pub struct Frozen(Mmap);

impl Frozen {
    /// Maps the whole of `memory`, having made sure that it is frozen.
    ///
    /// # Errors
    /// `InvalidData` where it is not frozen, may be resized, or is empty; and what `mmap` answers.
    pub fn map(memory: &OwnedFd) -> io::Result<Frozen> {
        if seals(memory)? & libc::F_SEAL_WRITE == 0 {
            return Err(refuse("the received memory is not sealed against writing"));
        }
        let length = length(memory)?;
        // Private, though it could as well be shared: kernels before 6.7 refuse that. Nobody writes, so that
        // the pages are the same.
        // SAFETY: sealed (checked above), which cannot be undone: no process can write to the memory, nor
        // make it shorter.
        let mapping = unsafe { MmapOptions::new().len(length).map_copy_read_only(memory) }?;
        Ok(Frozen(mapping))
    }
}

impl Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mapping, create};
    use super::*;

    #[test]
    fn frozen_memory_cannot_be_written_by_any_means() {
        let memory = create(5000).unwrap();
        assert!(Frozen::map(&memory).is_err());
        let writer = Mapping::new(&memory, 5000).unwrap();
        writer.write(4990, b"seen");
        assert!(!freeze(&memory).unwrap(), "somebody could still write");
        writer.write(4991, b"i");
        drop(writer);
        assert!(freeze(&memory).unwrap() && freeze(&memory).unwrap());
        assert!(Mapping::new(&memory, 5000).is_err());
        // SAFETY: the one byte is live.
        let written = unsafe { libc::pwrite(memory.as_raw_fd(), b"x".as_ptr().cast(), 1, 0) };
        assert_eq!(written, -1);
        let view = Frozen::map(&memory).unwrap();
        assert_eq!((view.len(), &view[4990..4994]), (5000, &b"sien"[..]));
    }
}
