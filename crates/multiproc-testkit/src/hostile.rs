//! Hostile bytes for decoders: what a peer that lies, or has gone wild, might send.
//!
//! Each input is one of the seeds (good messages, and the regressions in `fuzz/corpus/TARGET`) after a few mutations, or
//! made up. The order is that of a fixed seed, so that what fails fails again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

/// How many inputs each decoder gets, unless [`COUNT`] says otherwise.
const DEFAULT_COUNT: u64 = 20_000;
/// The environment's variable for that number.
pub const COUNT: &str = "MULTIPROC_HOSTILE";
/// What one input may cost in memory: far more than any honest one of its length.
const MAX_MEMORY: isize = 64 << 20;
/// The longest input.
const MAX_LENGTH: usize = 64 << 10;

/// Gives `decode` many hostile inputs: regressions first, then mutations of `seeds`, and bytes at random.
///
/// The program's allocator must be a [`CountingAllocator`].
///
/// # Panics
/// When `decode` does, or one input makes it take more than 64 MiB; the message has the input.
pub fn hostile(target: &str, seeds: &[Vec<u8>], mut decode: impl FnMut(&[u8])) {
    assert!(CountingAllocator::counts(), "its allocator does not count");
    let count = env::var(COUNT).map_or(DEFAULT_COUNT, |count| {
        count.replace('_', "").parse().expect("a number")
    });
    let mut known = seeds.to_vec();
    known.extend(corpus(target));
    let mut most = Most::default();
    let begun = Instant::now();
    for input in &known {
        most.note(target, input, &mut decode);
    }
    let mut random = Random(0x6d75_6c74_6970_726f);
    let mut input = Vec::new();
    for _ in 0..count {
        random.input(&known, &mut input);
        most.note(target, &input, &mut decode);
    }
    say(format_args!(
        "{target}: {count} inputs in {:.1?}, at most {} KiB and {:.1?} for one",
        begun.elapsed(),
        most.memory >> 10,
        most.time
    ));
}

/// In the suite's report, past the harness.
fn say(line: fmt::Arguments<'_>) {
    // Without a standard error there is no report.
    let _told = writeln!(io::stderr(), "{line}");
}

/// Where regressions of a target lie, each in a file.
fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the corpus"))
        .collect()
}

/// The most that an input has cost.
#[derive(Default)]
struct Most {
    memory: isize,
    time: Duration,
}

impl Most {
    fn note(&mut self, target: &str, input: &[u8], decode: &mut impl FnMut(&[u8])) {
        let before = LIVE.get();
        PEAK.set(before);
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| decode(input)));
        let memory = PEAK.get() - before;
        self.time = self.time.max(begun.elapsed());
        self.memory = self.memory.max(memory);
        let shown = || {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes: {hex}", input.len())
        };
        if let Err(panic) = outcome {
            say(format_args!("{target}: panicked at {}", shown()));
            resume_unwind(panic);
        }
        assert!(
            memory <= MAX_MEMORY,
            "{target}: takes {memory} bytes of memory for {}",
            shown()
        );
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn input(&mut self, known: &[Vec<u8>], input: &mut Vec<u8>) {
        input.clear();
        if known.is_empty() || self.below(8) == 0 {
            let length = self.below(256);
            input.extend((0..length).map(|_| self.next().to_le_bytes()[0]));
            return;
        }
        let seed = self.below(known.len());
        input.extend_from_slice(&known[seed]);
        for _ in 0..=self.below(4) {
            self.mutate(known, input);
        }
        input.truncate(MAX_LENGTH);
    }

    fn mutate(&mut self, known: &[Vec<u8>], input: &mut Vec<u8>) {
        if input.is_empty() {
            input.push(self.next().to_le_bytes()[0]);
        }
        let at = self.below(input.len());
        match self.below(9) {
            0 => input.truncate(at),
            1 => input[at] ^= 1 << self.below(8),
            2 => input[at] = self.next().to_le_bytes()[0],
            3 => self.lie(input, at),
            // The long form of a length, as postcard writes it.
            4 => {
                let end = input.len().min(at + 9);
                input[at..end].fill(0xff);
                input.insert(end, 1);
            }
            5 => {
                let length = self.below(input.len() - at) + 1;
                input.drain(at..at + length);
            }
            // The same again and again: the bomb of a type that nests.
            6 => {
                let length = (self.below(input.len() - at) + 1).min(8);
                let piece = input[at..at + length].to_vec();
                let times = 1 << self.below(12);
                input.splice(at..at, piece.repeat(times));
            }
            7 => {
                let other = &known[self.below(known.len())];
                if !other.is_empty() {
                    let from = self.below(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
            _ => {
                let tail: Vec<u8> = (0..self.below(32))
                    .map(|_| self.next().to_le_bytes()[0])
                    .collect();
                input.extend(tail);
            }
        }
        input.truncate(MAX_LENGTH);
    }

    /// Puts a number there that lengths and indices are wrong by.
    fn lie(&mut self, input: &mut [u8], at: usize) {
        const LIES: [u64; 12] = [
            0,
            1,
            2,
            0x7f,
            0x80,
            0xffff,
            1 << 20,
            1 << 30,
            u32::MAX as u64,
            1 << 40,
            i64::MAX as u64,
            u64::MAX,
        ];
        let lie = LIES[self.below(LIES.len())].to_le_bytes();
        let width = [1, 2, 4, 8][self.below(4)].min(input.len() - at);
        input[at..at + width].copy_from_slice(&lie[..width]);
    }
}

thread_local! {
    /// How much the thread has allocated and not freed, and the most of it since it was last asked. Each thread for
    /// itself, so that tests beside do not count.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting: `#[global_allocator] static ALLOCATOR: CountingAllocator = CountingAllocator;`.
#[derive(Debug)]
pub struct CountingAllocator;

impl CountingAllocator {
    fn count(change: isize) {
        // A thread on its way out counts no more.
        let _gone = LIVE.try_with(|live| {
            live.set(live.get() + change);
            PEAK.try_with(|peak| peak.set(peak.get().max(live.get())))
        });
    }

    /// Whether it is this program's.
    fn counts() -> bool {
        let before = LIVE.get();
        let some = std::hint::black_box(vec![0_u8; 100]);
        LIVE.get() - before >= some.len().cast_signed()
    }
}

// SAFETY: it is the system's, which keeps what is asked of an allocator; counting does not allocate.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size().cast_signed());
        // SAFETY: the same obligations.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(-layout.size().cast_signed());
        // SAFETY: the same obligations.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size().cast_signed());
        // SAFETY: the same obligations.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the same obligations.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
