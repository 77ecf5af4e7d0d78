//! Files without a name, for data that is larger than memory.
//!
//! They cannot be sealed: a process that has the descriptor can shorten the file, and everybody who then
//! reads past its end is killed by SIGBUS. Nobody gets one but by being handed it.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use super::headroom;
use super::memfd::{refuse, reserve, stat};
use crate::syscall::check;

/// Makes an empty file `length` bytes long, each of them there from the start: a full disk is an error here
/// and not a fatal signal at a later write.
///
/// # Errors
/// `FileTooLarge` past `RLIMIT_FSIZE`, `StorageFull` where the file system has less room, `OutOfMemory` where
/// it is memory and there is less; and what the kernel answers: `Unsupported` by a file system that cannot
/// reserve.
pub fn reserve_file(file: &OwnedFd, length: usize) -> io::Result<()> {
    let size = libc::off_t::try_from(length).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no file can be {length} bytes long"),
        )
    })?;
    headroom::check_file_size(length as u64)?;
    let system = file_system(file)?;
    let room = system
        .f_bavail
        .saturating_mul(system.f_bsize.cast_unsigned());
    if room < length as u64 {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{length} bytes were asked for in a file, its file system has {room} bytes left"
            ),
        ));
    }
    if system.f_type == libc::TMPFS_MAGIC {
        headroom::check(length as u64)?;
    }
    reserve(file, size, |_| Ok(()))
}

fn file_system(file: &OwnedFd) -> io::Result<libc::statfs> {
    let mut system = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open and `system` has room for the answer.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), system.as_mut_ptr()) })?;
    // SAFETY: `fstatfs` succeeded and has filled it.
    Ok(unsafe { system.assume_init() })
}

/// How long a received file is, having made sure that it has no name by which a stranger could open it.
///
/// # Errors
/// `InvalidData` where the descriptor is no such file.
pub fn file_length(file: &OwnedFd) -> io::Result<usize> {
    let stat = stat(file)?;
    let is_file = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_nlink == 0;
    if !is_file || is_memfd(file) {
        return Err(refuse(
            "the received descriptor is neither shared memory nor a file without a name",
        ));
    }
    usize::try_from(stat.st_size).map_err(|_| refuse("the received file has no sensible length"))
}

/// Memory of its own kind is no file, whatever else it has in common with one: it can be sealed, and is refused
/// where it is not.
fn is_memfd(file: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Where there is no telling, it is refused.
    fs::read_link(link).map_or(true, |path| {
        path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:")
    })
}

#[cfg(test)]
mod tests {
    use super::super::Mapping;
    use super::*;

    #[test]
    fn a_file_without_a_name_is_memory() {
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        reserve_file(&file, 100_000).unwrap();
        assert_eq!(file_length(&file).unwrap(), 100_000);
        let (one, two) = (
            Mapping::new(&file, 100_000).unwrap(),
            Mapping::new(&file, 100_000).unwrap(),
        );
        one.write(99_990, b"seen");
        let mut seen = vec![];
        two.read(99_990, 4, &mut seen);
        assert_eq!(seen, b"seen");
    }

    #[test]
    fn more_than_there_is_room_for_is_an_error_at_once() {
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        for length in [1 << 60, usize::MAX] {
            assert!(reserve_file(&file, length).is_err());
        }
        assert_eq!(file_length(&file).unwrap(), 0, "nothing was reserved");
    }

    #[test]
    fn a_file_that_has_a_name_is_refused() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = OwnedFd::from(named.reopen().unwrap());
        assert_eq!(
            file_length(&file).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let null = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        assert!(file_length(&null).is_err());
        let memory = super::super::create(10).unwrap();
        assert!(file_length(&memory).is_err());
    }

    #[test]
    fn huge_pages_and_pages_beforehand_change_nothing_but_speed() {
        let memory = super::super::create(4 << 20).unwrap();
        let mapping = Mapping::new(&memory, 4 << 20).unwrap();
        mapping.write(5, b"kept");
        mapping.advise_huge_pages();
        mapping.populate().unwrap();
        let mut seen = vec![];
        mapping.read(5, 4, &mut seen);
        assert_eq!(seen, b"kept");
    }
}
