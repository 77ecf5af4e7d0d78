//! Workers that are killed at every moment, by the thousand where `MULTIPROC_CHAOS` says how many times that is to be
//! (`cargo xtask chaos`); a short form of it otherwise. What a kill takes is reported.
#![allow(clippy::print_stdout, reason = "the seed and the figures")]

mod common;

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::{LIMIT, oracle, pid};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::{RawArray, RawValue};
use multiproc_testkit::{Percentiles, SIGKILL, SIGSTOP, eventually, forever, kill, linger, within};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What would be a defect, not a slow machine.
const SLOW: Duration = Duration::from_secs(2);

/// How often: in the short form, and in the long one.
fn rounds(short: usize, long: usize) -> usize {
    let times = std::env::var("MULTIPROC_CHAOS").map(|times| times.parse::<usize>().unwrap());
    times.map_or(short, |times| times * long)
}

/// Numbers that look random, from a seed that is printed.
struct Chance(u64);

impl Chance {
    fn new(what: &str) -> Chance {
        let seed = u64::from(std::process::id());
        println!("{what}: seed {seed}");
        Chance(seed)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % most
    }

    /// Up to 5 ms.
    fn moment(&mut self) {
        linger(Duration::from_micros(self.below(5000)));
    }

    /// From nothing to 64 MB, mostly small.
    fn size(&mut self) -> usize {
        let most = match self.below(1000) {
            0..800 => 100,
            800..970 => 10 << 10,
            970..998 => 1 << 20,
            _ => 64 << 20,
        };
        usize::try_from(self.below(most)).unwrap()
    }
}

/// Bytes that are encoded as such.
#[derive(PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Any)
    }
}

#[test]
fn random_kills_with_payloads_of_all_sizes_settle_every_task_once() {
    const TASKS: usize = 16;
    let oracle = oracle();
    let mut chance = Chance::new("random kills");
    let kills = rounds(150, 10_000);
    let pool = Pool::new(4).unwrap();
    let starts = RawArray::<u32>::zeroed(kills * TASKS).unwrap();
    let echo = |starts: &mut RawArray<u32>, (n, bytes): (usize, Bytes)| {
        starts.as_atomics()[n].fetch_add(1, Relaxed);
        bytes
    };
    let (mut lost, mut killed) = (0, 0);
    for round in 0..kills {
        let sizes: Vec<usize> = (0..TASKS).map(|_| chance.size()).collect();
        let items = sizes.iter().enumerate();
        let items = items.map(|(n, size)| (round * TASKS + n, Bytes(vec![7; *size])));
        let running = pool.map_with_async(&starts, echo, items).unwrap();
        if chance.below(2) == 0 {
            // After some results, not after the submission.
            let _some: bool = running.wait_timeout(Duration::from_micros(chance.below(3000)));
        }
        chance.moment();
        let pids = pool.worker_pids();
        if !pids.is_empty() {
            let victim = pids[usize::try_from(chance.below(pids.len() as u64)).unwrap()];
            // It may have died just now.
            killed += usize::from(kill(victim, SIGKILL).is_ok());
        }
        let results = within(LIMIT, move || running.get_results().unwrap());
        assert_eq!(results.len(), TASKS);
        for (n, (result, size)) in results.into_iter().zip(sizes).enumerate() {
            let starts = starts.get(round * TASKS + n);
            match result {
                Ok(bytes) => {
                    assert!(bytes == Bytes(vec![7; size]), "another result");
                    assert_eq!(starts, 1, "it ran {starts} times");
                }
                Err(TaskError::WorkerLost { task, .. }) => {
                    assert_eq!(task, n);
                    assert!(starts <= 1, "it ran {starts} times");
                    lost += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    println!(
        "{killed} kills, {lost} of {} tasks lost, each settled once",
        kills * TASKS
    );
    assert!(lost <= killed, "a kill costs one task");
    drop(starts);
    drop(pool);
    // What was lent, and in the long form the starts, too, is large enough to be kept for the next.
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

/// Kills workers that run a task and measures until its error, and until another worker has run one.
fn kill_busy_workers(what: &str, times: usize, bytes: usize) {
    let mut to_error = Percentiles::new(format!("{what} killed to its task's error"));
    let mut to_next = Percentiles::new(format!("{what} killed to a result of its replacement"));
    let pool = Pool::new(1).unwrap();
    let hold = |told: &mut RawValue<u32>, bytes: usize| -> u8 {
        let memory = vec![1_u8; bytes];
        told.set(std::process::id());
        std::hint::black_box(&memory);
        forever()
    };
    for _ in 0..times {
        let told = RawValue::new(0_u32).unwrap();
        let running = pool.map_with_async(&told, hold, [bytes]).unwrap();
        let waiter = std::thread::spawn(move || {
            let results = running.get_results().unwrap();
            (results, Instant::now())
        });
        eventually(LIMIT, "the task runs", || told.get() != 0);
        let begun = Instant::now();
        kill(told.get(), SIGKILL).unwrap();
        let (results, ended) = within(LIMIT, move || waiter.join().unwrap());
        assert!(
            matches!(results[..], [Err(TaskError::WorkerLost { .. })]),
            "{results:?}"
        );
        to_error.add(ended - begun);
        assert_ne!(pool.apply(pid, ()).unwrap(), told.get());
        to_next.add(begun.elapsed());
    }
    to_error.report();
    to_next.report();
    assert!(to_error.p50() < SLOW && to_next.p50() < SLOW);
}

#[test]
fn a_kill_is_told_of_at_once_and_mended_soon_however_large_the_worker() {
    let oracle = oracle();
    kill_busy_workers("a busy worker", rounds(30, 1000), 0);
    let large = rounds(64, 4096) << 20;
    kill_busy_workers(
        &format!("a worker of {} MiB", large.min(4 << 30) >> 20),
        rounds(2, 20),
        large.min(4 << 30),
    );
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

#[test]
fn idle_workers_that_are_killed_cost_nothing() {
    let oracle = oracle();
    let mut chance = Chance::new("idle kills");
    let pool = Pool::new(2).unwrap();
    for _ in 0..rounds(50, 1000) {
        pool.broadcast(|()| (), ()).unwrap_or_default();
        let pids = pool.worker_pids();
        if let Some(victim) = pids.get(usize::try_from(chance.below(2)).unwrap()) {
            let _killed = kill(*victim, SIGKILL);
        }
        if chance.below(2) == 0 {
            chance.moment();
        }
        // What was sent before anybody knew of the death was not begun by the dead.
        assert_eq!(pool.map(|n: u32| n, 0..4).unwrap(), [0, 1, 2, 3]);
    }
    drop(pool);
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

#[test]
fn kills_in_the_middle_of_a_large_result_hang_nothing() {
    const SIZE: usize = 64 << 20;
    let oracle = oracle();
    let mut chance = Chance::new("kills in results");
    let pool = Pool::new(2).unwrap();
    let large = |told: &mut RawValue<u32>, size: usize| {
        let bytes = Bytes(vec![1; size]);
        told.set(std::process::id());
        bytes
    };
    let mut lost = 0;
    for _ in 0..rounds(10, 1000) {
        let told = RawValue::new(0_u32).unwrap();
        let running = pool.map_with_async(&told, large, [SIZE]).unwrap();
        let waiter = std::thread::spawn(move || running.get_results().unwrap());
        eventually(LIMIT, "the result is on its way", || told.get() != 0);
        linger(Duration::from_micros(chance.below(40_000)));
        let _killed = kill(told.get(), SIGKILL);
        let mut results = within(LIMIT, move || waiter.join().unwrap());
        match results.pop().unwrap() {
            Ok(whole) => assert_eq!(whole.0.len(), SIZE),
            Err(TaskError::WorkerLost { pid, .. }) => {
                assert_eq!(pid, told.get());
                lost += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(pool.apply(|n: u8| n, 1).unwrap(), 1);
    }
    println!("{lost} large results lost half-way, no hang");
    drop(pool);
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

#[test]
fn a_pool_heals_when_all_its_workers_are_killed_at_once() {
    let oracle = oracle();
    let pool = Pool::new(4).unwrap();
    let mut healed = Percentiles::new("four workers killed at once to results of four");
    for _ in 0..rounds(5, 200) {
        let pids = pool.broadcast(pid, ()).unwrap();
        let begun = Instant::now();
        pids.iter().for_each(|pid| kill(*pid, SIGKILL).unwrap());
        // One or another may be begun by a worker that is being killed.
        let told = pool.broadcast_async(pid, ()).unwrap();
        let results = within(LIMIT, move || told.get_results().unwrap());
        assert_eq!(results.len(), 4);
        healed.add(begun.elapsed());
        assert!(pool.map(|n: u32| n, 0..100).unwrap().into_iter().eq(0..100));
    }
    healed.report();
    drop(pool);
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

fn misbehave(how: usize) -> u8 {
    match how {
        0 => forever(),
        1 => {
            // SAFETY: a plain C structure that `sigfillset` fills.
            let mut all = unsafe { std::mem::zeroed() };
            // SAFETY: `all` is live.
            unsafe { libc::sigfillset(&raw mut all) };
            // SAFETY: `all` is filled; a null old mask is allowed.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) };
            // SAFETY: SIG_IGN is a valid disposition.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            loop {
                std::hint::spin_loop();
            }
        }
        _ => {
            kill(std::process::id(), SIGSTOP).unwrap();
            forever()
        }
    }
}

#[test]
fn tasks_that_hang_are_ended_in_time_whatever_they_do() {
    let oracle = oracle();
    let (limit, grace) = (Duration::from_millis(50), Duration::from_millis(20));
    let pool = Pool::builder().workers(2).grace(grace).build().unwrap();
    let limited = pool.with(|policy| policy.task_timeout(limit));
    for (how, name) in ["sleeps", "spins with signals blocked", "is stopped"]
        .into_iter()
        .enumerate()
    {
        let mut late = Percentiles::new(format!(
            "past limit and grace to the error of a task that {name}"
        ));
        for _ in 0..rounds(5, 200) {
            // From a worker that is there.
            pool.broadcast(|()| (), ()).unwrap();
            let begun = Instant::now();
            let task = limited.apply_async(misbehave, how).unwrap();
            let others = pool.map_async(|n: u32| n, 0..50).unwrap();
            let error = within(LIMIT, move || task.get().unwrap_err());
            assert_eq!(error, TaskError::TimedOut { after: limit });
            late.add(begun.elapsed().saturating_sub(limit + grace));
            assert!(
                within(LIMIT, move || others.get().unwrap())
                    .into_iter()
                    .eq(0..50)
            );
        }
        late.report();
        assert!(late.p50() < SLOW, "{late}");
    }
    drop((limited, pool));
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

#[test]
fn a_pool_ends_in_time_from_any_thread_with_its_queues_full() {
    let oracle = oracle();
    let grace = Duration::from_millis(50);
    let mut chance = Chance::new("shutdown");
    let mut late = Percentiles::new("past the grace to the end of a pool whose workers hang");
    for round in 0..rounds(6, 200) {
        let pool = Pool::builder().workers(2).grace(grace).build().unwrap();
        let hanging = pool.map_async(misbehave, [1, round % 3]).unwrap();
        let large: Vec<_> = (0..20).map(|_| Bytes(vec![0; 1 << 20])).collect();
        let queued = pool
            .map_async(|bytes: Bytes| bytes.0.len(), &large)
            .unwrap();
        pool.apply_async(|n: u8| n, 1)
            .unwrap()
            .callback(drop)
            .unwrap();
        chance.moment();
        let begun = Instant::now();
        let pool = within(LIMIT, move || {
            std::thread::scope(|scope| {
                for way in 0..3 {
                    let pool = &pool;
                    scope.spawn(move || match (way + round) % 3 {
                        0 => pool.terminate(),
                        1 => pool.close(),
                        _ => {
                            let _open = pool.join_timeout(Duration::from_millis(1));
                        }
                    });
                }
            });
            pool.join().unwrap();
            pool
        });
        late.add(begun.elapsed().saturating_sub(grace));
        for result in hanging.get_results().unwrap() {
            assert_eq!(result, Err(TaskError::Cancelled));
        }
        let results = queued.get_results().unwrap();
        assert!(
            results
                .iter()
                .all(|result| result.is_ok() || *result == Err(TaskError::Cancelled))
        );
        drop(pool);
    }
    late.report();
    assert!(late.p50() < SLOW, "{late}");
    multiproc_shm::release_spare_memory();
    oracle.finish();
}
