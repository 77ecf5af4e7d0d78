//! Many short tasks, which go to a worker together: each is its own all the same.

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::{RawArray, SharedValue};
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
        starts.as_atomics()[n].fetch_add(1, Ordering::Relaxed);
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
