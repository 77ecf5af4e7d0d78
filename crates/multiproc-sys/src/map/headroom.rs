//! Whether memory of a given size can be reserved without the kernel answering with a signal.
//!
//! A reservation past `RLIMIT_FSIZE` is answered by SIGXFSZ, one past the machine's or the control
//! group's memory by the OOM killer; so both are asked first. Another program may take the memory in
//! between: what is checked here is what can be known. Control groups of version 2 are read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Smaller sizes are noise beside what the machine does by itself, and are not checked against it.
const NOISE: u64 = 1 << 20;

/// Errors where `length` more bytes cannot be reserved.
pub(super) fn check(length: u64) -> io::Result<()> {
    if let Some(limit) = file_size_limit().filter(|limit| *limit < length) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes of shared memory are more than the limit on file size ({limit} bytes) allows"),
        ));
    }
    if length < NOISE {
        return Ok(());
    }
    let scarce = [("machine", machine_memory()), ("control group", group_memory())];
    for (who, available) in scarce {
        if let Some(available) = available.filter(|available| *available < length) {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("{length} bytes of shared memory were asked for, the {who} has {available} bytes left"),
            ));
        }
    }
    Ok(())
}

fn file_size_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and the call fills it.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    (result == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = field(&text, "MemAvailable:")?;
    kilobytes.checked_mul(1024)
}

/// The least that is left in this process's control group or in one around it.
fn group_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own: PathBuf = root.join(own);
    own.ancestors().take_while(|group| group.starts_with(root)).filter_map(left_in).min()
}

fn left_in(group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // "max", no limit, is no number.
    let limit = number("memory.max")?;
    let used = number("memory.current")?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = ["inactive_file", "active_file"].iter().filter_map(|name| field(&stat, name)).sum::<u64>();
    Some(limit.saturating_sub(used.saturating_sub(cache)))
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
    fn what_is_certainly_there_is_allowed() {
        check(0).unwrap();
        check(2 << 20).unwrap();
    }
}
