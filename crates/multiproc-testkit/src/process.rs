//! Processes as `/proc` shows them, and the two acts a test needs on them: a signal, and reaping.

use std::collections::HashSet;
use std::{fmt, fs, io};

/// One process at the moment it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its process id.
    pub pid: u32,
    /// The process that will reap it: its creator, or who adopted it.
    pub ppid: u32,
    /// The kernel's letter: `R` running, `S` sleeping, `T` stopped, `Z` zombie, …
    pub state: char,
    /// Its arguments, or `[name]` where there are none left (a zombie).
    pub command: String,
}

impl ProcessInfo {
    /// Whether it still runs or could run again: neither zombie nor dead.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// The process `pid` without its arguments, which cost one more file to read.
    fn without_arguments(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (head, tail) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = tail.split_ascii_whitespace();
        Some(Self {
            pid,
            state: fields.next()?.chars().next()?,
            ppid: fields.next()?.parse().ok()?,
            command: format!("[{name}]"),
        })
    }

    fn with_arguments(mut self) -> Self {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words: Vec<_> = line
            .split(|&byte| byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        let line = words.join(" ");
        if !line.trim().is_empty() {
            line.trim_end().clone_into(&mut self.command);
        }
        self
    }
}

impl fmt::Display for ProcessInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            ppid,
            state,
            command,
        } = self;
        write!(f, "process {pid}, state {state}, parent {ppid}: {command}")
    }
}

/// All processes below `pid`, zombies included, `pid` itself not.
///
/// An orphan is below whoever adopted it, so it is found only under a child subreaper.
#[must_use]
pub fn descendants(pid: u32) -> Vec<ProcessInfo> {
    let mut others = every_process();
    let mut found: Vec<ProcessInfo> = Vec::new();
    let mut known = HashSet::from([pid]);
    loop {
        let before = found.len();
        found.extend(others.extract_if(.., |process| known.contains(&process.ppid)));
        if found.len() == before {
            return found.into_iter().map(ProcessInfo::with_arguments).collect();
        }
        known.extend(found[before..].iter().map(|process| process.pid));
    }
}

fn every_process() -> Vec<ProcessInfo> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(ProcessInfo::without_arguments).collect()
}

/// The kernel's letter for the state of `pid`, or `None` where there is no such process.
#[must_use]
pub fn process_state(pid: u32) -> Option<char> {
    ProcessInfo::without_arguments(pid).map(|process| process.state)
}

/// Whether `pid` still runs or could run again. A zombie is not alive, though `kill(pid, 0)` says it is.
#[must_use]
pub fn alive(pid: u32) -> bool {
    ProcessInfo::without_arguments(pid).is_some_and(|process| process.is_alive())
}

/// Sends `signal` to the one process `pid`.
///
/// # Errors
/// When there is no such process, or it may not be signalled.
///
/// # Panics
/// When `pid` is 0 or not a process id: it would mean a whole group.
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    let pid = pid_t(pid);
    // SAFETY: `kill` reads no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reaps `pid` if it is a zombie and a child of this process.
pub(crate) fn reap(pid: u32) {
    // SAFETY: a null status pointer is allowed and means that the status is not wanted.
    let _not_yet_or_not_ours =
        unsafe { libc::waitpid(pid_t(pid), std::ptr::null_mut(), libc::WNOHANG) };
}

fn pid_t(pid: u32) -> libc::pid_t {
    let number = libc::pid_t::try_from(pid).ok().filter(|&pid| pid > 0);
    number.unwrap_or_else(|| panic!("{pid} is not a process id"))
}
