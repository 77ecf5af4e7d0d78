//! A pool of threads is one of processes, but for what needs a process.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Executor, Failure, Pool, TaskError, as_completed, cancelled};
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::within;
use multiproc_wire::Descriptor;

type Gate = SharedValue<u8>;

fn pass(gate: Gate) -> String {
    while gate.get().unwrap() == 0 {
        std::thread::yield_now();
    }
    std::thread::current()
        .name()
        .unwrap_or_default()
        .to_string()
}

/// Runs until it is asked to stop, and says in `gate` that it runs, and that it stops.
fn until_asked(gate: Gate) {
    gate.set(1).unwrap();
    while !cancelled() {
        std::thread::yield_now();
    }
    gate.set(2).unwrap();
}

fn await_value(gate: &Gate, value: u8) {
    let gate = gate.clone();
    within(LIMIT, move || {
        while gate.get().unwrap() != value {
            std::thread::yield_now();
        }
    });
}

#[test]
fn every_verb_does_what_it_does() {
    let oracle = oracle();
    let pool = Pool::threads(3).unwrap();
    assert_eq!(
        pool.apply(|()| std::process::id(), ()),
        Ok(std::process::id())
    );
    let squares = pool.map(|n: u64| n * n, 0..5000).unwrap();
    assert!(squares.into_iter().eq((0..5000).map(|n| n * n)));
    let results = pool.map_results(|n: u8| 6 / n, [0, 3]).unwrap();
    assert!(
        results[0]
            .as_ref()
            .is_err_and(|error| error.panic().is_some())
    );
    assert_eq!(results[1], Ok(2));
    let lengths: Result<Vec<usize>, _> =
        pool.imap(|word: String| word.len(), ["a", "bcd"]).collect();
    assert_eq!(lengths, Ok(vec![1, 3]));
    let unordered: HashSet<u8> = pool
        .imap_unordered(|n: u8| n, 0..100)
        .map(Result::unwrap)
        .collect();
    assert_eq!(unordered.len(), 100);
    let chunked = pool
        .with(|policy| policy.chunksize(7))
        .map(|n: u8| n, 0..50)
        .unwrap();
    assert!(chunked.into_iter().eq(0..50));
    let threads = pool
        .broadcast(|()| format!("{:?}", std::thread::current().id()), ())
        .unwrap();
    assert_eq!(threads.into_iter().collect::<HashSet<_>>().len(), 3);
    let with = pool
        .map_with(&100, |base: &mut u32, n: u32| *base + n, [1, 2, 3])
        .unwrap();
    assert_eq!(with, [101, 102, 103]);
    let sum = pool.fold(
        0,
        |sum: &mut u64, n: u64| *sum += n,
        |sum, more| *sum += more,
        1..=100,
    );
    assert_eq!(sum, Ok(5050));
    let mut array = SharedArray::from_slice(&[1_u32; 100]).unwrap();
    let add = |piece: &mut [u32], number: usize| piece.fill(u32::try_from(number).unwrap());
    pool.for_each_chunk_mut(&mut array, 30, add).unwrap();
    assert_eq!(
        (array.to_vec().unwrap()[29], array.to_vec().unwrap()[99]),
        (0, 3)
    );
    drop(array);
    let large = vec![7_u8; 2 << 20];
    assert_eq!(pool.apply(|bytes: Vec<u8>| bytes, large.clone()), Ok(large));
    let (told, sums) = mpsc::channel();
    let task = pool.apply_async(|(a, b): (u8, u8)| a + b, (1, 2)).unwrap();
    task.callback(move |sum| told.send(sum).unwrap()).unwrap();
    assert_eq!(sums.recv_timeout(LIMIT).unwrap(), Ok(3));
    finish(pool);
    oracle.finish();
}

#[test]
fn handles_are_passed_to_threads_too() {
    let oracle = oracle();
    let pool = Pool::threads(2).unwrap();
    let array = SharedArray::from_slice(&[1_u32; 64]).unwrap();
    let fill = |(array, place): (SharedArray<u32>, usize)| array.lock().unwrap()[place] = 9;
    pool.map(fill, (0..64).map(|place| (array.clone(), place)))
        .unwrap();
    assert_eq!(array.to_vec().unwrap(), [9; 64]);
    drop(array);
    let back = pool.apply(
        |file: Descriptor| file,
        Descriptor::from(std::fs::File::open("/dev/null").unwrap()),
    );
    drop(back.unwrap());
    finish(pool);
    oracle.finish();
}

#[test]
fn an_executor_may_have_threads() {
    let oracle = oracle();
    let executor = Executor::from(Pool::threads(2).unwrap());
    let tasks: Vec<_> = (0..20)
        .map(|n| executor.submit(|n: usize| n, n).unwrap())
        .collect();
    for (index, result) in as_completed(tasks) {
        assert_eq!(result, Ok(index));
    }
    within(LIMIT, move || drop(executor));
    oracle.finish();
}

#[test]
fn a_task_that_runs_is_settled_and_asked_to_stop() {
    let oracle = oracle();
    let pool = Pool::threads(1).unwrap();
    let gate = SharedValue::new(0_u8).unwrap();
    let task = pool.apply_async(until_asked, gate.clone()).unwrap();
    await_value(&gate, 1);
    let queued = pool.apply_async(|n: u8| n, 1).unwrap();
    queued.cancel();
    assert_eq!(queued.get(), Err(TaskError::Cancelled));
    task.cancel();
    assert_eq!(task.get(), Err(TaskError::Cancelled));
    await_value(&gate, 2);
    assert_eq!(pool.apply(|()| cancelled(), ()), Ok(false));
    let hurried = pool.with(|policy| policy.soft_timeout(Duration::from_millis(5)));
    assert_eq!(hurried.apply(until_asked, gate.clone()), Ok(()));
    assert!(!cancelled());
    drop((gate, hurried));
    finish(pool);
    oracle.finish();
}

#[test]
fn an_initializer_that_fails_is_told_of_and_does_not_start_threads_for_ever() {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let oracle = oracle();
    let fail = |port: u16| -> Result<(), Failure> {
        STARTS.fetch_add(1, Ordering::Relaxed);
        Err(format!("nobody answers at {port}").into())
    };
    let pool = Pool::builder()
        .threads(true)
        .workers(1)
        .start_limit(3)
        .initializer(fail, 99);
    let pool = pool.build().unwrap();
    let error = pool.apply(|n: u8| n, 1).unwrap_err();
    assert!(
        matches!(error, TaskError::RestartLimit { starts: 3, .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("nobody answers at 99"),
        "{error}"
    );
    assert_eq!(STARTS.load(Ordering::Relaxed), 3);
    drop(pool);
    oracle.finish();
}

#[test]
fn threads_are_replaced_and_come_and_go() {
    let oracle = oracle();
    let pool = Pool::builder()
        .threads(true)
        .workers(1)
        .max_tasks_per_worker(2)
        .build()
        .unwrap();
    let id = |()| format!("{:?}", std::thread::current().id());
    let ids: HashSet<String> = (0..6).map(|_| pool.apply(id, ()).unwrap()).collect();
    assert_eq!(ids.len(), 3);
    pool.resize(3).unwrap();
    let here = SharedValue::new(0_u32).unwrap();
    let meet = |here: SharedValue<u32>| {
        *here.lock().unwrap() += 1;
        while here.get().unwrap() < 3 {
            std::thread::yield_now();
        }
    };
    let tasks = pool.map_async(meet, vec![here.clone(); 3]).unwrap();
    within(LIMIT, move || tasks.get().unwrap());
    drop(here);
    finish(pool);
    oracle.finish();
}

#[test]
fn what_needs_a_process_is_refused() {
    let oracle = oracle();
    let short = Duration::from_secs(1);
    let builder = || Pool::builder().threads(true).workers(1);
    for (builder, what) in [
        (builder().task_timeout(short), "a task_timeout"),
        (
            builder().max_memory_per_worker(1 << 30),
            "a max_memory_per_worker",
        ),
        (builder().memory_limit(1 << 30), "a limit"),
        (builder().niceness(1), "a niceness"),
        (builder().affinity([0]), "an affinity"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert_eq!(error, format!("{what} is not for a pool of threads"));
    }
    let pool = builder().build().unwrap();
    let error = pool
        .with(|policy| policy.task_timeout(short))
        .apply(|n: u8| n, 1)
        .unwrap_err();
    assert_eq!(
        error,
        TaskError::NotForThreads {
            what: "a task_timeout"
        }
    );
    finish(pool);
    oracle.finish();
}

#[test]
fn an_end_waits_for_what_runs_and_drops_the_rest() {
    let oracle = oracle();
    for terminate in [true, false] {
        let pool = Pool::threads(2).unwrap();
        let gate = SharedValue::new(0_u8).unwrap();
        let tasks = pool.map_async(pass, vec![gate.clone(); 2000]).unwrap();
        // Too large to be received at once.
        let large = pool
            .apply_async(|bytes: Vec<u8>| bytes.len(), vec![1; 2 << 20])
            .unwrap();
        let opened = gate.clone();
        let opener = std::thread::spawn(move || opened.set(1).unwrap());
        within(LIMIT, move || {
            if terminate {
                pool.terminate();
            }
            drop(pool);
            opener.join().unwrap();
            drop((tasks.get_results(), large.get()));
        });
    }
    oracle.finish();
}
