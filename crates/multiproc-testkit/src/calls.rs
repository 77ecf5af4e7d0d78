//! System calls, counted from outside by `ptrace`, which asks for no privilege over what the test itself has started.
//!
//! What is counted says so itself: it calls [`mark`] before and behind what is of interest, again and again, and the
//! counter waits for a first mark and counts up to the next. Whoever is counted is a process of its own, with its
//! children; all that happens to it is that it is slow.

use std::collections::BTreeMap;
use std::{fs, io, mem, ptr};

use libc::{c_int, c_long, c_uint, pid_t};

use crate::process::descendants;

/// No option of `prctl`, which is refused at once.
const MARK: c_int = 0x6d70_6d6b;

/// Begins, or ends, what [`system_calls`] counts: `begins` tells which.
pub fn mark(begins: bool) {
    // SAFETY: an option that does not exist; the kernel refuses it, and reads and writes nothing.
    unsafe { libc::prctl(MARK, libc::c_ulong::from(begins)) };
}

/// The system calls of one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Whether it made the marks.
    pub marked: bool,
    /// How often it made the call of that number.
    pub by_number: BTreeMap<u64, u64>,
}

impl Calls {
    /// How often it made that call.
    #[must_use]
    pub fn of(&self, number: c_long) -> u64 {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.by_number.get(&number).copied().unwrap_or_default()
    }

    /// How many calls it made.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.by_number.values().sum()
    }
}

/// Counts the system calls of all threads that the process `root` and its descendants have now, from one [`mark`] that
/// begins to the next that ends. Threads and processes that begin later are not counted.
///
/// # Panics
/// Where one of them cannot be traced, or all end before they have made the marks. It waits for as long as `root` lives: whoever
/// started that gives it a deadline.
#[must_use]
pub fn system_calls(root: u32) -> Vec<Calls> {
    let mut tracees = BTreeMap::new();
    let pids = descendants(root).into_iter().map(|process| process.pid);
    for pid in pids.chain([root]) {
        for thread in threads(pid) {
            attach(thread);
            let name = fs::read_to_string(format!("/proc/{pid}/task/{thread}/comm"));
            let calls = Calls {
                pid,
                thread: thread.unsigned_abs(),
                name: name.unwrap_or_default().trim().to_string(),
                ..Calls::default()
            };
            tracees.insert(thread, calls);
        }
    }
    let mut counting = false;
    loop {
        let (thread, status) = wait(&mut tracees);
        match Stop::of(status) {
            Stop::Call => {
                if let Some((number, begins)) = entered(thread) {
                    let calls = tracees.entry(thread).or_default();
                    match begins {
                        Some(true) => {
                            counting = true;
                            calls.marked = true;
                        }
                        Some(false) if counting => break,
                        Some(false) => {}
                        None if counting => *calls.by_number.entry(number).or_default() += 1,
                        None => {}
                    }
                }
                go_on(thread, 0);
            }
            Stop::Signal(signal) => go_on(thread, signal),
        }
    }
    detach(&mut tracees);
    tracees.into_values().collect()
}

/// Why a thread has stopped.
enum Stop {
    /// It enters a system call, or leaves it.
    Call,
    /// It is to be given this signal; 0 for none.
    Signal(c_int),
}

impl Stop {
    fn of(status: c_int) -> Stop {
        match libc::WSTOPSIG(status) {
            signal if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            _ if status >> 16 != 0 => Stop::Signal(0),
            signal => Stop::Signal(signal),
        }
    }
}

fn threads(pid: u32) -> Vec<pid_t> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Seizes a thread, and has it stop at each system call from now on.
fn attach(thread: pid_t) {
    const OPTIONS: c_int = libc::PTRACE_O_TRACESYSGOOD;
    let seized = request(libc::PTRACE_SEIZE, thread, OPTIONS);
    seized.unwrap_or_else(|error| panic!("thread {thread} cannot be traced: {error}"));
    let stopped = request(libc::PTRACE_INTERRUPT, thread, 0);
    stopped.unwrap_or_else(|error| panic!("thread {thread} cannot be stopped: {error}"));
    let mut status = 0;
    // SAFETY: `status` is a live integer.
    let waited = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
    assert_eq!(waited, thread, "a thread that was seized stops");
    request(libc::PTRACE_SYSCALL, thread, 0).expect("a thread that has stopped goes on");
}

/// Waits until one of the threads stops. Those that end are no longer waited for.
fn wait(tracees: &mut BTreeMap<pid_t, Calls>) -> (pid_t, c_int) {
    loop {
        let mut status = 0;
        // Of this thread alone: other tests have children too.
        let flags = libc::__WALL | libc::__WNOTHREAD;
        // SAFETY: `status` is a live integer.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        if thread < 0 {
            let error = io::Error::last_os_error();
            assert_eq!(
                error.kind(),
                io::ErrorKind::Interrupted,
                "all have ended before they made the marks: {error}"
            );
        } else if libc::WIFSTOPPED(status) {
            return (thread, status);
        } else {
            tracees.remove(&thread);
        }
    }
}

/// As the kernel fills it in where a system call is entered.
#[repr(C)]
struct Entry {
    op: u8,
    reserved: [u8; 3],
    arch: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    arguments: [u64; 6],
}

/// The number of the system call that a thread enters, and whether that begins or ends what is counted; nothing where it
/// leaves one.
fn entered(thread: pid_t) -> Option<(u64, Option<bool>)> {
    const ENTRY: u8 = 1;
    // SAFETY: made of integers.
    let mut entry: Entry = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes no more than the size that is given to it, which is the entry's.
    let size = unsafe {
        libc::ptrace(
            libc::PTRACE_GET_SYSCALL_INFO,
            thread,
            size_of::<Entry>(),
            &raw mut entry,
        )
    };
    if size <= 0 || entry.op != ENTRY {
        return None;
    }
    let is_mark = i64::try_from(entry.number) == Ok(libc::SYS_prctl)
        && entry.arguments[0] == u64::from(MARK.unsigned_abs());
    Some((entry.number, is_mark.then_some(entry.arguments[1] != 0)))
}

/// Lets go of all threads, which go on.
fn detach(tracees: &mut BTreeMap<pid_t, Calls>) {
    let all: Vec<pid_t> = tracees.keys().copied().collect();
    for thread in all {
        // One that has stopped by itself is let go at once; one that has ended cannot be.
        if request(libc::PTRACE_DETACH, thread, 0).is_ok() {
            continue;
        }
        if request(libc::PTRACE_INTERRUPT, thread, 0).is_ok() {
            let mut status = 0;
            // SAFETY: `status` is a live integer.
            let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
            if stopped == thread && libc::WIFSTOPPED(status) {
                let signal = match Stop::of(status) {
                    Stop::Call => 0,
                    Stop::Signal(signal) => signal,
                };
                let _let_go = request(libc::PTRACE_DETACH, thread, signal);
            }
        }
    }
}

/// Lets a thread that has stopped run up to the next system call. One that was killed meanwhile is found ended.
fn go_on(thread: pid_t, signal: c_int) {
    let _killed = request(libc::PTRACE_SYSCALL, thread, signal);
}

fn request(what: c_uint, thread: pid_t, number: c_int) -> io::Result<()> {
    let number = usize::try_from(number).expect("a signal or a mask");
    // SAFETY: none of the requests that come here reads or writes this process's memory.
    let result = unsafe { libc::ptrace(what, thread, ptr::null_mut::<u8>(), number) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
