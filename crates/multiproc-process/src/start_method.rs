//! In which way a child comes to be: the three start methods, and the one that is used unless asked otherwise.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Kind};

/// In which way a child comes to be.
///
/// | | what the child has | costs | may be used |
/// |---|---|---|---|
/// | [`Spawn`](Self::Spawn) | a program that has just begun | a start of the program | anywhere; what is used unless asked otherwise |
/// | [`ForkServer`](Self::ForkServer) | the same, and what was [preloaded](crate::set_forkserver_preload) | a fork of a small process | anywhere |
/// | [`Fork`](Self::Fork) | all that its parent has | a fork of the parent, however large | with one thread, by `unsafe` |
///
/// # Differences from Python
/// `Spawn` is what is used unless asked otherwise, on every platform.
#[doc(alias = "multiprocessing.get_context")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartMethod {
    /// The program is started again.
    #[doc(alias = "spawn")]
    Spawn,
    /// A process with one thread, which was started once and has only begun, forks the child.
    ///
    /// That server is started with the first child and ends with this process; where it dies, another is
    /// started with the next child, and no child is affected. Its children are this process's children, not the
    /// server's: their status, their end and everything else is as with [`Spawn`](Self::Spawn). What differs:
    ///
    /// - What is not asked for of the builder and not passed with each start is what it was for the thread
    ///   that started the server, at that moment: niceness, CPUs, limits, umask, ignored signals, user.
    ///   Environment, folder and standard streams are passed with each start.
    /// - What constructors of C and C++ libraries have made is there once, as it was before the fork: open
    ///   files are shared, and random number generators that do not notice a fork go on alike. Handlers
    ///   of `pthread_atfork` are not called. A library that starts a thread before `main` cannot
    ///   be in the server, and is an error of the start.
    ///
    /// Needs a kernel with `CONFIG_CHECKPOINT_RESTORE`, as those of the usual distributions are.
    #[doc(alias = "forkserver")]
    ForkServer,
    /// This process is forked, as it stands.
    #[doc(alias = "fork")]
    Fork(ForkPromise),
}

/// What whoever forks has promised. Made by [`alone`](Self::alone) or [`among_threads`](Self::among_threads).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkPromise {
    pub(crate) among_threads: bool,
}

impl ForkPromise {
    /// Forks only while this process has one thread, this library's own threads not counted; else the start is an
    /// error that says how many there are.
    ///
    /// # Safety
    /// Whenever a child is started by this, then in the child, for as long as it runs:
    ///
    /// - nothing is used that exists for the parent alone and that two cannot have: a guard of a lock in shared
    ///   memory with the references it gives, a mapping that was not made to be shared, a ring's or
    ///   device's single user, bytes that another process has lent (`multiproc_shm::Bytes` that came from there: make a
    ///   vector of them before).
    ///
    /// The function runs on the copy of the forking thread: with what is left of its stack, and while all is held
    /// that the thread holds.
    ///
    /// Handlers of signals are the parent's, and what they do must be right in both processes.
    #[must_use]
    pub const unsafe fn alone() -> ForkPromise {
        ForkPromise {
            among_threads: false,
        }
    }

    /// Forks whatever threads there are. The child has the forking thread alone; what the others held at that
    /// moment stays held in it.
    ///
    /// # Safety
    /// As [`alone`](Self::alone); and whenever a child is started by this, no other thread holds anything that the
    /// child will wait for or find half changed. The C library's allocator is put in order; a lock of any
    /// other library, this one and the standard library among them, is not.
    #[must_use]
    pub const unsafe fn among_threads() -> ForkPromise {
        ForkPromise {
            among_threads: true,
        }
    }
}

impl StartMethod {
    fn name(self) -> &'static str {
        match self {
            StartMethod::Spawn => "spawn",
            StartMethod::ForkServer => "forkserver",
            StartMethod::Fork(_) => "fork",
        }
    }
}

/// Python's names: `spawn`, `forkserver`, `fork`.
impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// From Python's names, for one that the user of a program chooses. `fork` is an error: it needs a promise.
impl FromStr for StartMethod {
    type Err = Error;

    fn from_str(name: &str) -> Result<StartMethod, Error> {
        let safe = [StartMethod::Spawn, StartMethod::ForkServer];
        let found = safe.into_iter().find(|method| method.name() == name);
        found.ok_or_else(|| Error::new(Kind::NoSuchMethod(name.to_string()), None))
    }
}

/// The choice, and whether it can still be made.
struct Chosen {
    method: StartMethod,
    fixed: bool,
}

static CHOSEN: Mutex<Chosen> = Mutex::new(Chosen {
    method: StartMethod::Spawn,
    fixed: false,
});

fn chosen() -> MutexGuard<'static, Chosen> {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chooses how children come to be where their builder does not say: once, and before the first of them.
///
/// Children do as their parent does (but for [`Fork`](StartMethod::Fork), which is promised for one process).
///
/// ```
/// use multiproc_process::{Process, StartMethod, get_start_method, set_start_method};
///
/// set_start_method(StartMethod::ForkServer)?;
/// assert_eq!(Process::spawn(|n: u64| n + 1, 1)?.join()?, 2);
/// assert_eq!(get_start_method(), StartMethod::ForkServer);
/// assert!(set_start_method(StartMethod::Spawn).is_err());
/// # Ok::<(), multiproc_process::Error>(())
/// ```
///
/// # Errors
/// It was chosen before, or a child was started before in the way that was chosen for it.
#[doc(alias = "multiprocessing.set_start_method")]
pub fn set_start_method(method: StartMethod) -> Result<(), Error> {
    let mut chosen = chosen();
    if chosen.fixed {
        return Err(Error::new(Kind::MethodFixed(chosen.method), None));
    }
    *chosen = Chosen {
        method,
        fixed: true,
    };
    Ok(())
}

/// As [`set_start_method`], whatever was chosen or started before.
#[doc(alias = "force")]
pub fn force_start_method(method: StartMethod) {
    *chosen() = Chosen {
        method,
        fixed: true,
    };
}

/// How children come to be where their builder does not say.
///
/// # Differences from Python
/// To ask does not fix the choice.
#[doc(alias = "multiprocessing.get_start_method")]
#[must_use]
pub fn get_start_method() -> StartMethod {
    chosen().method
}

/// The same, for a child that is started in this way now.
pub(crate) fn used_start_method() -> StartMethod {
    let mut chosen = chosen();
    chosen.fixed = true;
    chosen.method
}

/// Whether children are to do as this process does.
pub(crate) fn inherited() -> Option<&'static str> {
    match get_start_method() {
        StartMethod::Fork(_) => None,
        method => Some(method.name()),
    }
}

/// In a child: does as the parent. It can still be chosen otherwise.
pub(crate) fn inherit(name: &str) {
    if let Ok(method) = name.parse() {
        chosen().method = method;
    }
}
