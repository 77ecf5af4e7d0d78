//! Many short tasks, which go to a worker together: each is its own all the same.

mod common;

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_process::Process;
use multiproc_shm::{Event, RawArray, SharedValue};
use multiproc_testkit::{SIGKILL, forever, kill, within};

const MANY: u64 = 60_000;
/// In the midst of them, where workers have been sent many at once.
const ODD: u64 = 45_678;

fn die() -> ! {
    kill(std::process::id(), SIGKILL).unwrap();
    forever()
}

#[test]
fn a_killed_worker_costs_the_one_task_that_it_was_in() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let square = |n: u64| {
        if n == ODD || n == ODD + 3_000 {
            die();
        }
        n * n
    };
    let results = within(LIMIT, move || {
        let results = pool.map_results(square, 0..MANY).unwrap();
        finish(pool);
        results
    });
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(square) => assert_eq!(square, n * n),
            Err(TaskError::WorkerLost { task, started, .. }) => {
                assert!(n == ODD || n == ODD + 3_000, "{n}");
                assert!(started && task as u64 == n);
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    oracle.finish();
}

#[test]
fn neighbours_that_wait_for_each_other_both_run() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let meet = |here: &mut SharedValue<u32>, n: u64| {
        if n == ODD || n == ODD + 1 {
            *here.lock().unwrap() += 1;
            while here.get().unwrap() < 2 {
                std::thread::yield_now();
            }
        }
        n
    };
    let here = SharedValue::new(0).unwrap();
    let results = within(LIMIT, move || {
        let results = pool.map_with(&here, meet, 0..MANY).unwrap();
        finish(pool);
        results
    });
    assert!(results.into_iter().eq(0..MANY));
    oracle.finish();
}

#[test]
fn answers_of_all_kinds_come_to_their_own_items() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    // Long ones on either side, panics, and such as have a handle in them among short ones.
    let answer = |word: String| match word.len() {
        length if length % 7 == 3 => (word.repeat(50), None),
        length if length % 7 == 5 => panic!("{word}"),
        length if length % 97 == 60 => (word, Some(SharedValue::new(length as u64).unwrap())),
        _ => (word, None),
    };
    let words: Vec<String> = (0..20_000_u32)
        .map(|n| match n % 50 {
            0 => n.to_string().repeat(60),
            odd => n.to_string().repeat(odd as usize % 20),
        })
        .collect();
    let results = within(LIMIT, {
        let words = words.clone();
        move || {
            let results = pool.map_results(answer, words.iter()).unwrap();
            finish(pool);
            results
        }
    });
    for (word, result) in words.into_iter().zip(results) {
        let length = word.len();
        match result {
            Err(TaskError::Panicked(panic)) => {
                assert!(length % 7 == 5 && panic.message == word);
            }
            Err(error) => panic!("{word}: {error}"),
            Ok((text, value)) => {
                let times = if length % 7 == 3 { 50 } else { 1 };
                assert_eq!(text, word.repeat(times));
                if let Some(value) = value {
                    assert_eq!(value.get().unwrap(), length as u64);
                }
            }
        }
    }
    oracle.finish();
}

#[test]
fn what_is_not_started_of_many_is_cancelled_and_what_is_done_stays() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::ZERO)
        .build()
        .unwrap();
    let stop = |begun: &mut SharedValue<u32>, n: u64| {
        if n == ODD {
            *begun.lock().unwrap() += 1;
            forever();
        }
        n
    };
    within(LIMIT, move || {
        let begun = SharedValue::new(0).unwrap();
        let task = pool.map_with_async(&begun, stop, 0..MANY).unwrap();
        while begun.get().unwrap() == 0 {
            std::thread::yield_now();
        }
        task.cancel();
        let results = task.get_results().unwrap();
        for (n, result) in (0..).zip(results) {
            let cancelled = result == Err(TaskError::Cancelled);
            assert!(result == Ok(n) && n != ODD || cancelled, "{n}: {result:?}");
        }
        assert!(
            pool.map(|n: u64| n, 0..MANY)
                .unwrap()
                .into_iter()
                .eq(0..MANY)
        );
        finish(pool);
    });
    oracle.finish();
}

#[test]
fn each_task_is_begun_once_whatever_is_taken_back_and_whoever_dies() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let many = usize::try_from(MANY).unwrap();
    // Short ones, some that take so long that others run dry meanwhile, and some that kill their worker.
    let count = |starts: &mut RawArray<u32>, n: usize| {
        starts.as_atomics()[n].fetch_add(1, Relaxed);
        let long = n.is_multiple_of(997);
        let until = Instant::now() + Duration::from_micros(if long { 300 } else { 0 });
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        if n % 13_777 == 13_776 {
            die();
        }
        n
    };
    let starts = RawArray::<u32>::zeroed(many).unwrap();
    let results = within(LIMIT, {
        let starts = starts.clone();
        move || {
            let task = pool.map_with_async(&starts, count, 0..many);
            let results = task.unwrap().get_results().unwrap();
            finish(pool);
            results
        }
    });
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(starts.get(n), 1, "of {n}");
        match result {
            Ok(item) => assert_eq!(item, n),
            Err(TaskError::WorkerLost { task, .. }) => {
                assert!(task == n && n % 13_777 == 13_776, "{n}")
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    drop(starts);
    oracle.finish();
}

/// Of a worker.
static TOLD: OnceLock<Event> = OnceLock::new();
static ROUND: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Long enough that two jobs are served in turns.
fn take_a_while() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(50) {}
}

fn count(round: u64) {
    take_a_while();
    if ROUND.swap(round, Relaxed) != round {
        DONE.store(0, Relaxed);
    }
    DONE.fetch_add(1, Relaxed);
}

/// Waits, once all tasks of the other job are done, for whoever waits for that job.
fn wait_for_waiter((round, all): (u64, u64)) {
    take_a_while();
    if ROUND.load(Relaxed) == round && DONE.load(Relaxed) == all {
        TOLD.get().unwrap().wait();
    }
}

#[test]
fn a_job_that_is_done_is_told_of_before_a_run_of_another_begins() {
    let oracle = oracle();
    let told = Event::new().unwrap();
    let keep = |told: Event| drop(TOLD.set(told));
    let pool = Pool::builder().workers(1).initializer(keep, told.clone());
    let pool = pool.build().unwrap();
    for round in 1..=30 {
        told.clear();
        let all = 400 + round * 3;
        let one = pool.map_async(count, (0..all).map(|_| round)).unwrap();
        let two = (pool.map_async(wait_for_waiter, (0..2 * all).map(|_| (round, all)))).unwrap();
        let one = within(LIMIT, move || one.get());
        assert_eq!(one.unwrap().len() as u64, all);
        told.set();
        assert_eq!(two.get().unwrap().len() as u64, 2 * all);
    }
    finish(pool);
    drop(told);
    oracle.finish();
}

/// Has the kernel refuse this process, from now on, the system call by which it has a worker pass a fence.
fn forbid_membarrier() {
    let [load, compare, give] = [
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ];
    let step = |code, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let number = u32::try_from(libc::SYS_membarrier).unwrap();
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    let mut filter = [
        step(load, 0, 0, 0),
        step(compare, 0, 1, number),
        step(give, 0, 0, refused),
        step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: numbers alone.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(set, 0);
    // SAFETY: the program and its four steps live until the call returns.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(set, 0);
}

#[test]
fn a_call_is_cancelled_also_where_the_kernel_passes_no_fence_any_more() {
    let oracle = oracle();
    // In a process of its own, since it never may again.
    let child = Process::spawn(
        |()| {
            let begun = Event::new().unwrap();
            let keep = |begun: Event| drop(TOLD.set(begun));
            let pool = Pool::builder().workers(1).initializer(keep, begun.clone());
            let pool = pool.build().unwrap();
            let stuck = |n: u64| match n {
                3_000 => {
                    TOLD.get().unwrap().set();
                    forever()
                }
                _ => n,
            };
            let task = pool.map_async(stuck, 0..6_000).unwrap();
            begun.wait();
            forbid_membarrier();
            task.cancel();
            let cancelled = task.get_results().unwrap().pop().unwrap();
            (
                cancelled == Err(TaskError::Cancelled),
                pool.map(stuck, 0..10).unwrap().len(),
            )
        },
        (),
    );
    let told = within(LIMIT, move || child.unwrap().join().unwrap());
    assert_eq!(told, (true, 10));
    oracle.finish();
}
