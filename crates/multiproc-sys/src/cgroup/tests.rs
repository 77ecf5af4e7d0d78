//! Against folders in which the tests do what the kernel does, and against the kernel where it lets them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::imp::place;
use super::{Home, MemoryGroup, enter, remove_left};
use crate::clock::Deadline;

/// A folder with what the kernel puts into one of a group that gives `gives` to those in it.
fn folder(gives: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cgroup.subtree_control"), gives).unwrap();
    fs::write(folder.path().join("cgroup.procs"), "").unwrap();
    folder
}

/// As the kernel does, with an account of what has happened in it.
fn make(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::write(
        path.join("memory.events"),
        "low 0\nmax 3\noom 0\noom_kill 0\n",
    )
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

fn home(folder: &tempfile::TempDir) -> Home {
    Home::at(folder.path(), make, remove).unwrap()
}

fn groups(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

fn read(path: &Path, file: &str) -> String {
    fs::read_to_string(path.join(file)).unwrap()
}

#[test]
fn a_group_caps_is_entered_tells_and_goes() {
    let folder = folder("cpu memory pids\n");
    let group = MemoryGroup::create(&home(&folder), 4096).unwrap();
    let path = group.path().to_path_buf();
    assert_eq!(groups(&folder), [path.as_path()]);
    assert_eq!(read(&path, "memory.max"), "4096");
    assert_eq!(read(&path, "memory.swap.max"), "0");
    assert_eq!(read(&path, "memory.oom.group"), "1");
    enter(&path).unwrap();
    assert_eq!(read(&path, "cgroup.procs"), "0");
    assert!(!group.was_out_of_memory().unwrap());
    fs::write(path.join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
    assert!(group.was_out_of_memory().unwrap());
    drop(group);
    assert!(groups(&folder).is_empty());
}

#[test]
fn who_may_not_make_groups_is_told_why() {
    let refused = |folder: &Path| {
        let error = Home::at(folder, make, remove).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        error.to_string()
    };
    let without = refused(folder("cpu memory_of_another\n").path());
    assert!(without.contains("gives no `memory`"), "{without}");
    let nowhere = refused(Path::new("/no/such/folder"));
    assert!(nowhere.contains("No such file"), "{nowhere}");
    // What cannot be written even by those who may write all: a file that is not there.
    let odd = folder("memory");
    fs::remove_file(odd.path().join("cgroup.procs")).unwrap();
    let not_ours = refused(odd.path());
    assert!(
        not_ours.contains("is not this process's to change"),
        "{not_ours}"
    );
}

#[test]
fn a_group_that_cannot_be_made_whole_leaves_nothing() {
    /// As the kernel does where there is no room for another group.
    fn no_room(_: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }
    fn denied(_: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EACCES))
    }
    /// Every write to it fails.
    fn full(path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        std::os::unix::fs::symlink("/dev/full", path.join("memory.max"))
    }
    /// Somebody else removes it at once.
    fn vanishing(path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        fs::remove_dir(path)
    }
    type Act = fn(&Path) -> io::Result<()>;
    let cases: [(Act, _); 4] = [
        (no_room, libc::EAGAIN),
        (denied, libc::EACCES),
        (full, libc::ENOSPC),
        (vanishing, libc::ENOENT),
    ];
    let folder = folder("memory");
    for (make, number) in cases {
        let home = Home::at(folder.path(), make, remove).unwrap();
        let error = MemoryGroup::create(&home, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(number));
        assert!(groups(&folder).is_empty());
    }
}

#[test]
fn what_vanishes_under_a_group_is_an_error_or_nothing() {
    let folder = folder("memory");
    let group = MemoryGroup::create(&home(&folder), 1).unwrap();
    fs::remove_dir_all(group.path()).unwrap();
    assert_eq!(
        enter(group.path()).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    group.was_out_of_memory().unwrap_err();
    drop(group);
    remove_left(Deadline::now());
}

#[test]
fn a_group_that_somebody_is_left_in_is_removed_later() {
    static BUSY: AtomicU32 = AtomicU32::new(0);
    fn remove_when_empty(path: &Path) -> io::Result<()> {
        match BUSY.try_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
            busy.checked_sub(1)
        }) {
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EBUSY)),
            Err(_) => fs::remove_dir_all(path),
        }
    }
    let folder = folder("memory");
    let home = Home::at(folder.path(), make, remove_when_empty).unwrap();
    let busy = |times| BUSY.store(times, Ordering::Relaxed);
    let first = MemoryGroup::create(&home, 1).unwrap();
    busy(u32::MAX);
    drop(first);
    assert_eq!(groups(&folder).len(), 1);
    // The next one's making removes it, once it can.
    busy(0);
    let second = MemoryGroup::create(&home, 1).unwrap();
    assert_eq!(groups(&folder), [second.path().to_path_buf()]);
    busy(4);
    drop(second);
    remove_left(Deadline::after(std::time::Duration::from_secs(60)));
    assert!(groups(&folder).is_empty());
}

#[test]
fn groups_of_a_maker_that_is_over_are_removed_and_no_others() {
    let folder = folder("memory");
    let foreign = [
        "of-another",
        "multiproc-",
        "multiproc-zz-0",
        "multiproc-0-0",
    ];
    for name in foreign {
        make(&folder.path().join(name)).unwrap();
    }
    // No process has this number, which is beyond all.
    let over = folder
        .path()
        .join(format!("multiproc-{:x}-7", (1_u64 << 23) - 1));
    make(&over).unwrap();
    let living = MemoryGroup::create(&home(&folder), 1).unwrap();
    let next = MemoryGroup::create(&home(&folder), 1).unwrap();
    assert!(!over.exists() && living.path().exists());
    assert_eq!(groups(&folder).len(), foreign.len() + 2);
    drop((living, next));
}

#[test]
fn ones_own_place_is_found_below_what_is_mounted() {
    let mounts = "\
        22 1 0:21 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    let found = place(mounts, "4:memory:/x\n0::/user.slice/run\n");
    let expected = ["/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/run"].map(PathBuf::from);
    assert_eq!(found, Some(expected.into()));
    // In a container: what is mounted is not the root.
    let inside = "30 24 0:26 /box/7 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let found = place(inside, "0::/box/7/run\n").unwrap();
    assert_eq!(found.1, PathBuf::from("/sys/fs/cgroup/run"));
    assert_eq!(place(inside, "0::/elsewhere\n"), None);
    assert_eq!(
        place("22 1 0:21 / /m rw - cgroup cgroup rw\n", "0::/\n"),
        None
    );
    assert_eq!(place(mounts, "4:memory:/x\n"), None);
    assert_eq!(place("", ""), None);
    assert_eq!(place("odd\n - \n", "0::/\n"), None);
}

#[test]
fn the_kernel_does_as_the_tests_have_it() {
    let home = match Home::own() {
        Ok(home) => home,
        Err(why) => {
            assert_eq!(why.kind(), io::ErrorKind::Unsupported);
            // Past the harness, which shows what a test prints only if it fails.
            let _nobody_reads = writeln!(
                io::stderr(),
                "NOT TESTED: a kernel's own control groups: {why}"
            );
            return;
        }
    };
    let group = MemoryGroup::create(&home, 1 << 30).unwrap();
    let path = group.path().to_path_buf();
    assert_eq!(read(&path, "memory.max").trim(), (1 << 30).to_string());
    assert!(!group.was_out_of_memory().unwrap());
    drop(group);
    assert!(!path.exists());
}
