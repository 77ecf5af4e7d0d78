//! What arrays cost, beside what they cannot cost less than; each pair measured in turns, in one run.

#![cfg(not(loom))]

mod common;

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use multiproc_process::Process;
use multiproc_shm::{SharedArray, release_spare_memory};
use multiproc_testkit::{Percentiles, within};

use common::{LIMIT, oracle};

/// Debug builds say little.
const ROUNDS: usize = if cfg!(debug_assertions) { 15 } else { 101 };

fn figure(line: fmt::Arguments<'_>) {
    // Without a standard error there is no report.
    let _nobody_reads = writeln!(io::stderr(), "FIGURE {line}");
}

fn timed<R>(run: impl FnOnce() -> R) -> (Duration, R) {
    let begun = Instant::now();
    let result = run();
    (begun.elapsed(), result)
}

fn ratio(ours: &Percentiles, bare: &Percentiles) -> f64 {
    ours.p50().as_secs_f64() / bare.p50().as_secs_f64()
}

#[test]
fn a_locked_array_is_summed_as_a_vec_is() {
    // What is kept of so large an array is not to be found by another test's.
    let oracle = oracle();
    let numbers: Vec<f64> = (0..1_000_000).map(f64::from).collect();
    let array = SharedArray::from_slice(&numbers).unwrap();
    let mut shared = Percentiles::new("sum of a locked SharedArray<f64> of a million");
    let mut owned = Percentiles::new("sum of a Vec<f64> of a million");
    for _ in 0..ROUNDS {
        let (took, ours) = timed(|| array.lock().unwrap().iter().sum::<f64>());
        shared.add(took);
        let (took, theirs) = timed(|| std::hint::black_box(&numbers).iter().sum::<f64>());
        owned.add(took);
        assert_eq!(ours.to_bits(), theirs.to_bits());
    }
    shared.report();
    owned.report();
    figure(format_args!(
        "locked array / vec: ratio of medians {:.3}",
        ratio(&shared, &owned)
    ));
    drop(array);
    release_spare_memory();
    oracle.finish();
}

#[test]
fn an_array_is_handed_over_at_one_price_whatever_its_size() {
    let oracle = oracle();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<usize>().ok())
        .unwrap();
    let large = if available > 6 << 20 {
        1 << 30
    } else {
        64 << 20
    };
    let (made, large) = timed(|| SharedArray::<u8>::zeroed(large).unwrap());
    figure(format_args!(
        "an array of {} MiB is made, each page reserved, in {made:.0?}",
        large.len() >> 20
    ));
    let small = SharedArray::<u8>::zeroed(1024).unwrap();
    let mut of_small = Percentiles::new("a process with an array of 1 KiB, start to end");
    let mut of_large = Percentiles::new("the same with the large array");
    let hand_over = |array: &SharedArray<u8>| {
        let child = Process::spawn(|array: SharedArray<u8>| array.len(), array.clone()).unwrap();
        assert_eq!(within(LIMIT, move || child.join().unwrap()), array.len());
    };
    for _ in 0..ROUNDS {
        of_small.add(timed(|| hand_over(&small)).0);
        of_large.add(timed(|| hand_over(&large)).0);
    }
    of_small.report();
    of_large.report();
    figure(format_args!(
        "large array / small array: ratio of medians {:.2}",
        ratio(&of_large, &of_small)
    ));
    drop((small, large));
    release_spare_memory();
    oracle.finish();
}

#[test]
fn a_piece_is_taken_and_given_back() {
    let array = SharedArray::<u64>::zeroed(4096).unwrap();
    let loan = array.lock().unwrap().lend(1);
    let pieces = loan.pieces();
    let other = SharedArray::<u64>::zeroed(1).unwrap();
    let (mut of_pieces, mut of_locks) = (
        Percentiles::new("4,096 pieces, each taken, changed and given back"),
        Percentiles::new("4,096 times the lock of an array, likewise"),
    );
    for _ in 0..ROUNDS {
        let take = || (0..pieces.len()).for_each(|at| pieces.take(at).unwrap()[0] += 1);
        of_pieces.add(timed(take).0);
        let lock = || (0..pieces.len()).for_each(|_| other.lock().unwrap()[0] += 1);
        of_locks.add(timed(lock).0);
    }
    of_pieces.report();
    of_locks.report();
    let rounds = u64::try_from(ROUNDS).unwrap();
    assert!(loan.finish().unwrap().iter().all(|n| *n == rounds));
    assert_eq!(other.to_vec().unwrap(), [rounds * 4096]);
}
