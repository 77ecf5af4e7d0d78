//! The bare kernel's contenders: what nothing that uses it can be faster than.

use std::cell::Cell;
use std::ffi::c_long;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{hint, ptr};

use crate::race::{Run, check, say, timed};

/// A page that a forked child shares.
struct Shared(*mut libc::c_void);

const PAGE: usize = 4096;

impl Shared {
    fn new() -> Result<Shared, String> {
        // SAFETY: a new mapping, at an address of the kernel's choice, touches no memory that is in use.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(say(std::io::Error::last_os_error()));
        }
        Ok(Shared(page))
    }

    /// The word of the ball, and one on another line that says stop.
    fn word(&self, number: usize) -> &AtomicU32 {
        let word = self.0.cast::<AtomicU32>().wrapping_add(number * 32);
        // SAFETY: inside the page, aligned, zero at first, and mapped while `self` lives.
        unsafe { &*word }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    let no_timeout = ptr::null::<libc::timespec>();
    // SAFETY: the word is a live, aligned atomic; the kernel reads no other argument of these two operations.
    let _woken: c_long =
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_timeout) };
}

/// How the two sides of a ping-pong wait for each other.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Spinning,
    Sleeping,
}

/// What the ball is once it is no longer `now`.
fn wait_while(word: &AtomicU32, now: u32, wait: Wait) -> u32 {
    loop {
        let ball = word.load(Ordering::Acquire);
        if ball != now {
            return ball;
        }
        match wait {
            Wait::Spinning => hint::spin_loop(),
            Wait::Sleeping => futex(word, libc::FUTEX_WAIT, now),
        }
    }
}

fn pass(word: &AtomicU32, ball: u32, wait: Wait) {
    word.store(ball, Ordering::Release);
    if wait == Wait::Sleeping {
        futex(word, libc::FUTEX_WAKE, 1);
    }
}

/// The answer to everything but `STOP`, and what there is at first.
const PONG: u32 = 0;
const PING: u32 = 1;
/// The last ping of a go.
const PAUSE: u32 = 2;
const STOP: u32 = 3;

/// A forked child that answers pings. Between goes it sleeps, so that it is in nobody's way.
struct Child {
    shared: Shared,
    pid: libc::pid_t,
    wait: Wait,
}

impl Child {
    fn fork(wait: Wait) -> Result<Child, String> {
        let shared = Shared::new()?;
        let pid = fork(|| {
            let ball = shared.word(0);
            let mut now = Wait::Sleeping;
            loop {
                let next = match wait_while(ball, PONG, now) {
                    STOP => return,
                    PAUSE => Wait::Sleeping,
                    _ => wait,
                };
                pass(ball, PONG, now);
                now = next;
            }
        })?;
        Ok(Child { shared, pid, wait })
    }

    fn ping(&self) {
        self.send(PING, self.wait);
    }

    fn send(&self, ball: u32, wait: Wait) {
        pass(self.shared.word(0), ball, wait);
        wait_while(self.shared.word(0), ball, wait);
    }

    /// Wakes the child, has `go` ping it, and lets it sleep again.
    fn awake<T>(&self, go: impl FnOnce() -> T) -> T {
        self.send(PING, Wait::Sleeping);
        let result = go();
        self.send(PAUSE, self.wait);
        result
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        pass(self.shared.word(0), STOP, Wait::Sleeping);
        reap(self.pid);
    }
}

/// Forks a child that does this, which must not allocate, and ends.
fn fork(work: impl FnOnce()) -> Result<libc::pid_t, String> {
    // SAFETY: the child calls only `work`, which uses atomics and futexes, and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        work();
        // SAFETY: ends the process, which has nothing to clean up.
        unsafe { libc::_exit(0) }
    }
    if pid < 0 {
        return Err(say(std::io::Error::last_os_error()));
    }
    Ok(pid)
}

fn reap(pid: libc::pid_t) -> bool {
    let mut status = -1;
    // SAFETY: the status is a live integer; the child is ours and not reaped.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    reaped == pid && status == 0
}

/// A round trip between two processes that look for each other all the time.
pub fn spinning() -> Result<Run, String> {
    let child = Child::fork(Wait::Spinning)?;
    Ok(Box::new(move |trips| {
        let go = || timed(|| (0..trips).for_each(|_| child.ping())).0;
        Ok(child.awake(go))
    }))
}

/// A round trip between two processes that sleep and wake each other.
pub fn sleeping() -> Result<Run, String> {
    let child = Child::fork(Wait::Sleeping)?;
    Ok(Box::new(move |trips| {
        let go = || timed(|| (0..trips).for_each(|_| child.ping())).0;
        Ok(child.awake(go))
    }))
}

/// As [`sleeping`], with a rest before each, in which both sides fall asleep.
pub fn rested() -> Result<Run, String> {
    let child = Child::fork(Wait::Sleeping)?;
    Ok(Box::new(move |trips| {
        let trip = |_| {
            rest();
            timed(|| child.ping()).0
        };
        Ok(child.awake(|| (0..trips).map(trip).sum()))
    }))
}

/// Long enough for whoever looks for work to have given up.
pub fn rest() {
    std::thread::sleep(std::time::Duration::from_micros(500));
}

/// `fork`, `_exit`, `waitpid`.
pub fn fork_and_wait() -> Result<Run, String> {
    Ok(Box::new(|times| {
        let (took, all_well) = timed(|| (0..times).all(|_| fork(|| ()).is_ok_and(reap)));
        check(all_well, "a forked child's end")?;
        Ok(took)
    }))
}

/// The word that has this program end at once.
pub const NOTHING: &str = "--nothing";

/// The standard library's start of this program, which ends at once.
pub fn command() -> Result<Run, String> {
    Ok(Box::new(|times| {
        let run = || {
            let status = Command::new("/proc/self/exe")
                .arg(NOTHING)
                .stdin(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        let (took, all_well) = timed(|| (0..times).all(|_| run()));
        check(all_well, "a command's end")?;
        Ok(took)
    }))
}

/// `posix_spawn` of this program, which ends at once, and `waitpid`.
pub fn posix_spawn() -> Result<Run, String> {
    Ok(Box::new(|times| {
        let (took, all_well) = timed(|| (0..times).all(|_| spawn().is_ok_and(reap)));
        check(all_well, "a spawned child's end")?;
        Ok(took)
    }))
}

fn spawn() -> Result<libc::pid_t, String> {
    let path = c"/proc/self/exe";
    let argument = c"--nothing";
    let arguments = [
        path.as_ptr().cast_mut(),
        argument.as_ptr().cast_mut(),
        ptr::null_mut(),
    ];
    let environment = [ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: the strings and the two arrays, each ended by a null, live until the call returns.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    if error == 0 {
        Ok(pid)
    } else {
        Err(say(std::io::Error::from_raw_os_error(error)))
    }
}

/// `memcpy` of so many bytes to memory that was written before.
pub fn warm_memcpy(bytes: usize) -> Result<Run, String> {
    let from = vec![7_u8; bytes];
    let mut to = vec![1_u8; bytes];
    Ok(Box::new(move |times| {
        let (took, ()) = timed(|| {
            for _ in 0..times {
                hint::black_box(&mut to).copy_from_slice(hint::black_box(&from));
            }
        });
        check(to[bytes - 1] == 7, "a copy")?;
        Ok(took / bytes as f64)
    }))
}

/// `memcpy` of so many bytes to memory that was never touched.
pub fn fresh_memcpy(bytes: usize) -> Result<Run, String> {
    let from = vec![7_u8; bytes];
    Ok(Box::new(move |times| {
        let last = Cell::new(0);
        let (took, ()) = timed(|| {
            for _ in 0..times {
                let copy = hint::black_box(&from).clone();
                last.set(hint::black_box(&copy)[bytes - 1]);
            }
        });
        check(last.get() == 7, "a copy")?;
        Ok(took / bytes as f64)
    }))
}
