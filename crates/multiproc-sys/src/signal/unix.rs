//! POSIX signals.

/// Asks a process to end.
pub const TERMINATE: i32 = libc::SIGTERM;
/// Ends a process without asking.
pub const KILL: i32 = libc::SIGKILL;
/// What `abort` sends to its own process.
pub const ABORT: i32 = libc::SIGABRT;
/// What Ctrl-C sends.
pub const INTERRUPT: i32 = libc::SIGINT;
/// Stops a process without asking, until it is resumed.
pub const SUSPEND: i32 = libc::SIGSTOP;
/// Has a stopped process go on.
pub const RESUME: i32 = libc::SIGCONT;

/// The signal's name, such as `SIGSEGV`; `None` for a real-time or unknown one.
#[must_use]
pub fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSTKFLT => "SIGSTKFLT",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGCONT => "SIGCONT",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGURG => "SIGURG",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGWINCH => "SIGWINCH",
        libc::SIGIO => "SIGIO",
        libc::SIGPWR => "SIGPWR",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// Gives a process that never reaches `main` the one signal disposition that `main` starts with: a
/// write to a closed pipe is an error and not a death. `std::process::Command` undoes it for the
/// programs it starts.
pub fn as_at_start_of_main() {
    // SAFETY: SIG_IGN is a valid disposition for SIGPIPE; no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
