//! `fork`, and a fork whose child is the forker's sibling (`clone3` with `CLONE_PARENT`).
//!
//! # The sibling
//!
//! A server that forks on request is not who waits for the child: the process that asks is. With
//! `CLONE_PARENT` the kernel makes the child a child of the server's own parent, so that pidfd, exit
//! status and reaping are those of any other child of that one, whatever becomes of the server.
//!
//! glibc's `fork` takes no flags, so the system call is made here. What `_Fork` of glibc does beyond the
//! system call, and what is done about it:
//!
//! - It has the kernel write the child's thread id to where the C library keeps it, and clear it at the
//!   thread's end. The kernel tells that place (`PR_GET_TID_ADDRESS`), which is checked to hold this
//!   thread's id; the same two flags are given with it.
//! - It blocks all signals meanwhile, so that no handler sees the state between. So does this.
//! - It gives the kernel the thread's robust list again, empty: a new process has none. So does this, with
//!   the head that the kernel knew of this thread before, whose links are made to point at itself.
//!
//! What `fork` of glibc does beyond `_Fork` concerns locks that other threads may hold, their stacks, and
//! the handlers of `pthread_atfork`. There are no other threads: `Sibling::new` refuses where there are.
//! Handlers are not run: what they protect is safe with one thread; one that counts forks does not count
//! this one (ours is told).
//!
//! # What a death leaves
//!
//! The kernel writes the child's number to `number` before the child runs and before the call returns.
//! Where that lies in memory shared with the parent, and the forker is killed at whatever instruction,
//! the parent finds there either 0 and there is no child, or the number of its own child.

use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicU32;

use super::posix_spawn::{Moved, Stdio};
use crate::map::{self, Mapping};
use crate::robust;
use crate::syscall::{check, restarting};

/// How many threads this process has.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn thread_count() -> io::Result<usize> {
    // A folder's links are its name, its `.`, and the `..` of each folder in it.
    let links = fs::metadata("/proc/self/task")?.nlink();
    Ok(usize::try_from(links)
        .unwrap_or(usize::MAX)
        .saturating_sub(2))
}

/// Forks: `None` in the child, its number in the parent.
///
/// # Errors
/// No more processes allowed, no memory.
///
/// # Safety
/// The child has this thread alone, and all memory as it was. Where there are other threads, the child must
/// not need what they hold (the C library's allocator excepted, which it puts in order); it never uses
/// what exists for this process alone, such as a reference into memory that processes share.
pub unsafe fn fork() -> io::Result<Option<u32>> {
    // SAFETY: takes no pointer; what the child does is the caller's promise.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then(|| pid.cast_unsigned()))
}

/// The number of a process, in memory that the one who forks it shares with the one whose child it is.
#[derive(Debug)]
pub struct SharedNumber(Mapping);

impl SharedNumber {
    /// Zero; and the handle to the memory, for the other process.
    ///
    /// # Errors
    /// Too many open files, no memory.
    pub fn create() -> io::Result<(SharedNumber, OwnedFd)> {
        let memory = map::create(size_of::<AtomicU32>())?;
        Ok((SharedNumber::open(&memory)?, memory))
    }

    /// The other process's view.
    ///
    /// # Errors
    /// What is not such memory, no memory.
    pub fn open(memory: &OwnedFd) -> io::Result<SharedNumber> {
        let length = map::length(memory)?;
        if length != size_of::<AtomicU32>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the memory is not that of one number",
            ));
        }
        Mapping::new(memory, length).map(SharedNumber)
    }

    /// As [`open`](Self::open), for a process whose forked children do not use it: where it is mapped here nothing is
    /// there, so that it must not be dropped there.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_here_alone(memory: &OwnedFd) -> io::Result<SharedNumber> {
        let number = SharedNumber::open(memory)?;
        number.0.keep_from_children()?;
        Ok(number)
    }

    /// Where the number is.
    #[must_use]
    pub fn word(&self) -> &AtomicU32 {
        // SAFETY: a mapping of four bytes at least, aligned to a page, that lives as long as `self`, and that
        // both processes access as this atomic only (the kernel's store is one too).
        unsafe { AtomicU32::from_ptr(self.0.as_ptr().cast()) }
    }
}

/// What is needed to fork siblings.
#[derive(Debug)]
pub struct Sibling {
    /// Where the C library keeps this thread's id.
    thread_id: *mut libc::pid_t,
    robust: RobustHead,
}

/// A thread's head of its robust list, as the kernel knows it.
#[derive(Debug)]
struct RobustHead {
    head: *mut libc::c_void,
    length: usize,
}

/// Which of the two a process is after a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// Who forked.
    Parent,
    /// The new process.
    Child,
}

impl Sibling {
    /// For this thread, which must be the only one.
    ///
    /// # Errors
    /// `Unsupported` where there are other threads, or the kernel does not tell what must be known.
    pub fn new() -> io::Result<Sibling> {
        let threads = thread_count()?;
        if threads != 1 {
            return Err(unsupported(format!(
                "a process that forks siblings has one thread, and this one has {threads}"
            )));
        }
        let mut thread_id = MaybeUninit::<*mut libc::pid_t>::zeroed();
        // SAFETY: the call stores one pointer.
        let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, thread_id.as_mut_ptr()) };
        // SAFETY: all zeroes is a pointer, too.
        let thread_id = unsafe { thread_id.assume_init() };
        if told != 0 || thread_id.is_null() {
            return Err(unsupported(
                "the kernel does not tell where a thread's id is kept (CONFIG_CHECKPOINT_RESTORE)"
                    .into(),
            ));
        }
        // SAFETY: not null, and where the C library has told the kernel to write a number at the thread's end.
        let kept = unsafe { thread_id.read() };
        // SAFETY: takes no pointer.
        if kept != unsafe { libc::gettid() } {
            return Err(unsupported(
                "the C library does not keep a thread's id where the kernel clears it".into(),
            ));
        }
        Ok(Sibling {
            thread_id,
            robust: RobustHead::of_this_thread()?,
        })
    }

    /// Forks a sibling of this process and tells which of the two returns. Its number is in `number`
    /// before it runs.
    ///
    /// # Errors
    /// No more processes allowed, no memory; `number` is as it was.
    ///
    /// # Safety
    /// As [`fork`]; this thread is still the only one and holds no robust lock.
    pub unsafe fn fork(&self, number: &AtomicU32) -> io::Result<Fork> {
        let mut all = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        check(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
        let mut before = MaybeUninit::uninit();
        // SAFETY: `all` is filled; the call fills `before`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: a plain C structure of which all zeroes is a value.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        // The signal at its end is the one that this process has itself, which a sibling shares.
        let flags = libc::CLONE_PARENT
            | libc::CLONE_PARENT_SETTID
            | libc::CLONE_CHILD_SETTID
            | libc::CLONE_CHILD_CLEARTID;
        arguments.flags = u64::from(flags.cast_unsigned());
        arguments.parent_tid = number.as_ptr().expose_provenance() as u64;
        arguments.child_tid = self.thread_id.expose_provenance() as u64;
        // SAFETY: `arguments` is live and has the size it is said to have. Without CLONE_VM and with no stack
        // given the child runs on a copy of this one, as after `fork`. Both places are live and take an `int`:
        // `number` is borrowed, `thread_id` the C library's for the life of this thread.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw mut arguments,
                size_of_val(&arguments),
            )
        };
        let result = check(pid);
        if pid == 0 {
            // Before any handler of a signal can run.
            self.robust.begin_anew();
        }
        // SAFETY: filled above; a null old mask is allowed.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
        match result? {
            0 => {
                robust::count_fork();
                Ok(Fork::Child)
            }
            _ => Ok(Fork::Parent),
        }
    }
}

impl RobustHead {
    fn of_this_thread() -> io::Result<RobustHead> {
        let (mut head, mut length) = (std::ptr::null_mut::<libc::c_void>(), 0_usize);
        // SAFETY: both are live, and filled with what the kernel keeps for this thread.
        check(unsafe {
            libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length)
        })?;
        if head.is_null() {
            return Err(unsupported("the C library keeps no robust list".into()));
        }
        Ok(RobustHead { head, length })
    }

    /// In a child that was just forked: an empty list, which the kernel does not know yet.
    fn begin_anew(&self) {
        // The first word of the head is the link to the first node, and to the head itself where there is none.
        // SAFETY: this thread's head, which nobody else uses; an address.
        unsafe { self.head.cast::<*mut libc::c_void>().write(self.head) };
        // SAFETY: the head is the C library's and lives as long as the thread, as before the fork.
        unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, self.length) };
    }
}

/// Makes a process that was just forked stand as one that was started: it leads a group (or session), has no
/// signal blocked, is in `folder` and has these standard streams.
///
/// # Errors
/// A folder that may not be entered, no memory.
pub fn settle(streams: &[Stdio; 3], folder: Option<&OwnedFd>, session: bool) -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the call initialises what it is given.
    check(unsafe { libc::sigemptyset(none.as_mut_ptr()) })?;
    // SAFETY: filled; a null old mask is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    // A new process leads no group, so that it can make a session.
    check(if session {
        // SAFETY: takes no pointer.
        unsafe { libc::setsid() }
    } else {
        // SAFETY: takes no pointer.
        unsafe { libc::setpgid(0, 0) }
    })?;
    if let Some(folder) = folder {
        // SAFETY: no pointer is passed.
        check(unsafe { libc::fchdir(folder.as_raw_fd()) })?;
    }
    let moved = Moved::new(streams, &[])?;
    for (number, (stream, handle)) in (0..).zip(streams.iter().zip(&moved.streams)) {
        match (stream, handle) {
            (Stdio::Handle(_), Some(handle)) => put(handle.number(), number)?,
            (Stdio::Null, _) => {
                let null = match number {
                    0 => open_nowhere()?,
                    _ => fs::OpenOptions::new().write(true).open(NOWHERE)?.into(),
                };
                put(null.as_raw_fd(), number)?;
                // Where the number was free it is the file itself, which stays.
                if null.as_raw_fd() == number {
                    let _stays = std::os::fd::IntoRawFd::into_raw_fd(null);
                }
            }
            _ => {}
        }
    }
    if streams
        .iter()
        .any(|stream| matches!(stream, Stdio::Inherit))
    {
        super::open_standard_streams();
    }
    Ok(())
}

const NOWHERE: &str = "/dev/null";

/// A handle to read nothing from.
///
/// # Errors
/// Too many open files; where there is no `/dev/null`.
pub fn open_nowhere() -> io::Result<OwnedFd> {
    fs::File::open(NOWHERE).map(OwnedFd::from)
}

fn put(from: i32, to: i32) -> io::Result<()> {
    if from == to {
        // SAFETY: no pointer is passed. It must outlive an exec.
        return check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: no pointer is passed.
    restarting(|| unsafe { libc::dup2(from, to) }).map(drop)
}

/// Writes out what Rust's and C's standard streams hold back: before a fork, so that it is not written twice,
/// and at an end without exit handlers.
pub fn flush_streams() {
    // A closed standard output is no reason to fail.
    let _flushed = io::stdout().flush();
    // SAFETY: null means all streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Ends this process at once, without exit handlers: those of a forked process are its parent's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointer.
    unsafe { libc::_exit(code) }
}

/// One of this process's standard streams, as it is at this moment; `None` where it is closed.
#[must_use]
pub fn standard_stream(number: usize) -> Option<BorrowedFd<'static>> {
    let number = i32::try_from(number)
        .ok()
        .filter(|number| (0..=2).contains(number))?;
    // SAFETY: no pointer is passed.
    let open = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
    // SAFETY: open. Standard streams are nobody's to close; where a program closes one all the same, what is
    // there then takes its place, as it does for all code of the program that writes to them.
    open.then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// A handle to the folder that this process is in.
///
/// # Errors
/// Too many open files.
pub fn current_folder() -> io::Result<OwnedFd> {
    open_folder(std::path::Path::new("."))
}

/// A handle to a folder, for entering it.
///
/// # Errors
/// Where there is no such folder; too many open files.
pub fn open_folder(path: &std::path::Path) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let folder = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path)?;
    Ok(folder.into())
}

fn unsupported(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
