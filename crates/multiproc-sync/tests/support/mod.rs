//! What the tests with real processes share: memory, children that are this very program, and the two
//! numbers under a lock that show whether it excludes.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program has its own use for it"
)]
#![expect(clippy::print_stdout, reason = "a test program tells what it has done")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use multiproc_sync::{Deadline, Held, LockWord};
use multiproc_sys::futex;
use multiproc_sys::map::{self, Mapping};

/// How many may take turns in [`Shared`].
pub const ACTORS: usize = 4;

/// What all processes of a test map. All zeroes is its beginning.
#[repr(C)]
pub struct Shared {
    pub lock: LockWord,
    /// Who is in the critical section; 0 for nobody.
    inside: AtomicU32,
    /// Set by the parent; a child reads it as it likes.
    pub round: AtomicU32,
    /// The last round that each actor was told the end of.
    pub through: [AtomicU32; ACTORS],
    first: AtomicU64,
    second: AtomicU64,
    /// How many turns each actor began. Their sum is what `first` and `second` are between turns.
    pub turns: [AtomicU64; ACTORS],
    /// The process whose death the last taker was told of, and when (nanoseconds of the monotonic
    /// clock).
    pub told_of: AtomicU32,
    pub told_at: AtomicU64,
    /// How often somebody was told of a death.
    pub deaths_told: AtomicU64,
}

impl Shared {
    /// A turn in the critical section, `work` nanoseconds long. Panics where it finds a trace of
    /// another that does not belong there.
    pub fn turn(&self, actor: usize, work: u64) {
        // SAFETY: every process of the tests maps the memory until it ends.
        let held = unsafe { self.lock.lock(limit()) }.expect("the lock does not come");
        self.change(actor, work, held);
        // SAFETY: the turn is over.
        unsafe { self.lock.unlock() };
    }

    /// The turn of a taker that was told `held`.
    pub fn change(&self, actor: usize, work: u64, held: Held) {
        let sum = || {
            self.turns
                .iter()
                .map(|turns| turns.load(Relaxed))
                .sum::<u64>()
        };
        let other = self.inside.swap(std::process::id(), AcqRel);
        match held {
            Held::Sound => {
                assert_eq!(other, 0, "two are inside");
                assert_eq!(
                    [self.first.load(Relaxed), self.second.load(Relaxed)],
                    [sum(); 2]
                );
            }
            Held::Poisoned { owner } => {
                self.told_of.store(owner.unwrap_or(0), Relaxed);
                self.told_at.store(now(), Relaxed);
                add_one(&self.deaths_told);
                self.first.store(sum(), Relaxed);
                self.second.store(sum(), Relaxed);
                self.lock.clear_poison();
            }
        }
        // Reads and writes apart, so that a second one inside would spoil the numbers.
        add_one(&self.turns[actor]);
        add_one(&self.first);
        let end = now() + work;
        while work > 0 && now() < end {
            std::hint::spin_loop();
        }
        add_one(&self.second);
        assert_eq!(
            self.inside.swap(0, AcqRel),
            std::process::id(),
            "another came inside"
        );
    }
}

fn add_one(number: &AtomicU64) {
    number.store(number.load(Relaxed) + 1, Relaxed);
}

/// The memory and this process's mapping of it.
pub struct Memory {
    mapping: Mapping,
    file: OwnedFd,
}

const DESCRIPTOR: &str = "MULTIPROC_SYNC_TEST_MEMORY";
const ROLE: &str = "MULTIPROC_SYNC_TEST_ROLE";

impl Memory {
    pub fn new() -> Memory {
        let file = map::create(size_of::<Shared>()).unwrap();
        // SAFETY: the descriptor is open. Children started from now on inherit it.
        let kept = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
        assert_eq!(kept, 0);
        Memory {
            mapping: Mapping::new(&file, size_of::<Shared>()).unwrap(),
            file,
        }
    }

    /// Starts this program again, in the role of `role`.
    pub fn start(&self, role: &str) -> Child {
        Command::new("/proc/self/exe")
            .env(DESCRIPTOR, self.file.as_raw_fd().to_string())
            .env(ROLE, role)
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// In a child: its role, and the parent's memory.
    pub fn inherited() -> Option<(String, Memory)> {
        use std::os::fd::FromRawFd;
        let role = std::env::var(ROLE).ok()?;
        let descriptor = std::env::var(DESCRIPTOR).unwrap().parse().unwrap();
        // SAFETY: the parent left it open for this child, in which nothing else owns it.
        let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let mapping = Mapping::new(&file, size_of::<Shared>()).unwrap();
        Some((role, Memory { mapping, file }))
    }

    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
    pub fn shared(&self) -> &Shared {
        // SAFETY: the mapping is aligned, as long as a `Shared`, and a `Shared` is all atomics.
        unsafe { &*self.mapping.as_ptr().cast::<Shared>() }
    }
}

/// Nanoseconds of the monotonic clock, the same for all processes.
pub fn now() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is live; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// When any wait of a test has failed.
pub fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// Yields until `done`, or fails at the limit.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let limit = limit();
    while !done() {
        assert!(!limit.has_passed(), "{what}: it never came");
        std::thread::yield_now();
    }
}

/// Sets `word` for those that wait for a change of it.
pub fn announce(word: &AtomicU32, value: u32) {
    word.store(value, Release);
    futex::wake(word, u32::MAX);
}

/// Sleeps while `word` is `known`, and says what it is then.
pub fn follow(word: &AtomicU32, known: u32, limit: Deadline) -> u32 {
    loop {
        let value = word.load(Acquire);
        if value != known {
            return value;
        }
        let woken = futex::wait(word, known, limit);
        assert_eq!(woken, futex::Woken::Look, "nothing has come after {known}");
    }
}

/// What a runner without this program's own harness asks for: the name of its one test.
pub fn listed(name: &str) -> bool {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("--list") && !asked("--ignored") {
        println!("{name}: test");
    }
    asked("--list")
}
