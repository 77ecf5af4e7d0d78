//! How many processes can compute at once, where a control group pays for less than there is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use multiproc_process::{Process, cpu_count};
use multiproc_testkit::{Oracle, eventually, within};

const LIMIT: Duration = Duration::from_secs(60);

/// This process's control group, of either version, in which it may make others with a quota of CPU time.
fn home() -> Option<(PathBuf, &'static str)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let versions = [
        ("cgroup ", "cpu", ":cpu:/", "cpu.cfs_quota_us"),
        ("cgroup2 ", "", "0::/", "cpu.max"),
    ];
    versions
        .into_iter()
        .find_map(|(kind, controller, place, file)| {
            let mount = mounts.lines().find_map(|line| {
                let (mount, options) = line.split_once(&format!(" - {kind}"))?;
                let with = |option: &str| option == controller || controller.is_empty();
                options
                    .split([' ', ','])
                    .any(with)
                    .then(|| mount.split(' ').nth(4))?
            })?;
            let inside = own.lines().find_map(|line| line.split_once(place))?.1;
            let home = Path::new(mount).join(inside);
            let probe = Group::new(home.join(format!("multiproc-test-{}", std::process::id())))?;
            probe.0.join(file).exists().then_some((home, file))
        })
}

/// Removed when it is dropped.
struct Group(PathBuf);

impl Group {
    fn new(path: PathBuf) -> Option<Group> {
        fs::create_dir(&path).ok()?;
        Some(Group(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually(LIMIT, "it is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

fn counted_in(group: &Path) -> usize {
    let child = Process::spawn(
        |group: PathBuf| {
            fs::write(group.join("cgroup.procs"), "0").unwrap();
            cpu_count()
        },
        group.to_path_buf(),
    );
    within(LIMIT, move || child.unwrap().join()).unwrap()
}

#[test]
fn a_quota_is_counted_also_where_it_is_that_of_a_group_above() {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    // Past the harness, which shows what a test prints only if it fails.
    let not_tested = |why| {
        let _nobody_reads = writeln!(io::stderr(), "NOT TESTED: a quota of CPU time: {why}");
    };
    if cpu_count() < 2 {
        return not_tested("there is one CPU");
    }
    let Some((home, file)) = home() else {
        return not_tested("no control group is this process's to make one in");
    };
    let above = Group::new(home.join(format!("multiproc-test-{}", std::process::id()))).unwrap();
    let below = Group::new(above.0.join("below")).unwrap();
    assert_eq!(counted_in(&below.0), cpu_count());
    // Microseconds of a tenth of a second, in both versions. What is not a whole CPU is none.
    for (quota, count) in [(100_000, 1), (190_000, 1), (200_000, 2), (20_000, 1)] {
        fs::write(above.0.join(file), quota.to_string()).unwrap();
        assert_eq!(counted_in(&below.0), count, "{quota}");
    }
    drop((below, above));
    oracle.finish();
}
