//! Control groups of the second version, as files below `/sys/fs/cgroup`.
//!
//! A group whose children have a controller has no processes itself, but for the root (the rule against internal
//! processes). So a process can be given groups in two ways, which are looked for in this order: below its own, where
//! that gives `memory` to its children already; or beside its own, where what is above does. (systemd's
//! `Delegate=memory` with `DelegateSubgroup=` makes the second.) Nothing is switched on and nobody moved but the child:
//! a library does not rearrange its program.
//!
//! To move a process, one must be allowed to write `cgroup.procs` of the group that both places are below, which is
//! where the new one is made. That is asked beforehand.
//!
//! # Names
//!
//! `multiproc-IDENTITY-NUMBER`: whose it is, as a number that no two processes have ([`Identity`]), so that it is known
//! of each whether its maker is over.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock::Deadline;
use crate::identity::Identity;
use crate::syscall::check;

const PREFIX: &str = "multiproc-";

/// What the kernel does with a folder of control groups; a test has another do it.
type Act = fn(&Path) -> io::Result<()>;

/// A control group in which this process may make others.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
    make: Act,
    remove: Act,
}

/// A control group with a cap on memory, for one process and what that starts.
///
/// Dropping it removes it, or leaves it to whoever makes the next.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
    remove: Act,
}

/// Groups that somebody was left in when they were to be removed.
static LEFT: Mutex<Vec<(PathBuf, Act)>> = Mutex::new(Vec::new());

fn left() -> MutexGuard<'static, Vec<(PathBuf, Act)>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Home {
    /// Where this process may make groups.
    ///
    /// # Errors
    /// `Unsupported` where it may not, with the reason.
    pub fn own() -> io::Result<Home> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let (mount, own) = place(&mounts, &own)
            .ok_or_else(|| unsupported("no control groups of version 2 are mounted".into()))?;
        let above = own.parent().filter(|above| above.starts_with(&mount));
        let mut refused = None;
        for folder in [Some(own.as_path()), above].into_iter().flatten() {
            match Home::at(
                folder,
                |path| fs::create_dir(path),
                |path| fs::remove_dir(path),
            ) {
                Ok(home) => return Ok(home),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        Err(refused.unwrap_or_else(|| unsupported("it is in no control group".into())))
    }

    /// The group at `folder`, and what to make and remove a folder there means.
    ///
    /// # Errors
    /// As [`own`](Self::own).
    pub fn at(folder: &Path, make: Act, remove: Act) -> io::Result<Home> {
        let why = |what: &str| unsupported(format!("{} {what}", folder.display()));
        let given = fs::read_to_string(folder.join("cgroup.subtree_control"));
        let given = given.map_err(|error| why(&format!("does not say what it gives: {error}")))?;
        if !given.split_ascii_whitespace().any(|name| name == "memory") {
            return Err(why("gives no `memory` to groups in it"));
        }
        for place in [folder.to_path_buf(), folder.join("cgroup.procs")] {
            let path = CString::new(place.as_os_str().as_bytes()).map_err(io::Error::other)?;
            // SAFETY: a C string.
            check(unsafe { libc::access(path.as_ptr(), libc::W_OK) })
                .map_err(|error| why(&format!("is not this process's to change: {error}")))?;
        }
        Ok(Home {
            folder: folder.to_path_buf(),
            make,
            remove,
        })
    }

    /// Removes what processes have left here that are over, and what this one could not remove.
    fn sweep(&self) {
        remove_left(Deadline::now());
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let maker = name.to_str().and_then(maker_of);
            if maker.is_some_and(Identity::is_over) {
                // Somebody may be left in it, or somebody else remove it.
                let _removed = (self.remove)(&entry.path());
            }
        }
    }
}

/// Who has made the group of this name.
fn maker_of(name: &str) -> Option<Identity> {
    let (maker, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Identity::from_bits(u64::from_str_radix(maker, 16).ok()?)
}

impl MemoryGroup {
    /// A group of nobody yet, whose processes have `most` bytes of memory together, and none in swap; where that does
    /// not suffice all of them are killed.
    ///
    /// # Errors
    /// What the kernel answers; nothing is left behind then.
    pub fn create(home: &Home, most: u64) -> io::Result<MemoryGroup> {
        /// Relaxed: only distinct.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        home.sweep();
        let maker = Identity::own().to_bits();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = home.folder.join(format!("{PREFIX}{maker:x}-{number}"));
        (home.make)(&path)?;
        // From here on it is removed again by whatever comes.
        let group = MemoryGroup {
            path,
            remove: home.remove,
        };
        // Missing where the kernel is older or has no swap, in which case there is nothing to be said.
        let _where_known = group.write("memory.oom.group", "1");
        let _where_known = group.write("memory.swap.max", "0");
        group.write("memory.max", &most.to_string())?;
        Ok(group)
    }

    /// Where it is, for [`enter`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel has killed in it for want of memory.
    ///
    /// # Errors
    /// Where it cannot be read any more.
    pub fn was_out_of_memory(&self) -> io::Result<bool> {
        let events = fs::read_to_string(self.path.join("memory.events"))?;
        let mut lines = events.lines().filter_map(|line| line.split_once(' '));
        Ok(lines.any(|(name, count)| name == "oom_kill" && count.trim() != "0"))
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if !gone((self.remove)(&self.path)) {
            left().push((std::mem::take(&mut self.path), self.remove));
        }
    }
}

fn gone(removed: io::Result<()>) -> bool {
    // By this call or another.
    removed.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
}

/// Puts this process into a group that [`MemoryGroup::create`] has made.
///
/// # Errors
/// What the kernel answers: it is gone, or not for this process.
pub fn enter(group: &Path) -> io::Result<()> {
    // 0 is whoever writes it.
    fs::write(group.join("cgroup.procs"), "0")
}

/// Removes the groups that somebody was left in when they were to be removed, as far as nobody is any more; tries again
/// until the deadline.
pub fn remove_left(deadline: Deadline) {
    /// What a killed process needs to leave.
    const LOOK_AGAIN: Duration = Duration::from_millis(1);
    loop {
        left().retain(|(path, remove)| !gone(remove(path)));
        if left().is_empty() || deadline.has_passed() {
            return;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Where version 2 is mounted, and the folder of this process's group in it.
pub(super) fn place(mounts: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // Numbers, device, root, place, options, …, a dash, kind.
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        // What is not below the root that is mounted cannot be reached.
        let inside = Path::new(own).strip_prefix(root).ok()?;
        Some((PathBuf::from(mount), Path::new(mount).join(inside)))
    })
}

fn unsupported(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
