//! Shared memory that is sent to a worker again: it is there already, and let go when it is gone here.

mod common;

use std::fs;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::{Event, FrozenArray, Lock, SharedArray, release_spare_memory};
use multiproc_testkit::{SIGCONT, SIGKILL, SIGSTOP, eventually, kill, process_state, within};

const LENGTH: usize = 1 << 20;

/// Where an array lies, and how often this process had to fetch pages, after each page of it was touched.
fn touch(array: SharedArray<u8>) -> (usize, u64) {
    let guard = array.lock().unwrap();
    let sum: u64 = guard
        .iter()
        .step_by(4096)
        .map(|byte| u64::from(*byte))
        .sum();
    assert_eq!(sum, LENGTH as u64 / 4096);
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: there is room for the answer.
    let asked = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(asked, 0);
    // SAFETY: it was zeroed, of which all fields are values, and filled.
    let faults = unsafe { usage.assume_init() }.ru_minflt;
    (guard.as_ptr().addr(), u64::try_from(faults).unwrap())
}

fn ones() -> SharedArray<u8> {
    SharedArray::from_slice(&vec![1_u8; LENGTH]).unwrap()
}

/// How often a process has shared memory mapped, and how many files it has open.
fn has(pid: u32) -> (usize, usize) {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mapped = maps.lines().filter(|line| line.contains("memfd:")).count();
    (
        mapped,
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
    )
}

/// The processes of a pool's two workers.
fn both(pool: &Pool) -> Vec<u32> {
    let mut pids = Vec::new();
    eventually(LIMIT, "both have run", || {
        pids.extend(pool.map(|()| std::process::id(), [(); 100]).unwrap());
        pids.sort_unstable();
        pids.dedup();
        pids.len() == 2
    });
    pids
}

#[test]
fn an_array_that_is_sent_again_is_mapped_already() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(1).unwrap();
        let array = ones();
        let (first, _) = pool.apply(touch, array.clone()).unwrap();
        let before = has(pool.apply(pid, ()).unwrap());
        let told = pool.map(touch, std::iter::repeat_n(&array, 1000)).unwrap();
        assert!(told.iter().all(|(place, _)| *place == first));
        // Of 256 pages each time, had it been mapped again.
        let faults = told[999].1 - told[0].1;
        assert!(faults < 5_000, "{faults}");
        assert_eq!(has(pool.apply(pid, ()).unwrap()), before);
        finish(pool);
        drop(array);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn what_is_gone_here_is_let_go_by_workers_that_have_nothing_to_do() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(2).unwrap();
        let pids = both(&pool);
        let before: Vec<_> = pids.iter().copied().map(has).collect();
        let array = ones();
        let frozen = FrozenArray::from_slice(&[7_u8; 10]).unwrap();
        let (lock, event) = (Lock::new().unwrap(), Event::new().unwrap());
        type All = (SharedArray<u8>, FrozenArray<u8>, Lock, Event);
        let all = (array, frozen, lock, event);
        let sizes = pool.map(
            |(array, frozen, lock, event): All| {
                drop(lock.lock().unwrap());
                array.len() + frozen.len() + usize::from(event.is_set())
            },
            std::iter::repeat_n(&all, 100),
        );
        assert_eq!(sizes.unwrap(), [LENGTH + 10; 100]);
        let now: Vec<_> = pids.iter().copied().map(has).collect();
        assert_ne!(now, before, "some worker keeps them");
        drop(all);
        eventually(LIMIT, "they let it go", || {
            before == pids.iter().copied().map(has).collect::<Vec<_>>()
        });
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn a_worker_keeps_so_much_and_no_more() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(1).unwrap();
        let worker = pool.apply(pid, ()).unwrap();
        let (_, open) = has(worker);
        let locks: Vec<_> = (0..200).map(|_| Lock::new().unwrap()).collect();
        for _ in 0..2 {
            let locked = pool.map(|lock: Lock| drop(lock.lock().unwrap()), &locks);
            assert_eq!(locked.unwrap().len(), 200);
            assert!(has(worker).1 <= open + 70, "{:?} after {open}", has(worker));
        }
        // More than it keeps, in one.
        let taken = pool.apply(|locks: Vec<Lock>| locks.len(), locks.clone());
        assert_eq!(taken, Ok(200));
        assert_eq!(pool.apply(|locks: Vec<Lock>| locks.len(), locks), Ok(200));
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn a_worker_that_is_killed_is_followed_by_one_that_knows_nothing() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(1).unwrap();
        let array = ones();
        for _ in 0..3 {
            pool.apply(touch, array.clone()).unwrap();
            let killed = pool.apply(
                |array: SharedArray<u8>| {
                    assert_eq!(array.len(), LENGTH);
                    kill(std::process::id(), SIGKILL).unwrap();
                },
                array.clone(),
            );
            assert!(
                matches!(killed, Err(TaskError::WorkerLost { .. })),
                "{killed:?}"
            );
        }
        pool.apply(touch, array.clone()).unwrap();
        finish(pool);
        drop(array);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn what_was_taken_back_from_a_stopped_worker_is_sent_to_it_later() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(2).unwrap();
        let pids = both(&pool);
        for stopped in [pids[0], pids[1], pids[0]] {
            let arrays = [ones(), ones(), ones(), ones()];
            kill(stopped, SIGSTOP).unwrap();
            eventually(LIMIT, "it is stopped", || {
                process_state(stopped) == Some('T')
            });
            // Whatever the stopped one is given is taken back, with what it had not seen of it.
            let told = pool.map(touch, &arrays);
            assert_eq!(told.unwrap().len(), 4);
            kill(stopped, SIGCONT).unwrap();
            assert_eq!(both(&pool), pids);
            for _ in 0..10 {
                assert_eq!(pool.map(touch, &arrays).unwrap().len(), 4);
            }
        }
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}

/// Whether the process can open one more file from now on.
fn may_open(more: bool) {
    let limit = match more {
        true => 1000,
        // The folder is open while it is counted.
        false => fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1,
    };
    let limit = libc::rlimit {
        rlim_cur: limit,
        rlim_max: 1000,
    };
    // SAFETY: a live limit.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0);
}

#[test]
fn a_worker_that_cannot_take_an_array_in_is_sent_it_again() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::new(1).unwrap();
        let array = ones();
        pool.apply(may_open, false).unwrap();
        for _ in 0..3 {
            let error = pool.apply(touch, array.clone()).unwrap_err();
            assert!(matches!(error, TaskError::ArgumentsLost(_)), "{error}");
        }
        pool.apply(may_open, true).unwrap();
        let (first, _) = pool.apply(touch, array.clone()).unwrap();
        assert_eq!(pool.apply(touch, array.clone()).unwrap().0, first);
        finish(pool);
        drop(array);
    });
    release_spare_memory();
    oracle.finish();
}

#[test]
fn threads_keep_nothing() {
    let oracle = oracle();
    within(LIMIT, || {
        let pool = Pool::builder().workers(1).threads(true).build().unwrap();
        let before = has(std::process::id()).0;
        let array = ones();
        for _ in 0..3 {
            pool.apply(touch, array.clone()).unwrap();
        }
        drop(array);
        assert_eq!(has(std::process::id()).0, before);
        finish(pool);
    });
    release_spare_memory();
    oracle.finish();
}
