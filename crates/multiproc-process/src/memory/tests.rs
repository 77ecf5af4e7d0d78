//! With a folder in which the test does what the kernel does: what a real one kills is in no test.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use multiproc_sys::cgroup::Home;
use multiproc_sys::limits::Resource;
use multiproc_testkit::{forever, within};

use super::MemoryCap;
use crate::{Builder, Error, Process, StartMethod};

const LIMIT: Duration = Duration::from_secs(60);

thread_local! {
    static HOME: RefCell<Option<Home>> = const { RefCell::new(None) };
}

pub(super) fn home() -> Option<Home> {
    HOME.with_borrow(Clone::clone)
}

/// Has children of this thread be capped in a folder, where `make` makes their groups.
fn capped_in(make: fn(&Path) -> std::io::Result<()>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cgroup.subtree_control"), "memory").unwrap();
    fs::write(folder.path().join("cgroup.procs"), "").unwrap();
    let home = Home::at(folder.path(), make, |path| fs::remove_dir_all(path)).unwrap();
    HOME.set(Some(home));
    folder
}

/// The folder's groups.
fn groups(folder: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

fn capped(method: StartMethod) -> Builder {
    Process::builder()
        .start_method(method)
        .memory_limit(1 << 30)
}

fn join<R: serde::de::DeserializeOwned + Send + 'static>(child: Process<R>) -> Result<R, Error> {
    within(LIMIT, move || child.join())
}

#[test]
fn a_child_enters_its_group_and_its_status_tells_of_memory() {
    let folder = capped_in(|path| fs::create_dir(path));
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let child = capped(method)
            .start_timeout(LIMIT)
            .spawn(|()| forever(), ());
        let child: Process = child.unwrap();
        assert_eq!(child.memory_cap(), Some(MemoryCap::ControlGroup));
        let [group] = &groups(&folder)[..] else {
            panic!("one group")
        };
        let read = |file| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(
            [read("memory.max"), read("cgroup.procs")],
            ["1073741824", "0"]
        );
        // As the kernel does.
        fs::write(group.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        child.kill().unwrap();
        let error = join(child).unwrap_err();
        assert!(error.exit_status().unwrap().out_of_memory());
        assert!(
            error.to_string().contains("(SIGKILL), out of memory"),
            "{error}"
        );
        assert!(groups(&folder).is_empty(), "removed when it is reaped");
    }
}

#[test]
fn who_is_killed_otherwise_was_not_out_of_memory() {
    let folder = capped_in(|path| {
        fs::create_dir(path)?;
        fs::write(path.join("memory.events"), "oom 0\noom_kill 0\n")
    });
    let child: Process = capped(StartMethod::Spawn)
        .spawn(|()| forever(), ())
        .unwrap();
    child.kill().unwrap();
    let error = join(child).unwrap_err();
    assert!(!error.exit_status().unwrap().out_of_memory(), "{error}");
    assert!(groups(&folder).is_empty());
}

#[test]
fn where_no_group_can_be_made_the_address_space_is_limited() {
    let folder = capped_in(|_| Err(std::io::ErrorKind::PermissionDenied.into()));
    let limit = |()| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is live and the call fills it.
        unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
        limit.rlim_cur
    };
    let child = capped(StartMethod::Spawn).spawn(limit, ()).unwrap();
    assert_eq!(child.memory_cap(), Some(MemoryCap::AddressSpace));
    assert_eq!(join(child).unwrap(), 1 << 30);
    // What was asked for besides is kept where it is less.
    for (asked, found) in [(1 << 29, 1 << 29), (1 << 31, 1 << 30)] {
        let both = capped(StartMethod::Spawn).limit(Resource::AddressSpace, asked);
        assert_eq!(join(both.spawn(limit, ()).unwrap()).unwrap(), found);
    }
    let uncapped = Process::spawn(|()| (), ()).unwrap();
    assert_eq!(uncapped.memory_cap(), None);
    join(uncapped).unwrap();
    assert!(groups(&folder).is_empty());
}

#[test]
fn a_group_that_cannot_be_entered_is_an_error_of_the_start() {
    let folder = capped_in(|path| {
        fs::create_dir(path)?;
        std::os::unix::fs::symlink("/dev/full", path.join("cgroup.procs"))
    });
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let error = join(capped(method).spawn(|()| (), ()).unwrap()).unwrap_err();
        assert!(error.is_start(), "{error}");
        assert!(
            error.to_string().contains("cannot be entered: No space"),
            "{error}"
        );
        assert!(groups(&folder).is_empty());
    }
}

#[test]
fn a_start_that_fails_leaves_no_group() {
    let folder = capped_in(|path| fs::create_dir(path));
    let lost = capped(StartMethod::Spawn).cwd("/no/such/folder");
    assert!(lost.spawn(|()| (), ()).unwrap_err().is_start());
    assert!(groups(&folder).is_empty());
}

/// The first version's group of this process that limits memory, if its folder may be written.
fn first_versions_group() -> Option<std::path::PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - cgroup ")?;
        let memory = kind.split([' ', ',']).any(|option| option == "memory");
        memory.then(|| mount.split(' ').nth(4))?
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.split_once(":memory:/"))?.1;
    let group = Path::new(mount).join(own);
    let path = std::ffi::CString::new(group.to_str()?).unwrap();
    // SAFETY: a C string.
    (unsafe { libc::access(path.as_ptr(), libc::W_OK) } == 0).then_some(group)
}

/// A group of the first version, under the names of the second.
fn make_of_the_first_version(path: &Path) -> std::io::Result<()> {
    let group = first_versions_group()
        .unwrap()
        .join(path.file_name().unwrap());
    fs::create_dir(&group)?;
    fs::create_dir(path)?;
    for (name, of_the_first) in [
        ("memory.max", "memory.limit_in_bytes"),
        ("memory.events", "memory.oom_control"),
        ("cgroup.procs", "cgroup.procs"),
        ("group", ""),
    ] {
        std::os::unix::fs::symlink(group.join(of_the_first), path.join(name))?;
    }
    Ok(())
}

fn remove_of_the_first_version(path: &Path) -> std::io::Result<()> {
    fs::remove_dir(fs::read_link(path.join("group"))?)?;
    fs::remove_dir_all(path)
}

#[test]
fn a_child_that_eats_memory_is_killed_by_the_kernel_and_its_status_says_so() {
    const CAP: u64 = 64 << 20;
    if first_versions_group().is_none() {
        // Past the harness, which shows what a test prints only if it fails.
        let _nobody_reads = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"NOT TESTED: a child that is out of memory: no control group is this process's to make one in\n",
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cgroup.subtree_control"), "memory").unwrap();
    fs::write(folder.path().join("cgroup.procs"), "").unwrap();
    let home = Home::at(
        folder.path(),
        make_of_the_first_version,
        remove_of_the_first_version,
    );
    HOME.set(Some(home.unwrap()));
    let eat = |bytes: usize| vec![1_u8; bytes].len();
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let capped = || Process::builder().start_method(method).memory_limit(CAP);
        let modest = capped().spawn(eat, 1 << 20).unwrap();
        assert_eq!(join(modest).unwrap(), 1 << 20);
        // What it reserves and does not use does not count.
        let reserving = capped().spawn(|()| Vec::<u8>::new().try_reserve(1 << 30).is_ok(), ());
        assert!(join(reserving.unwrap()).unwrap());
        let error = join(capped().spawn(eat, 256 << 20).unwrap()).unwrap_err();
        let status = error.exit_status().unwrap_or_else(|| panic!("{error}"));
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert!(status.out_of_memory(), "{error}");
        // A child of it counts, too, and nothing is left of either.
        let by_another = capped().spawn(
            |()| {
                let child = Process::spawn(|()| vec![1_u8; 256 << 20].len(), ()).unwrap();
                child.join().unwrap_err().exit_status().unwrap().signal()
            },
            (),
        );
        assert_eq!(join(by_another.unwrap()).unwrap(), Some(libc::SIGKILL));
        multiproc_sys::cgroup::remove_left(multiproc_sys::clock::Deadline::after(LIMIT));
        assert!(groups(&folder).is_empty());
    }
}
