//! The program that is started as a child, where it is not this one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use multiproc_sys::process as sys;
use serde::{Deserialize, Serialize};

/// A program and its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

static CHOSEN: Mutex<Option<Executable>> = Mutex::new(None);

fn chosen() -> MutexGuard<'static, Option<Executable>> {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `path`, with these arguments, started as a child by [`Spawn`](crate::StartMethod::Spawn) and
/// [`ForkServer`](crate::StartMethod::ForkServer), in place of this program; for a library that a program loads
/// while it runs, such as an extension of Python's.
///
/// What is started must load the same build of this library and have it call [`init`](crate::init): at once, since
/// nothing but what has run until then is there for the child's function. Such a library has the feature
/// `auto-init` off: its hook would run the function inside the loader, whose lock it would hold. For an extension
/// of Python's that calls `init` where the module is initialised:
///
/// ```no_run
/// multiproc_process::set_executable("/usr/bin/python3", ["-c", "import fast_module"]);
/// ```
///
/// Children of children are started in the same way. A program that does not do its part is an error of
/// [`join`](crate::Process::join), or of a start that [waits](crate::Builder::start_timeout): it ends, or has not
/// come to the function in time.
///
/// # Differences from Python
/// It is given its arguments. `ps` shows its path and those, and the child's name only in the short form of
/// `ps -o comm`.
#[doc(alias = "multiprocessing.set_executable")]
pub fn set_executable<A: Into<OsString>>(
    path: impl AsRef<Path>,
    arguments: impl IntoIterator<Item = A>,
) {
    *chosen() = Some(Executable {
        path: path.as_ref().to_path_buf(),
        arguments: arguments.into_iter().map(Into::into).collect(),
    });
}

/// What was chosen, for children to do the same.
pub(crate) fn inherited() -> Option<Executable> {
    chosen().clone()
}

/// In a child: does as the parent.
pub(crate) fn inherit(executable: &Executable) {
    *chosen() = Some(executable.clone());
}

/// What is started for a process that is to be shown as `name`: the program, what it is called, and its arguments.
pub(crate) fn to_start(name: &str) -> (PathBuf, OsString, Vec<OsString>) {
    match inherited() {
        // Interpreters find what is theirs by what they are called.
        Some(Executable { path, arguments }) => (path.clone(), path.into(), arguments),
        None => (sys::own_image(), name.into(), Vec::new()),
    }
}
