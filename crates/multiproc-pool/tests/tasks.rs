//! Tasks: their results, their errors, and what bad use of a pool gets.
#![allow(clippy::exit, reason = "what tasks do")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Failure, Pool, TaskError};
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{forever, within};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[test]
fn map_gives_results_in_the_order_of_the_items() {
    let oracle = oracle();
    let pool = Pool::new(4).unwrap();
    assert_eq!(
        pool.map(|n: u64| n * n, 1..=9).unwrap(),
        [1, 4, 9, 16, 25, 36, 49, 64, 81]
    );
    let many = pool.map(|n: u32| n + 1, 0..20_000).unwrap();
    assert!(
        many.iter()
            .enumerate()
            .all(|(index, n)| *n as usize == index + 1)
    );
    assert!(pool.map(|n: u8| n, Vec::<u8>::new()).unwrap().is_empty());
    let words = ["one".to_string(), "three".to_string()];
    assert_eq!(
        pool.map(|word: String| word.len(), words.iter()).unwrap(),
        [3, 5]
    );
    assert_eq!(
        pool.map(|(a, b): (i32, f64)| f64::from(a) * b, [(2, 0.5)])
            .unwrap(),
        [1.0]
    );
    finish(pool);
    oracle.finish();
}

#[test]
fn every_worker_takes_part() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let meet = |(here, all): (SharedValue<u32>, u32)| {
        *here.lock().unwrap() += 1;
        while here.get().unwrap() < all {
            std::thread::yield_now();
        }
        std::process::id()
    };
    let here = SharedValue::new(0).unwrap();
    let pids = pool.map(meet, vec![(here.clone(), 3); 3]).unwrap();
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 3);
    drop(here);
    finish(pool);
    oracle.finish();
}

#[test]
fn apply_waits_and_apply_async_does_not() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(|(a, b): (i32, i32)| a - b, (5, 3)).unwrap(), 2);
    let gate = SharedValue::new(0_u8).unwrap();
    let wait = |gate: SharedValue<u8>| {
        while gate.get().unwrap() == 0 {
            std::thread::yield_now();
        }
        "passed".to_string()
    };
    let mut task = pool.apply_async(wait, gate.clone()).unwrap();
    assert!(!task.ready());
    assert!(!task.wait_timeout(Duration::from_millis(5)));
    let error = task.get_timeout(Duration::from_millis(5)).unwrap_err();
    assert!(error.is_timeout());
    gate.set(1).unwrap();
    assert_eq!(task.get_timeout(LIMIT).unwrap(), "passed");
    assert_eq!(task.get().unwrap_err(), TaskError::Taken);
    drop(gate);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_panic_is_an_error_of_its_task_and_the_worker_lives_on() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let worker = pool.apply(pid, ()).unwrap();
    let results = pool.map_results(|n: u32| 60 / n, [1, 0, 3]).unwrap();
    assert_eq!(results[0], Ok(60));
    assert_eq!(results[2], Ok(20));
    let panic = results[1].as_ref().unwrap_err().panic().unwrap();
    assert!(
        panic.message.contains("divide by zero") && panic.location.is_some(),
        "{panic}"
    );
    let first = pool
        .map(|n: u32| assert!(n < 2, "{n} is too much"), 0..5)
        .unwrap_err();
    assert_eq!(first.panic().unwrap().message, "2 is too much");
    assert_eq!(pool.apply(pid, ()).unwrap(), worker);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_crash_costs_its_task_alone_and_tells_how() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let misbehave = |n: u32| {
        match n {
            3 => std::process::exit(3),
            5 => std::process::abort(),
            // SAFETY: not safe at all; the process it is done in dies of it, which is what is wanted.
            7 => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
            _ => {}
        }
        n
    };
    let results = within(LIMIT, move || {
        let results = pool.map_results(misbehave, 0..100).unwrap();
        finish(pool);
        results
    });
    for (index, result) in results.iter().enumerate() {
        let code = match result {
            Ok(n) => {
                assert_eq!(*n as usize, index);
                continue;
            }
            Err(TaskError::WorkerLost { status, task, .. }) => {
                assert_eq!(*task, index);
                status.exitcode()
            }
            Err(other) => panic!("{index}: {other}"),
        };
        let expected = match index {
            3 => 3,
            5 => -libc::SIGABRT,
            7 => -libc::SIGSEGV,
            _ => panic!("{index} was lost too"),
        };
        assert_eq!(code, Some(expected));
    }
    let text = results[7].as_ref().unwrap_err().to_string();
    assert!(
        text.contains("SIGSEGV") && text.contains("task 7"),
        "{text}"
    );
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 3);
    oracle.finish();
}

#[test]
fn fallible_tasks_return_their_errors() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let read = |path: String| -> Result<String, Failure> { Ok(std::fs::read_to_string(path)?) };
    let results = pool
        .map(read, ["/proc/self/comm", "/no/such/file"])
        .unwrap();
    assert!(results[0].is_ok());
    assert!(
        results[1]
            .as_ref()
            .unwrap_err()
            .message()
            .contains("No such file")
    );
    finish(pool);
    oracle.finish();
}

#[test]
fn shared_things_travel_both_ways() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let array = SharedArray::from_slice(&[0_u64; 64]).unwrap();
    let write = |(array, i): (SharedArray<u64>, usize)| array.lock().unwrap()[i] = i as u64 * 2;
    pool.map(write, (0..64).map(|i| (array.clone(), i)))
        .unwrap();
    assert!(
        array
            .to_vec()
            .unwrap()
            .iter()
            .enumerate()
            .all(|(i, n)| *n == i as u64 * 2)
    );
    let make = |n: u8| SharedArray::from_slice(&[n; 100]).unwrap();
    let made = pool.map(make, 0..50).unwrap();
    for (n, array) in made.iter().enumerate() {
        assert_eq!(array.to_vec().unwrap(), [u8::try_from(n).unwrap(); 100]);
    }
    drop((array, made));
    finish(pool);
    oracle.finish();
}

#[test]
fn arguments_and_results_of_any_size_pass() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let sizes = [0, 1, 1 << 10, 1 << 17, (1 << 17) + 1, 1 << 20, 40 << 20];
    let texts = sizes.map(|size| "x".repeat(size));
    let back = pool.map(|text: String| text, texts.iter()).unwrap();
    assert!(back == texts);
    finish(pool);
    oracle.finish();
}

#[derive(Debug)]
struct Stubborn;
impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}
impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Stubborn)
    }
}

#[derive(Debug, Serialize)]
struct OneWay(u8);
impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("never"))
    }
}

#[test]
fn what_cannot_travel_is_an_error_of_its_task() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(|_: Stubborn| (), Stubborn).unwrap_err();
    assert!(matches!(error, TaskError::Encode(_)), "{error}");
    let error = pool.apply(|_: OneWay| (), OneWay(1)).unwrap_err();
    assert!(matches!(error, TaskError::ArgumentsLost(_)), "{error}");
    let results = pool
        .map_results(|n: u8| if n == 1 { Some(Stubborn) } else { None }, 0..3)
        .unwrap();
    assert!(
        matches!(results[1], Err(TaskError::ResultLost(_))),
        "{results:?}"
    );
    assert!(results[0].is_ok() && results[2].is_ok());
    let error = pool.apply(|n: u8| OneWay(n), 1).unwrap_err();
    assert!(matches!(error, TaskError::Decode(_)), "{error}");
    let json = serde_json::to_string(&SharedValue::new(1_u8).unwrap()).unwrap_err();
    assert!(json.to_string().contains("another format"), "{json}");
    assert_eq!(pool.apply(|n: u8| n, 5).unwrap(), 5);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_pool_of_none_or_one_that_was_closed_is_an_error() {
    let oracle = oracle();
    let none = Pool::new(0).unwrap_err();
    assert!(none.to_string().contains("at least one worker"), "{none}");
    let pool = Pool::new(1).unwrap();
    let open = pool.join().unwrap_err();
    assert!(open.to_string().contains("still open"), "{open}");
    let queued = pool.map_async(|n: u32| n, 0..1000).unwrap();
    pool.close();
    assert_eq!(pool.apply(|n: u8| n, 1).unwrap_err(), TaskError::PoolClosed);
    assert_eq!(queued.get().unwrap().len(), 1000);
    within(LIMIT, move || {
        pool.join().unwrap();
        pool.join().unwrap();
        pool.terminate();
        pool.close();
        pool.join().unwrap();
    });
    oracle.finish();
}

#[test]
fn terminate_and_drop_cancel_what_is_open() {
    let oracle = oracle();
    for dropped in [false, true] {
        let pool = Pool::new(2).unwrap();
        let endless = |_: u8| -> u8 { forever() };
        let running = pool.map_async(endless, 0..100).unwrap();
        let (done, results) = within(LIMIT, move || {
            assert!(!running.ready());
            if dropped {
                drop(pool);
            } else {
                pool.terminate();
                assert_eq!(pool.apply(|n: u8| n, 1).unwrap_err(), TaskError::PoolClosed);
            }
            (running.ready(), running.get_results().unwrap())
        });
        assert!(
            done && results
                .iter()
                .all(|result| *result == Err(TaskError::Cancelled))
        );
    }
    oracle.finish();
}

#[test]
fn callers_on_many_threads_get_their_own_results() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    within(LIMIT, move || {
        std::thread::scope(|scope| {
            for thread in 0..6_u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..200 {
                        assert_eq!(
                            pool.apply(|n: u64| n * 3, thread * 1000 + round).unwrap(),
                            (thread * 1000 + round) * 3
                        );
                        let many = pool.map(|n: u64| n + 1, 0..round).unwrap();
                        assert!(many.into_iter().eq(1..=round));
                    }
                });
            }
        });
        finish(pool);
    });
    oracle.finish();
}

#[test]
fn tasks_finish_although_nobody_waits() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let count = SharedValue::new(0_u32).unwrap();
    let add = |count: SharedValue<u32>| *count.lock().unwrap() += 1;
    drop(pool.map_async(add, vec![count.clone(); 500]).unwrap());
    let kept = pool.map_async(|n: u32| n, 0..50_000).unwrap();
    multiproc_testkit::eventually(LIMIT, "the abandoned tasks are done", || {
        count.get().unwrap() == 500
    });
    assert!(kept.get().unwrap().into_iter().eq(0..50_000));
    drop(count);
    finish(pool);
    oracle.finish();
}

#[test]
fn the_initializer_runs_once_in_each_worker_before_its_tasks() {
    use std::sync::OnceLock;
    static GIVEN: OnceLock<(String, SharedValue<u32>)> = OnceLock::new();
    let oracle = oracle();
    let count = SharedValue::new(0_u32).unwrap();
    let set_up = |given: (String, SharedValue<u32>)| {
        *given.1.lock().unwrap() += 1;
        GIVEN.set(given).unwrap();
    };
    let pool = Pool::builder()
        .workers(2)
        .initializer(set_up, ("given".to_string(), count.clone()))
        .build()
        .unwrap();
    let told = pool
        .map(|n: u32| (n, GIVEN.get().unwrap().0.clone()), 0..100)
        .unwrap();
    assert!(
        told.into_iter()
            .eq((0..100).map(|n| (n, "given".to_string())))
    );
    multiproc_testkit::eventually(LIMIT, "both have run it", || count.get().unwrap() == 2);
    drop(count);
    finish(pool);
    oracle.finish();
}

#[test]
fn an_initializer_that_fails_is_an_error_and_no_endless_loop() {
    let oracle = oracle();
    fn never(why: String) {
        assert!(why.is_empty(), "no use: {why}");
    }
    let pool = Pool::builder()
        .workers(1)
        .initializer(never, "broken".to_string())
        .build()
        .unwrap();
    let error = within(LIMIT, move || pool.apply(|n: u8| n, 1).unwrap_err());
    assert!(matches!(error, TaskError::RestartLimit { .. }), "{error}");
    assert!(error.to_string().contains("no use: broken"), "{error}");
    let stubborn = Pool::builder()
        .workers(1)
        .initializer(|_: Stubborn| (), Stubborn)
        .build()
        .unwrap_err();
    assert!(stubborn.to_string().contains("initializer"), "{stubborn}");
    oracle.finish();
}
