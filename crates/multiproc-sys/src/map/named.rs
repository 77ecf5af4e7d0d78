//! `/dev/shm`: memory with a name, as `shm_open` of the C library has it.
//!
//! A block is made without a name, reserved, and then linked: who opens one finds it whole, and a process
//! that is killed before the link leaves nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Mapping;
use super::file::reserve_file;
use super::memfd::stat;
use crate::syscall::{check, restarting};

const FOLDER: &str = "/dev/shm";
/// As long as a file's name can be, in bytes.
const LONGEST: usize = 255;

/// A block of memory that has, or had, a name.
#[derive(Debug)]
pub struct Named(OwnedFd);

/// Whether a block can have this name.
///
/// # Errors
/// `InvalidInput`, saying why not: it is empty, too long, or no plain file name.
pub fn check_name(name: &str) -> io::Result<()> {
    let why = if name.is_empty() {
        "is empty"
    } else if name.len() > LONGEST {
        "is longer than 255 bytes"
    } else if name.contains('/') {
        "has a slash in it"
    } else if name.contains('\0') {
        "has a NUL character in it"
    } else if name == "." || name == ".." {
        "is that of a folder"
    } else {
        return Ok(());
    };
    let why = format!("no shared memory can be called {name:?}: the name {why}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

fn path_of(name: &str) -> io::Result<CString> {
    check_name(name)?;
    Ok(CString::new(format!("{FOLDER}/{name}"))?)
}

impl Named {
    /// A zeroed block under a name that no other has, for this user alone.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidInput` for a name as [`check_name`] says; where there is no room, as
    /// [`reserve_file`]. Nothing is left behind.
    pub fn create(name: &str, length: usize) -> io::Result<Named> {
        let path = path_of(name)?;
        let folder = CString::new(FOLDER)?;
        let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
        let mode: libc::c_uint = 0o600;
        // SAFETY: `folder` is a C string.
        let fd = restarting(|| unsafe { libc::open(folder.as_ptr(), flags, mode) })?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let memory = unsafe { OwnedFd::from_raw_fd(fd) };
        // Whatever the umask: the user itself is to open it.
        // SAFETY: no pointer is passed.
        check(unsafe { libc::fchmod(fd, 0o600) })?;
        reserve_file(&memory, length)?;
        let own = CString::new(format!("/proc/self/fd/{fd}"))?;
        let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
        // SAFETY: both are C strings.
        check(unsafe { libc::linkat(here, own.as_ptr(), here, path.as_ptr(), follow) })?;
        Ok(Named(memory))
    }

    /// The block of this name. A symbolic link is not followed.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a name as [`check_name`] says; `InvalidData` where
    /// there is something of the name that is no memory.
    pub fn open(name: &str) -> io::Result<Named> {
        let path = path_of(name)?;
        // Not blocking: a pipe of that name would wait for its other end.
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let no_memory = || {
            let why = format!("what is called {name:?} is no shared memory");
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        // SAFETY: `path` is a C string.
        let fd =
            restarting(|| unsafe { libc::open(path.as_ptr(), flags) }).map_err(
                |error| match error.raw_os_error() {
                    Some(libc::ELOOP | libc::EISDIR | libc::ENXIO) => no_memory(),
                    _ => error,
                },
            )?;
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let memory = unsafe { OwnedFd::from_raw_fd(fd) };
        if stat(&memory)?.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(no_memory());
        }
        Ok(Named(memory))
    }

    /// Takes the name from whatever block has it; the block is there until nobody has it open.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for a name as [`check_name`] says.
    pub fn remove(name: &str) -> io::Result<()> {
        let path = path_of(name)?;
        // SAFETY: `path` is a C string.
        check(unsafe { libc::unlink(path.as_ptr()) }).map(drop)
    }

    /// Whether this block is the one of that name now.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for `NotFound`.
    pub fn is_called(&self, name: &str) -> io::Result<bool> {
        match Named::open(name) {
            Ok(other) => Ok(other.identity()? == self.identity()?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is equal for the same block only, while it is there.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn identity(&self) -> io::Result<[u64; 2]> {
        let stat = stat(&self.0)?;
        Ok([stat.st_dev, stat.st_ino])
    }

    /// How many bytes it has now. Whoever may open it may change that.
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn length(&self) -> io::Result<usize> {
        let length = usize::try_from(stat(&self.0)?.st_size);
        length.map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Maps its first `length` bytes. Where somebody shortens it, an access to what is gone is answered by
    /// SIGBUS.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub fn map(&self, length: usize) -> io::Result<Mapping> {
        Mapping::new(&self.0, length)
    }

    /// Fills `bytes` with those from `at` on, as they are now. No signal comes of it, whatever others do.
    ///
    /// # Errors
    /// `UnexpectedEof` where it is shorter than that.
    pub fn read_at(&self, at: usize, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (offset, rest) = (offset(at, done)?, &mut bytes[done..]);
            // SAFETY: `rest` is live and as long as is said.
            let read = restarting(|| unsafe {
                libc::pread(
                    self.0.as_raw_fd(),
                    rest.as_mut_ptr().cast(),
                    rest.len(),
                    offset,
                ) as libc::c_long
            })?;
            done += progress(read)?;
        }
        Ok(())
    }

    /// Writes `bytes` to `at` and behind. No signal comes of it, whatever others do.
    ///
    /// # Errors
    /// `UnexpectedEof` where it is shorter than that.
    pub fn write_at(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        if at
            .checked_add(bytes.len())
            .is_none_or(|end| self.length().is_ok_and(|length| length < end))
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < bytes.len() {
            let (offset, rest) = (offset(at, done)?, &bytes[done..]);
            // SAFETY: `rest` is live and as long as is said.
            let written = restarting(|| unsafe {
                libc::pwrite(self.0.as_raw_fd(), rest.as_ptr().cast(), rest.len(), offset)
                    as libc::c_long
            })?;
            done += progress(written)?;
        }
        Ok(())
    }
}

fn offset(at: usize, done: usize) -> io::Result<libc::off_t> {
    let offset = at
        .checked_add(done)
        .and_then(|offset| libc::off_t::try_from(offset).ok());
    offset.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn progress(bytes: libc::c_long) -> io::Result<usize> {
    match usize::try_from(bytes) {
        Ok(0) | Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(bytes) => Ok(bytes),
    }
}
