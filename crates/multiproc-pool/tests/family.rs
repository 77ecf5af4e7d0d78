//! What the tests of Python's pools and executors look at, and our other tests do not.
#![allow(clippy::exit, reason = "what tasks do")]

mod common;

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::Duration;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{ExitStatus, Pool, TaskError};
use multiproc_shm::SharedValue;
use multiproc_testkit::{SIGKILL, alive, eventually, forever, kill, linger, within};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[test]
fn a_pool_with_ten_thousand_long_tasks_ends_at_once() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let tasks = pool
        .map_async(|_: u32| linger(Duration::from_secs(600)), 0..10_000)
        .unwrap();
    within(LIMIT, move || {
        pool.terminate();
        pool.join().unwrap();
        let results = tasks.get_results().unwrap();
        assert!(
            results
                .iter()
                .all(|result| *result == Err(TaskError::Cancelled))
        );
    });
    oracle.finish();
}

#[test]
fn workers_that_are_replaced_lose_no_large_result_and_end_with_the_pool() {
    let oracle = oracle();
    for most in [1, 10] {
        let pool = Pool::builder()
            .workers(3)
            .max_tasks_per_worker(most)
            .build()
            .unwrap();
        let first: HashSet<u32> = pool.broadcast(pid, ()).unwrap().into_iter().collect();
        // Longer than what a ring holds.
        let results = pool
            .map_async(|n: u64| vec![u64::MAX - n; 60_000], 0..30)
            .unwrap();
        pool.close();
        let results = within(LIMIT, move || {
            let results = results.get().unwrap();
            pool.join().unwrap();
            results
        });
        for (n, result) in (0..).zip(results) {
            assert!(result == vec![u64::MAX - n; 60_000]);
        }
        assert!(!first.into_iter().any(alive));
    }
    oracle.finish();
}

/// Where something goes wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Place {
    Argument,
    Run,
    Result,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum How {
    Error,
    Panic,
    Exit,
    Signal,
}

impl How {
    fn go_wrong(self) {
        match self {
            How::Error => {}
            How::Panic => panic!("on purpose"),
            How::Exit => std::process::exit(0),
            // SAFETY: not safe at all; the process it is done in dies of it, which is what is wanted.
            How::Signal => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        }
    }
}

#[derive(Debug)]
struct Argument(Place, How);

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argument, D::Error> {
        let (place, how) = <(Place, How)>::deserialize(deserializer)?;
        if place == Place::Argument {
            how.go_wrong();
            return Err(serde::de::Error::custom("on purpose"));
        }
        Ok(Argument(place, how))
    }
}

#[derive(Deserialize)]
struct Outcome(Place, How);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == Place::Result {
            self.1.go_wrong();
            return Err(serde::ser::Error::custom("on purpose"));
        }
        serializer.serialize_unit()
    }
}

fn run(Argument(place, how): Argument) -> Result<Outcome, String> {
    if place == Place::Run {
        how.go_wrong();
        return Err("on purpose".to_string());
    }
    Ok(Outcome(place, how))
}

#[test]
fn whatever_goes_wrong_wherever_is_the_error_of_its_task_alone() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    for place in [Place::Argument, Place::Run, Place::Result] {
        for how in [How::Error, How::Panic, How::Exit, How::Signal] {
            let beside = pool.map_async(|n: u32| n, 0..50).unwrap();
            let task = pool.apply_async(run, Argument(place, how)).unwrap();
            let result = within(LIMIT, move || task.get());
            match (place, how) {
                (Place::Argument, How::Error) => {
                    assert!(matches!(result, Err(TaskError::ArgumentsLost(_))));
                }
                (Place::Run, How::Error) => assert!(result.unwrap().is_err()),
                (Place::Result, How::Error) => {
                    assert!(matches!(result, Err(TaskError::ResultLost(_))));
                }
                (_, How::Panic) => {
                    let Err(TaskError::Panicked(panic)) = result else {
                        panic!("{place:?}")
                    };
                    assert_eq!(panic.message, "on purpose");
                }
                (_, How::Exit) => {
                    let Err(TaskError::WorkerLost { status, .. }) = result else {
                        panic!("{place:?}")
                    };
                    // Where the machine is busy it may not be known in time that it is a 0.
                    assert!(
                        status.success() || status == ExitStatus::UNKNOWN,
                        "{status}"
                    );
                }
                (_, How::Signal) => {
                    let text = result.map(drop).unwrap_err().to_string();
                    assert!(text.contains("SIGSEGV"), "{text}");
                }
            }
            assert!(
                within(LIMIT, move || beside.get().unwrap())
                    .into_iter()
                    .eq(0..50)
            );
        }
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn twenty_results_that_cannot_be_sent_leave_both_workers_as_they_are() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let mut before = pool.broadcast(pid, ()).unwrap();
    let unsendable = |_: u32| Outcome(Place::Result, How::Error);
    let results = pool.map_results(unsendable, 0..20).unwrap();
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(TaskError::ResultLost(_))))
    );
    let mut after = pool.broadcast(pid, ()).unwrap();
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_panic_with_a_message_of_a_megabyte_arrives_whole() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let shout = |n: usize| -> u8 { panic!("{}", "no! ".repeat(n)) };
    let error = pool.apply(shout, 1 << 18).unwrap_err();
    assert_eq!(error.panic().unwrap().message.len(), 1 << 20);
    assert_eq!(pool.apply(|n: u8| n, 1), Ok(1));
    finish(pool);
    oracle.finish();
}

#[test]
fn results_errors_and_limits_come_at_their_items_places() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    let limited = pool.with(|policy| policy.task_timeout(Duration::from_secs(2)));
    // A panic takes a while where its backtrace is asked for.
    let task = |n: u32| {
        match n % 10 {
            3 => panic!("three"),
            6 => forever(),
            _ => {}
        }
        n
    };
    let results: Vec<_> = within(LIMIT, move || limited.imap(task, 0..20).collect());
    for (n, result) in (0..).zip(results) {
        match n % 10 {
            3 => assert_eq!(result.unwrap_err().panic().unwrap().message, "three"),
            6 => assert!(
                matches!(result, Err(TaskError::TimedOut { .. })),
                "{result:?}"
            ),
            _ => assert_eq!(result, Ok(n)),
        }
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn workers_that_kill_each_other_hang_nobody() {
    let oracle = oracle();
    for workers in [1, 2, 5, 13] {
        let pool = Pool::new(workers).unwrap();
        let pids = pool.broadcast(pid, ()).unwrap();
        let task = |(pids, n): (Vec<u32>, usize)| {
            let own = std::process::id();
            if let Some(other) = pids
                .iter()
                .cycle()
                .skip(n)
                .take(pids.len())
                .find(|pid| **pid != own)
            {
                // It may be gone already.
                let _killed = kill(*other, SIGKILL);
            }
        };
        let items: Vec<_> = (0..workers).map(|n| (pids.clone(), n)).collect();
        let tasks = pool.map_async(task, items).unwrap();
        for result in within(LIMIT, move || tasks.get_results().unwrap()) {
            if let Err(error) = result {
                assert!(error.to_string().contains("SIGKILL"), "{error}");
            }
        }
        assert!(pool.map(|n: u32| n, 0..100).unwrap().into_iter().eq(0..100));
        finish(pool);
    }
    oracle.finish();
}

#[test]
fn threads_that_submit_while_the_pool_ends_get_a_result_or_are_told() {
    let oracle = oracle();
    for round in 0..10 {
        let pool = Pool::new(2).unwrap();
        let (tell, told) = mpsc::channel();
        let pool = within(LIMIT, move || {
            std::thread::scope(|scope| {
                for _ in 0..10 {
                    let (tell, pool) = (tell.clone(), &pool);
                    scope.spawn(move || {
                        for n in 0..200 {
                            match pool.apply(|n: u32| n, n) {
                                Ok(same) => assert_eq!(same, n),
                                Err(TaskError::PoolClosed | TaskError::Cancelled) => break,
                                Err(other) => panic!("{other}"),
                            }
                            tell.send(n).unwrap();
                        }
                    });
                }
                told.recv().unwrap();
                match round % 2 {
                    0 => pool.close(),
                    _ => pool.terminate(),
                }
            });
            pool.join().unwrap();
            pool
        });
        drop(pool);
    }
    oracle.finish();
}

#[test]
fn pools_inside_pools_end_with_the_outermost() {
    let oracle = oracle().with_orphans();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    let inner = SharedValue::new([0_u32; 2]).unwrap();
    let nested = |inner: SharedValue<[u32; 2]>| -> u8 {
        let pool = Pool::new(2).unwrap();
        let pids = pool.broadcast(pid, ()).unwrap();
        inner.set([pids[0], pids[1]]).unwrap();
        let _running = pool.map_async(|()| -> u8 { forever() }, [(), ()]).unwrap();
        forever()
    };
    let running = pool.apply_async(nested, inner.clone()).unwrap();
    let mut pids = [0; 2];
    eventually(LIMIT, "the inner pool works", || {
        pids = inner.get().unwrap();
        pids[1] != 0
    });
    within(LIMIT, move || {
        pool.terminate();
        drop((pool, running));
    });
    eventually(LIMIT, "its workers are gone", || {
        !pids.into_iter().any(alive)
    });
    drop(inner);
    oracle.finish();
}

#[test]
fn workers_have_the_processors_and_niceness_asked_for_or_are_refused() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .affinity([0])
        .niceness(7)
        .build()
        .unwrap();
    let told = |_: ()| {
        // SAFETY: takes no pointer.
        let niceness = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        (
            std::thread::available_parallelism().unwrap().get(),
            niceness,
        )
    };
    assert_eq!(pool.broadcast(told, ()).unwrap(), [(1, 7), (1, 7)]);
    finish(pool);
    // A processor that is not there.
    let pool = Pool::builder()
        .workers(1)
        .start_limit(2)
        .affinity([5000])
        .build();
    let text = match pool {
        Err(error) => error.to_string(),
        Ok(pool) => {
            let task = pool.apply_async(pid, ()).unwrap();
            within(LIMIT, move || task.get().unwrap_err().to_string())
        }
    };
    assert!(
        text.contains("5000") || text.contains("ended before"),
        "{text}"
    );
    oracle.finish();
}
