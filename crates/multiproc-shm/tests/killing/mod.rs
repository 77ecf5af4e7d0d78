//! Campaigns of SIGKILLs at random instants: what the kill suites share.
//!
//! Victims take turns for ever at something that they share with two bystanders, which nobody kills, and
//! one after the other is killed, looked after, and replaced. They are forked: thousands of new programs
//! would take minutes, and to the kernel and to what is tested a fork is as good, for it has memory, threads
//! and lists of its own.
//!
//! `MULTIPROC_KILLS` sets the number of kills, and `MULTIPROC_KILL_SEED` repeats the instants of a run.

#![allow(dead_code, reason = "each suite has its own use for it")]
#![allow(unreachable_pub, reason = "as above")]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use multiproc_shm::Block;
use multiproc_testkit::{Percentiles, linger};

/// When a wait has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How many live at a time, bystanders apart.
const VICTIMS: usize = 3;
const BYSTANDERS: u32 = 2;
/// The longest that a victim lives, in microseconds.
const LIFE: u64 = 200;
const MOST_KILLS: usize = 100_000;
const MOST_WAKES: usize = 20_000;

/// What all processes of a campaign see. All zeroes is its beginning.
#[repr(C)]
pub struct Board {
    /// Whether the bystanders are to end.
    pub over: AtomicBool,
    /// When the last kill was, in nanoseconds of the monotonic clock.
    killed_at: AtomicU64,
    /// Who has been killed, or is about to be.
    killed: [AtomicBool; MOST_KILLS],
    deaths: AtomicU32,
    turns: [AtomicU64; BYSTANDERS as usize],
    /// How long it took from a kill until somebody was told of it, in nanoseconds.
    wakes: [AtomicU32; MOST_WAKES],
    told: AtomicU32,
    /// For the turns of a campaign.
    pub words: [AtomicU32; 8],
    pub numbers: [AtomicU64; 8],
}

/// Somebody who takes turns: bystanders are 1 and 2, the victims have the numbers after.
pub struct Actor<'a> {
    pub number: u32,
    pub board: &'a Board,
    random: Random,
}

impl Board {
    #[expect(clippy::cast_ptr_alignment, reason = "a block is aligned to 128 bytes")]
    fn of(block: &Block) -> &Board {
        assert!(block.len() >= size_of::<Board>());
        // SAFETY: as long as a board, and aligned; a board is all atomics. `AtomicBool`s are written as such
        // only, and the block is nobody else's.
        unsafe { &*block.as_ptr().cast::<Board>() }
    }

    /// Whether `number` has been killed, or is about to be.
    pub fn is_killed(&self, number: u32) -> bool {
        self.killed[number as usize].load(Acquire)
    }

    /// How many have been killed.
    pub fn deaths(&self) -> u32 {
        self.deaths.load(Acquire)
    }

    /// How often somebody has been told of a death.
    pub fn told(&self) -> u32 {
        self.told.load(Acquire)
    }

    /// Somebody has been told of a death.
    pub fn tell(&self) {
        let place = self.told.fetch_add(1, Relaxed) as usize;
        let nanos = now().saturating_sub(self.killed_at.load(Acquire));
        if let Some(wake) = self.wakes.get(place) {
            wake.store(u32::try_from(nanos).unwrap_or(u32::MAX), Release);
        }
    }
}

impl Actor<'_> {
    /// Is inside something where at most as many may be as there are `places`, with those that were killed
    /// there out of the count, and does `work`.
    pub fn inside(&mut self, places: &[AtomicU32], work: impl FnOnce(&mut Self)) {
        let place = places.iter().find(|place| {
            let before = place.load(Acquire);
            let free = before == 0 || self.board.is_killed(before);
            free && place
                .compare_exchange(before, self.number, AcqRel, Relaxed)
                .is_ok()
        });
        let Some(place) = place else {
            let others: Vec<_> = places.iter().map(|place| place.load(Acquire)).collect();
            panic!("{} is inside, and so are {others:?}", self.number);
        };
        work(self);
        let other = place.swap(0, AcqRel);
        // Who is about to be killed counts as dead already.
        let alone = other == self.number || self.board.is_killed(self.number);
        assert!(alone, "{other} has come inside beside {}", self.number);
    }

    /// Something that takes a while: up to some microseconds.
    pub fn work(&mut self) {
        for _ in 0..self.random.below(2_000) {
            std::hint::spin_loop();
        }
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }
}

/// A campaign: its name, and how many it kills unless told otherwise.
pub struct Campaign {
    pub name: &'static str,
    pub kills: u32,
}

impl Campaign {
    /// Runs it with `turn` for everybody's turns. `settle` is called now and then when all victims are dead,
    /// while the bystanders go on, and says whether all is as it should be; `release` after that, again and
    /// again, for bystanders that wait for others.
    pub fn run(
        &self,
        turn: impl Fn(&mut Actor<'_>),
        settle: impl Fn(&Board),
        release: impl Fn(&Board),
    ) {
        // One after the other: a fork is of a program in which nothing else goes on.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
        let kills = number("MULTIPROC_KILLS").unwrap_or(u64::from(self.kills));
        assert!(
            kills + 10 < MOST_KILLS as u64,
            "that is more than there is room for"
        );
        let seed = number("MULTIPROC_KILL_SEED").unwrap_or_else(now);
        let mut random = Random(seed | 1);
        let block = Block::create(size_of::<Board>()).unwrap();
        let board = Board::of(&block);
        let mut ends = Percentiles::new(format!("{}: kill of a process to its end", self.name));
        let begun = Instant::now();

        let start = |number: u32, random: &mut Random| {
            let actor = Actor {
                number,
                board,
                random: Random(random.next()),
            };
            Forked::start(actor, &turn)
        };
        let mut bystanders: Vec<_> = (1..=BYSTANDERS).map(|n| start(n, &mut random)).collect();
        let mut victims: Vec<Forked> = Vec::new();
        let mut next = BYSTANDERS + 1;
        for killed in 1..=kills {
            while victims.len() < VICTIMS {
                victims.push(start(next, &mut random));
                next += 1;
            }
            linger(Duration::from_micros(random.below(LIFE)));
            let which = usize::try_from(random.below(VICTIMS as u64)).unwrap();
            ends.add(victims.swap_remove(which).kill(board));
            if killed % 50 == 0 || killed == kills {
                while let Some(victim) = victims.pop() {
                    victim.kill(board);
                    next += 1;
                }
                settle(board);
                self.everybody_goes_on(board, &mut bystanders, &release);
            }
        }
        board.over.store(true, Release);
        for bystander in bystanders {
            bystander.end(board, &release);
        }
        self.report(board, kills, seed, begun.elapsed());
        ends.report();
    }

    fn everybody_goes_on(
        &self,
        board: &Board,
        bystanders: &mut [Forked],
        release: &impl Fn(&Board),
    ) {
        let before = board.turns.each_ref().map(|turns| turns.load(Acquire));
        let limit = Instant::now() + LIMIT;
        for (turns, before) in board.turns.iter().zip(before) {
            while turns.load(Acquire) == before {
                let late = Instant::now() >= limit;
                assert!(!late, "{}: a bystander does not go on", self.name);
                for bystander in &mut *bystanders {
                    let ended = bystander.reap(libc::WNOHANG);
                    assert_eq!(ended, None, "a bystander found something wrong");
                }
                release(board);
                std::thread::yield_now();
            }
        }
    }

    fn report(&self, board: &Board, kills: u64, seed: u64, took: Duration) {
        let turns: u64 = board.turns.iter().map(|turns| turns.load(Acquire)).sum();
        let told = board.told.load(Acquire);
        let line = format!(
            "FIGURE {}: {kills} kills in {took:.1?}, {told} told of; {turns} turns of those who went on; \
             MULTIPROC_KILL_SEED={seed} repeats it",
            self.name,
        );
        // Past the harness, as other figures; without a standard error there is no report.
        let _nobody_reads = writeln!(std::io::stderr(), "{line}");
        let mut wakes = Percentiles::new(format!(
            "{}: kill of a holder to the next is told",
            self.name
        ));
        for wake in &board.wakes[..MOST_WAKES.min(told as usize)] {
            wakes.add(Duration::from_nanos(u64::from(wake.load(Acquire))));
        }
        if told > 0 {
            wakes.report();
        }
    }
}

/// A child that is killed, if it has to be, and reaped.
struct Forked {
    number: u32,
    pid: libc::pid_t,
}

impl Forked {
    fn start(mut actor: Actor<'_>, turn: &impl Fn(&mut Actor<'_>)) -> Forked {
        let number = actor.number;
        // SAFETY: no pointer is passed. The child has this thread alone, which holds no lock of the standard
        // library here; the C library makes its own fit for use.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no process: {}", std::io::Error::last_os_error());
        if pid > 0 {
            return Forked { number, pid };
        }
        // SAFETY: no pointer is passed.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let bystander = (number - 1) as usize;
        let turns = catch_unwind(AssertUnwindSafe(|| {
            while !actor.board.over.load(Acquire) {
                turn(&mut actor);
                if let Some(turns) = actor.board.turns.get(bystander) {
                    turns.fetch_add(1, Release);
                }
            }
        }));
        // SAFETY: no pointer is passed; nothing of the parent's is to be run at this process's end.
        unsafe { libc::_exit(i32::from(turns.is_err())) }
    }

    /// Kills it, and says how long it took until it had ended.
    fn kill(mut self, board: &Board) -> Duration {
        board.killed[self.number as usize].store(true, Release);
        board.deaths.fetch_add(1, Relaxed);
        let begun = Instant::now();
        board.killed_at.store(now(), Release);
        // SAFETY: no pointer is passed; the child is not reaped, so the number is its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let status = self.reap(0).unwrap_or(0);
        assert!(
            libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL,
            "a victim found something wrong: it ended with status {status:#x}"
        );
        begun.elapsed()
    }

    /// Waits until it ends by itself.
    fn end(mut self, board: &Board, release: &impl Fn(&Board)) {
        let limit = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.reap(libc::WNOHANG) {
                break status;
            }
            assert!(Instant::now() < limit, "a bystander does not end");
            release(board);
            std::thread::yield_now();
        };
        assert_eq!(status, 0, "a bystander found something wrong");
    }

    fn reap(&mut self, options: libc::c_int) -> Option<libc::c_int> {
        let mut status = 0;
        // SAFETY: `status` is live; the child is this process's.
        let pid = unsafe { libc::waitpid(self.pid, &raw mut status, options) };
        if pid == 0 {
            return None;
        }
        assert_eq!(pid, self.pid);
        self.pid = 0;
        Some(status)
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if self.pid > 0 {
            // SAFETY: as in `kill`.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.reap(0);
        }
    }
}

/// Nanoseconds of the monotonic clock, the same for all processes.
fn now() -> u64 {
    // SAFETY: a plain C structure of which all zeroes is a value.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `now` is live; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 | 1
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 8) % bound
    }
}
