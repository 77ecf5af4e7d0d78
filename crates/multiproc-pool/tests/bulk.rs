//! Long runs of bytes in arguments and results: they come and go through memory that stays mapped, and nothing is left of it.

mod common;

use std::fs;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::{Bytes, release_spare_memory};
use multiproc_testkit::{SIGKILL, kill, within};

const LONG: usize = 4 << 20;

/// What a process has of shared memory: how many mappings; and how many files are open.
fn has(pid: u32) -> (usize, usize) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mapped = maps.lines().filter(|line| line.contains("memfd:"));
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    (mapped.count(), open.count())
}

/// How often this process had to fetch a page.
fn faults() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: there is room for the answer.
    let asked = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(asked, 0);
    // SAFETY: it was zeroed, of which all fields are values, and filled.
    u64::try_from(unsafe { usage.assume_init() }.ru_minflt).unwrap()
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

#[test]
fn nothing_is_mapped_or_fetched_for_a_run_that_comes_after_another() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(1).unwrap();
        let bytes = Bytes::from(vec![3; LONG]);
        let summed = |bytes: Bytes| {
            assert!(bytes.is_lent());
            (sum(&bytes), faults())
        };
        let echo = |bytes: Bytes| bytes;
        let worker = pool.apply(pid, ()).unwrap();
        for _ in 0..3 {
            pool.apply(summed, bytes.clone()).unwrap();
            assert!(pool.apply(echo, bytes.clone()).unwrap() == bytes);
        }
        let both = || [has(worker), has(std::process::id())];
        let before = both();
        let mut told = Vec::new();
        for _ in 0..10 {
            told.extend(pool.map(summed, [&bytes; 5]).unwrap());
        }
        assert!(told.iter().all(|(sum, _)| *sum == 3 * LONG as u64));
        let fetched = told[49].1 - told[10].1;
        for _ in 0..50 {
            let back = pool.apply(echo, bytes.clone()).unwrap();
            assert!(back.is_lent() && back == bytes);
        }
        // Of 1,024 pages each time, had they been mapped again.
        assert!(fetched < 5_000, "{fetched}");
        let after = both();
        // As many as are on their way at once, and no more with each.
        assert!(
            after[0].0 <= before[0].0 + 16 && after[1].0 <= before[1].0 + 16,
            "{after:?}"
        );
        assert!(
            after[0].1 <= before[0].1 + 32 && after[1].1 <= before[1].1 + 16,
            "{after:?}"
        );
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn runs_of_all_lengths_arrive_by_whatever_way() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(2).unwrap();
        let lengths = [0, 1, 65_535, 65_536, 300_000, LONG, LONG + 1, 3];
        let items: Vec<_> = (0_u8..)
            .zip(lengths)
            .map(|(n, length)| {
                (
                    Bytes::from(vec![n; length]),
                    n,
                    Bytes::from(vec![!n; length]),
                )
            })
            .collect();
        type Item = (Bytes, u8, Bytes);
        let turn = |(one, n, two): Item| (two, n, one.into_vec());
        for _ in 0..2 {
            let turned = pool.map(turn, &items).unwrap();
            for ((one, n, two), (was_two, m, was_one)) in items.iter().zip(&turned) {
                assert!(n == m && **one == **was_one && two == was_two);
            }
        }
        // More than is lent at once, kept by the caller.
        let many = pool
            .map(|n: u8| Bytes::from(vec![n; 300_000]), 0..60)
            .unwrap();
        assert!((0..).zip(&many).all(|(n, bytes)| **bytes == [n; 300_000]));
        finish(pool);
        // They outlive their worker.
        assert!((0..).zip(&many).all(|(n, bytes)| bytes[299_999] == n));
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn a_worker_may_keep_what_it_was_lent() {
    static KEPT: std::sync::Mutex<Vec<Bytes>> = std::sync::Mutex::new(Vec::new());
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(1).unwrap();
        let keep = |bytes: Bytes| {
            let mut kept = KEPT.lock().unwrap();
            kept.push(bytes);
            (0_u8..)
                .zip(&*kept)
                .all(|(n, bytes)| bytes.iter().all(|byte| *byte == n))
        };
        let all = pool.map(keep, (0..40).map(|n| Bytes::from(vec![n; 100_000])));
        assert!(all.unwrap().into_iter().all(|right| right));
        let all = pool.apply(
            |()| {
                let kept = std::mem::take(&mut *KEPT.lock().unwrap());
                (0_u8..).zip(kept).all(|(n, bytes)| *bytes == [n; 100_000])
            },
            (),
        );
        assert_eq!(all, Ok(true));
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn what_a_killed_worker_had_been_lent_is_not_left_behind() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(2).unwrap();
        for round in 0..30_u8 {
            let bytes = Bytes::from(vec![round; 200_000]);
            let task = |(bytes, fatal): (Bytes, bool)| {
                if fatal {
                    kill(std::process::id(), SIGKILL).unwrap();
                }
                let all = bytes.iter().all(|byte| *byte == bytes[0]);
                (bytes, all)
            };
            let items = [false, true, false, false].map(|fatal| (bytes.clone(), fatal));
            let results = pool.map_results(task, items).unwrap();
            for (n, result) in results.into_iter().enumerate() {
                match result {
                    Ok((back, all)) => assert!(all && back == bytes),
                    Err(error) => {
                        assert!(
                            n == 1 && matches!(error, TaskError::WorkerLost { .. }),
                            "{error}"
                        );
                    }
                }
            }
        }
        let own = std::process::id();
        assert!(has(own).1 < 100, "{:?}", has(own));
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}
