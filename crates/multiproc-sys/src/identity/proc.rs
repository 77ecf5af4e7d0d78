//! `/proc`: a process's number and start, and whether its threads are past their last instruction.
//!
//! A thread that the kernel calls *exiting* never returns to its program. That is known long before the
//! process is gone: its memory is freed in between, for a tenth of a second per gigabyte.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fs, io, thread};

use crate::clock::Deadline;
use crate::robust;

/// Bits of a process's number, which is at most 2^22.
const PID_BITS: u32 = 23;
/// `PF_EXITING` of the kernel's `sched.h`, unchanged since its first version.
const EXITING: u64 = 4;

/// A process, told apart from later ones of the same number by the moment of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(NonZeroU64);

/// The calling process's, once it was asked for; 0 before that, and in a forked child.
static OWN: AtomicU64 = AtomicU64::new(0);

/// In the child, right after a fork: async-signal-safe.
pub(crate) fn forget_after_fork() {
    OWN.store(0, Relaxed);
}

impl Identity {
    /// The calling process. Looked up once.
    ///
    /// # Panics
    /// If [`robust::available`] is an error.
    #[must_use]
    #[inline]
    pub fn own() -> Identity {
        // Relaxed: whoever finds a number finds the same.
        Identity::from_bits(OWN.load(Relaxed)).unwrap_or_else(Identity::look_up)
    }

    #[cold]
    fn look_up() -> Identity {
        // Has forks counted from here on, which is what has the number forgotten.
        let _thread = robust::thread_id();
        let pid = std::process::id();
        // Without a /proc, the number alone must do.
        let start = process_start(pid).unwrap_or(0);
        let bits = start << PID_BITS | u64::from(pid);
        OWN.store(bits, Relaxed);
        Identity(NonZeroU64::new(bits).expect("no process has the number 0"))
    }

    /// The identity that [`to_bits`](Self::to_bits) gave; `None` for 0.
    #[must_use]
    #[inline]
    pub fn from_bits(bits: u64) -> Option<Identity> {
        NonZeroU64::new(bits).map(Identity)
    }

    /// As a number, never 0.
    #[must_use]
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The process's number.
    #[must_use]
    pub fn pid(self) -> u32 {
        let pid = self.0.get() & ((1 << PID_BITS) - 1);
        // 23 bits fit.
        u32::try_from(pid).unwrap_or_default()
    }

    fn start(self) -> u64 {
        self.0.get() >> PID_BITS
    }

    /// Whether no thread of the process can run its program any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        let pid = self.pid();
        match process_start(pid) {
            Ok(start) => self.start() != 0 && start != self.start() || all_exiting(pid),
            // Not there, or hidden from us.
            Err(_) => !exists(pid),
        }
    }

    /// Waits until [`is_over`](Self::is_over); says `false` at the deadline.
    ///
    /// After a kill that is a matter of microseconds. Looks again, ever less often, every 2 ms in the end.
    #[must_use]
    pub fn wait_until_over(self, deadline: Deadline) -> bool {
        let mut pause = Duration::from_micros(20);
        while !self.is_over() {
            if deadline.has_passed() {
                return false;
            }
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
            pause = (pause * 2).min(Duration::from_millis(2));
        }
        true
    }
}

/// When the process began, in the kernel's ticks since boot.
fn process_start(pid: u32) -> io::Result<u64> {
    let stat = Stat::read(&format!("/proc/{pid}/stat"))?;
    Ok(stat.start)
}

/// Whether each of the process's threads is exiting. None can have been overlooked: a list that is the
/// same before and after says that nobody who could have started another was still running.
fn all_exiting(pid: u32) -> bool {
    let mut before = None;
    loop {
        let Ok(threads) = threads(pid) else {
            return !exists(pid);
        };
        if before.as_ref() == Some(&threads) {
            return true;
        }
        let exiting = |thread: &String| {
            // One that is not there any more has ended.
            Stat::read(&format!("/proc/{pid}/task/{thread}/stat")).map_or(true, |stat| stat.exiting)
        };
        if !threads.iter().all(exiting) {
            return false;
        }
        before = Some(threads);
    }
}

fn threads(pid: u32) -> io::Result<BTreeSet<String>> {
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    fs::read_dir(format!("/proc/{pid}/task"))?
        .map(name)
        .collect()
}

/// Whether a process of this number exists, zombies included.
fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: no pointer is passed; signal 0 goes to nobody.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// What is of interest in a `stat` file.
struct Stat {
    exiting: bool,
    start: u64,
}

impl Stat {
    fn read(path: &str) -> io::Result<Stat> {
        Stat::parse(&fs::read_to_string(path)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Fields are counted from the last parenthesis: the name before it may have any character.
    fn parse(text: &str) -> Option<Stat> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        let start = fields.nth(12)?.parse().ok()?;
        Some(Stat {
            exiting: matches!(state, "Z" | "X") || flags & EXITING != 0,
            start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_over() {
        let own = Identity::own();
        assert_eq!(own.pid(), std::process::id());
        assert_eq!(Identity::from_bits(own.to_bits()), Some(own));
        assert!(own.start() != 0 && !own.is_over());
        assert!(!own.wait_until_over(Deadline::after(Duration::from_millis(1))));
        assert_eq!(thread::spawn(Identity::own).join().unwrap(), own);
    }

    #[test]
    fn one_that_was_killed_is_over_whether_reaped_or_not() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let start = process_start(child.id()).unwrap();
        let identity =
            Identity(NonZeroU64::new(start << PID_BITS | u64::from(child.id())).unwrap());
        assert!(!identity.is_over());
        child.kill().unwrap();
        assert!(identity.wait_until_over(Deadline::after(Duration::from_secs(60))));
        child.wait().unwrap();
        assert!(identity.is_over());
    }

    #[test]
    fn a_later_process_of_the_same_number_is_another() {
        let own = Identity::own();
        let earlier = Identity((own.0.get() - (1 << PID_BITS)).try_into().unwrap());
        assert_eq!(earlier.pid(), own.pid());
        assert!(earlier.is_over());
    }

    #[test]
    fn a_name_full_of_parentheses_is_no_field() {
        let text = "7 (a) b) c) S 1 7 7 0 -1 4194564 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.exiting, stat.start), (true, 98765));
        assert!(Stat::parse("").is_none() && Stat::parse("1 (x) S").is_none());
    }
}
