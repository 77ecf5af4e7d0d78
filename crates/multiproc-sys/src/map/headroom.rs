//! Whether memory of a given size can be reserved without the kernel answering with a signal.
//!
//! A reservation past `RLIMIT_FSIZE` is answered by SIGXFSZ, one past the machine's or the control
//! group's memory by the OOM killer; so both are asked first. Another program may take the memory in
//! between: what is checked here is what can be known. Control groups of both versions are read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Smaller sizes are noise beside what the machine does by itself, and are not checked against it.
const NOISE: u64 = 1 << 20;

/// Errors where `length` more bytes cannot be reserved.
pub(super) fn check(length: u64) -> io::Result<()> {
    check_file_size(length)?;
    if length < NOISE {
        return Ok(());
    }
    let scarce = [
        ("machine", machine_memory()),
        ("control group", groups_memory()),
    ];
    for (who, available) in scarce {
        if let Some(available) = available.filter(|available| *available < length) {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!(
                    "{length} bytes of shared memory were asked for, the {who} has {available} bytes left"
                ),
            ));
        }
    }
    Ok(())
}

/// Errors where a file of `length` bytes would be answered by SIGXFSZ.
pub(super) fn check_file_size(length: u64) -> io::Result<()> {
    if let Some(limit) = file_size_limit().filter(|limit| *limit < length) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "{length} bytes of shared memory are more than the limit on file size ({limit} bytes) allows"
            ),
        ));
    }
    Ok(())
}

fn file_size_limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is live and the call fills it.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = field(&text, "MemAvailable:")?;
    kilobytes.checked_mul(1024)
}

/// What a version of control groups calls its files, and the reclaimable part of what is in use.
struct Version {
    limit: &'static str,
    used: &'static str,
    cache: [&'static str; 2],
}

const ONE: Version = Version {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};
const TWO: Version = Version {
    limit: "memory.max",
    used: "memory.current",
    cache: ["inactive_file", "active_file"],
};

/// The least that is left in this process's control groups or in those around them.
fn groups_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    least_left(&groups, Path::new("/sys/fs/cgroup"))
}

/// `groups` has a line "number:controllers:group" each; in version 2, number 0 and no controllers.
fn least_left(groups: &str, mounted: &Path) -> Option<u64> {
    let least = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let group = group.trim_start_matches('/');
        if controllers.is_empty() {
            return TWO.least_left(mounted, group);
        }
        let has_memory = controllers.split(',').any(|name| name == "memory");
        has_memory.then(|| ONE.least_left(&mounted.join("memory"), group))?
    };
    groups.lines().filter_map(least).min()
}

impl Version {
    fn least_left(&self, root: &Path, group: &str) -> Option<u64> {
        let own: PathBuf = root.join(group);
        own.ancestors()
            .take_while(|group| group.starts_with(root))
            .filter_map(|group| self.left_in(group))
            .min()
    }

    fn left_in(&self, group: &Path) -> Option<u64> {
        let number = |name: &str| {
            fs::read_to_string(group.join(name))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        };
        // "max", no limit, is no number.
        let limit = number(self.limit)?;
        let used = number(self.used)?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = self
            .cache
            .iter()
            .filter_map(|name| field(&stat, name))
            .sum::<u64>();
        Some(limit.saturating_sub(used.saturating_sub(cache)))
    }
}

/// The number behind `name` in lines of "name number".
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_whole_name() {
        let text = "active_file 5\ninactive_file 7\nMemAvailable:   12 kB\n";
        assert_eq!(field(text, "inactive_file"), Some(7));
        assert_eq!(field(text, "active_file"), Some(5));
        assert_eq!(field(text, "MemAvailable:"), Some(12));
        assert_eq!(field(text, "file"), None);
    }

    #[test]
    fn the_tightest_group_counts_in_either_version() {
        let mounted = tempfile::tempdir().unwrap();
        let group = |path: &str, files: &[(&str, &str)]| {
            let folder = mounted.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
        };
        group("a/b", &[("memory.max", "max\n"), ("memory.current", "5\n")]);
        let stat = "anon 1\ninactive_file 20\nactive_file 30\n";
        group(
            "a",
            &[
                ("memory.max", "1000\n"),
                ("memory.current", "400\n"),
                ("memory.stat", stat),
            ],
        );
        let stat = "inactive_file 1\ntotal_inactive_file 10\n";
        group(
            "memory/x/y",
            &[
                ("memory.limit_in_bytes", "100\n"),
                ("memory.usage_in_bytes", "50\n"),
                ("memory.stat", stat),
            ],
        );
        let least = |groups| least_left(groups, mounted.path());
        assert_eq!(least("0::/a/b\n"), Some(650));
        assert_eq!(least("5:cpu,memory:/x/y\n1:name=systemd:/\n"), Some(60));
        assert_eq!(least("5:memory:/x/y\n0::/a/b\n"), Some(60));
        assert_eq!(least("5:cpu:/x/y\n"), None);
        // Used beyond the limit; and as a container sees it that cannot see the groups around it.
        group("c", &[("memory.max", "10\n"), ("memory.current", "11\n")]);
        assert_eq!(least("0::/c/not/here\n"), Some(0));
        assert_eq!(least("no line\n"), None);
    }

    #[test]
    fn what_is_certainly_there_is_allowed() {
        check(0).unwrap();
        check(2 << 20).unwrap();
    }
}
