//! What a test must leave as it found it: processes, descriptors, shared memory, temporary entries.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs, process, thread};

use crate::process::{ProcessInfo, descendants, kill, reap};
use crate::wait::poll;

/// How names in the temporary folder begin that count: those of the `tempfile` crate, and the project's own.
const TEMPORARY: [&str; 2] = [".tmp", "multiproc"];

/// One test with real processes at a time: what is left behind is then the work of the test that runs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Set in every [`Program`](crate::Program): it runs in the turn of the test that runs it, and waits for none.
pub(crate) const IN_TURN: &str = "MULTIPROC_TESTKIT_IN_TURN";

/// Fails a test that leaves something behind.
///
/// # What counts
/// - processes: everything below this process, zombies included. While an oracle lives, and from then on, this process
///   adopts orphans of its tree, so a grandchild whose parent died is found too. Once dead, such an orphan is a zombie of
///   ours that nothing tells from a child we forgot to reap: a test that makes such orphans says so with
///   [`Oracle::with_orphans`], or better runs its program as a [`Program`](crate::Program), which keeps its own apart.
/// - descriptors: number and target of each, so one that was closed and opened again as something else counts.
/// - `/dev/shm`: entries of our user.
/// - the temporary folder: entries of our user whose name begins as ours do (`.tmp`, `multiproc`); compilers, editors and other
///   users' programs come and go there too. A stranger's `.tmpXXXXXX` that is made during the test and stays for longer
///   than the oracle waits is reported; there is no telling it from our own.
///
/// # Turns
/// Tests that hold an oracle run one at a time, even in several programs, if those lie in one build folder: nextest gives
/// every test a process. A test without one that starts processes or opens files beside it would be blamed on it, so in a
/// file where one test takes an oracle, all do.
///
/// # The check
/// It is made by [`finish`](Self::finish), or when the oracle is dropped; so it comes first in a test, to be
/// dropped last. Dropped by a panic it only kills and reaps what is left, for the sake of the tests that follow.
#[derive(Debug)]
pub struct Oracle {
    before: Snapshot,
    deadline: Duration,
    orphans: bool,
    checked: bool,
    _turn: Turn,
}

impl Oracle {
    /// Begins: waits for its turn, then notes what there is.
    ///
    /// # Panics
    /// When the kernel does not let this process adopt orphans.
    #[must_use]
    #[track_caller]
    pub fn begin() -> Self {
        Self::after(|| ())
    }

    /// Begins after `warm_up`: waits for its turn, runs it, then notes what there is.
    ///
    /// For what a library opens once for the life of the process, at its first use.
    ///
    /// # Panics
    /// When the kernel does not let this process adopt orphans.
    #[must_use]
    #[track_caller]
    pub fn after<T>(warm_up: impl FnOnce() -> T) -> Self {
        let turn = Turn::take();
        adopt_orphans();
        drop(warm_up());
        Self {
            before: Snapshot::take(),
            deadline: Duration::from_secs(5),
            orphans: false,
            checked: false,
            _turn: turn,
        }
    }

    /// How long what is on its way out may take: 5 s unless set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Expects orphans, as a test makes that kills a child with children of its own: zombies are reaped and not
    /// counted. What is alive still is.
    #[must_use]
    pub fn with_orphans(mut self) -> Self {
        self.orphans = true;
        self
    }

    /// Waits until nothing is left behind.
    ///
    /// # Panics
    /// When something still is at the deadline; the message lists each thing. Processes are killed and reaped then.
    #[track_caller]
    pub fn finish(mut self) {
        self.check();
    }

    #[track_caller]
    fn check(&mut self) {
        self.checked = true;
        let mut left = Vec::new();
        let clean = poll(self.deadline, || {
            if self.orphans {
                let dead = self
                    .leaked()
                    .into_iter()
                    .filter(|process| !process.is_alive());
                dead.for_each(|process| reap(process.pid));
            }
            left = Snapshot::take().beyond(&self.before);
            left.is_empty()
        });
        if !clean {
            self.kill_leaked();
            let lines: Vec<_> = left.iter().map(|thing| format!("  {thing}")).collect();
            panic!(
                "left behind after {:?}:\n{}",
                self.deadline,
                lines.join("\n")
            );
        }
    }

    /// Kills and reaps every process that was not there before, in rounds: the death of one makes orphans of others.
    fn kill_leaked(&self) {
        poll(Duration::from_secs(20), || {
            let leaked = self.leaked();
            for process in &leaked {
                let _ended_by_itself = kill(process.pid, libc::SIGKILL);
                reap(process.pid);
            }
            leaked.is_empty()
        });
    }

    fn leaked(&self) -> Vec<ProcessInfo> {
        let mut processes = descendants(process::id());
        processes.retain(|process| !self.before.has_process(process.pid));
        processes
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        if thread::panicking() {
            self.kill_leaked();
        } else if !self.checked {
            self.check();
        }
    }
}

/// The turn of one test, within its program and among the programs built into one folder.
#[derive(Debug)]
struct Turn {
    _within: MutexGuard<'static, ()>,
    _among: Option<File>,
}

impl Turn {
    fn take() -> Self {
        let within = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let among = env::var_os(IN_TURN).is_none().then(|| {
            let test = env::current_exe().expect("a running test has a path");
            let path = test.with_file_name("multiproc-testkit.lock");
            let file = File::create(path).expect("a file can be made beside the test");
            // Let go when the file is closed: by the end of the test's process if not before.
            file.lock().expect("the file system knows locks");
            file
        });
        Self {
            _within: within,
            _among: among,
        }
    }
}

/// Something that a test can leave behind, ordered as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Process(u32),
    Descriptor(u32, PathBuf),
    Entry(PathBuf),
}

/// What there is, each with the words it is reported in.
#[derive(Debug)]
struct Snapshot(BTreeMap<Thing, String>);

impl Snapshot {
    fn take() -> Self {
        let mut things = BTreeMap::new();
        for process in descendants(process::id()) {
            things.insert(Thing::Process(process.pid), describe(&process));
        }
        for (number, target) in descriptors() {
            let text = format!("descriptor {number}: {}", target.display());
            things.insert(Thing::Descriptor(number, target), text);
        }
        let shared = entries(Path::new("/dev/shm"), |_| true);
        let temporary = entries(&env::temp_dir(), |name| {
            TEMPORARY.iter().any(|start| name.starts_with(start))
        });
        for path in shared.into_iter().chain(temporary) {
            let text = format!("entry {}", path.display());
            things.insert(Thing::Entry(path), text);
        }
        Self(things)
    }

    /// What is here and was not in `before`.
    fn beyond(self, before: &Self) -> Vec<String> {
        self.0
            .into_iter()
            .filter(|(thing, _)| !before.0.contains_key(thing))
            .map(|(_, text)| text)
            .collect()
    }

    fn has_process(&self, pid: u32) -> bool {
        self.0.contains_key(&Thing::Process(pid))
    }
}

fn describe(process: &ProcessInfo) -> String {
    let zombie = if process.state == 'Z' { "zombie: " } else { "" };
    format!("{zombie}{process}")
}

/// Number and target of each open descriptor, without the one that reads the list.
fn descriptors() -> Vec<(u32, PathBuf)> {
    let list = PathBuf::from(format!("/proc/{}/fd", process::id()));
    let entries = fs::read_dir(&list).into_iter().flatten().flatten();
    let open = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, fs::read_link(entry.path()).ok()?))
    });
    open.filter(|(_, target)| *target != list).collect()
}

/// Entries of `folder` that are ours and whose name `counts`.
fn entries(folder: &Path, counts: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let user = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = all.filter(|entry| {
        counts(&entry.file_name().to_string_lossy())
            && entry.metadata().is_ok_and(|file| Some(file.uid()) == user)
    });
    ours.map(|entry| entry.path()).collect()
}

#[track_caller]
fn adopt_orphans() {
    // SAFETY: this option takes one number and no pointer.
    let answer = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1 as libc::c_ulong) };
    assert_eq!(answer, 0, "PR_SET_CHILD_SUBREAPER was refused");
}
