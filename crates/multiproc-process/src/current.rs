//! What a process knows of itself and of its parent.

use std::sync::OnceLock;
use std::thread;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{BorrowedHandle, Interest, poll};

use crate::startup::{self, MAX_DEPTH};

/// By depth: known in a child from its order on. A child that is forked has what its parent knew of itself,
/// one level up.
static AS_CHILD: [OnceLock<AsChild>; MAX_DEPTH as usize + 1] =
    [const { OnceLock::new() }; MAX_DEPTH as usize + 1];

fn as_child() -> Option<&'static AsChild> {
    AS_CHILD.get(startup::depth() as usize)?.get()
}

/// What a child is told of itself.
#[derive(Debug)]
pub(crate) struct AsChild {
    pub(crate) name: String,
    pub(crate) parent: ParentProcess,
}

pub(crate) fn know(child: AsChild) {
    if let Some(slot) = AS_CHILD.get(startup::depth() as usize) {
        // A process becomes a child once.
        let _first = slot.set(child);
    }
}

/// This process. Made by [`current_process`].
#[derive(Clone, Copy, Debug)]
pub struct CurrentProcess {
    name: &'static str,
}

/// This process: its name and number.
///
/// # Differences from Python
/// The name cannot be changed.
#[doc(alias = "multiprocessing.current_process")]
#[must_use]
pub fn current_process() -> CurrentProcess {
    let child = as_child();
    CurrentProcess {
        name: child.map_or("MainProcess", |child| &child.name),
    }
}

impl CurrentProcess {
    /// The name it was started under; `MainProcess` where it was not started by this crate.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its number.
    #[must_use]
    pub fn pid(self) -> u32 {
        std::process::id()
    }
}

/// The process that started this one. Made by [`parent_process`].
#[derive(Debug)]
pub struct ParentProcess {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) life: BorrowedHandle<'static>,
}

/// The process that started this one; `None` where it was not started by this crate.
///
/// ```
/// use multiproc_process::{Process, parent_process};
///
/// assert!(parent_process().is_none());
/// let child = Process::spawn(|()| parent_process().map(|parent| parent.pid()), ())?;
/// assert_eq!(child.join()?, Some(std::process::id()));
/// # Ok::<(), multiproc_process::Error>(())
/// ```
///
/// # Differences from Python
/// It cannot be joined: a child does not outlive its parent.
#[doc(alias = "multiprocessing.parent_process")]
#[must_use]
pub fn parent_process() -> Option<&'static ParentProcess> {
    as_child().map(|child| &child.parent)
}

impl ParentProcess {
    /// Its name, as its own [`current_process`] gives it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended. When it has, this process is about to be killed, and few get to see it.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let found = poll([(self.life, Interest::End)], Deadline::now());
        // Where the kernel has no memory for the question, it is not known to have ended.
        found.map_or(true, |[found]| !found.ended)
    }
}

/// How many processes can compute at once: the CPUs that the calling thread may run on, and no more than
/// the quota of its control group, or of one above, pays for in whole; at least one.
///
/// The answer may change while the program runs. It is [`std::thread::available_parallelism`], which knows
/// affinity, cpusets and the quotas of both versions of control groups; its platform notes hold here.
///
/// # Differences from Python
/// Python's `multiprocessing.cpu_count` counts the machine's CPUs, whether this process may use them or
/// not, and `os.process_cpu_count` knows no quota.
#[doc(alias = "multiprocessing.cpu_count")]
#[doc(alias = "os.process_cpu_count")]
#[must_use]
pub fn cpu_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
