//! From the C convention for errors (−1 and `errno`, or a returned code) to `io::Result`.

use std::io;

/// A call's result, which is −1 where it failed.
pub(crate) trait Returned: Copy {
    fn failed(self) -> bool;
}

impl Returned for libc::c_int {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Returned for libc::c_long {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Returned for isize {
    fn failed(self) -> bool {
        self == -1
    }
}

/// `Err(errno)` where `returned` is −1.
pub(crate) fn check<T: Returned>(returned: T) -> io::Result<T> {
    if returned.failed() {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// Runs `call` again for as long as a signal interrupts it.
pub(crate) fn restarting<T: Returned>(mut call: impl FnMut() -> T) -> io::Result<T> {
    loop {
        match check(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// For calls that return the error's number itself (the `posix_spawn` family).
pub(crate) fn check_code(code: libc::c_int) -> io::Result<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}
