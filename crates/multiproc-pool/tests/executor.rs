//! The executor, and waiting for some of many tasks.
#![allow(clippy::exit, reason = "what tasks do")]

mod common;

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{LIMIT, oracle, pid};
use multiproc_pool::{
    Executor, FailureMode, Pool, ReturnWhen, Task, TaskError, Waitable, as_completed, wait,
};
use multiproc_shm::SharedValue;
use multiproc_testkit::{forever, within};

type Gate = SharedValue<u8>;

fn gate() -> Gate {
    SharedValue::new(0_u8).unwrap()
}

fn pass(gate: Gate) {
    while gate.get().unwrap() == 0 {
        std::thread::yield_now();
    }
}

/// Shuts down and drops an executor within the limit.
fn finish(executor: Executor) {
    within(LIMIT, move || drop(executor));
}

#[test]
fn what_is_submitted_is_done_and_each_failure_is_its_own() {
    let oracle = oracle();
    let executor = Executor::new(2).unwrap();
    let good = executor.submit(|(a, b): (u8, u8)| a + b, (1, 2)).unwrap();
    let panics = executor.submit(|()| -> u8 { panic!("no") }, ()).unwrap();
    let exits = executor
        .submit(|()| -> u8 { std::process::exit(0) }, ())
        .unwrap();
    let crashes = executor
        .submit(|()| -> u8 { std::process::abort() }, ())
        .unwrap();
    within(LIMIT, move || {
        assert_eq!(good.get(), Ok(3));
        assert!(panics.get().unwrap_err().panic().is_some());
        let lost = exits.get().unwrap_err();
        assert!(matches!(lost, TaskError::WorkerLost { .. }), "{lost}");
        let lost = crashes.get().unwrap_err().to_string();
        assert!(lost.contains("SIGABRT"), "{lost}");
    });
    // It is not broken by any of that.
    let squares: Result<Vec<u32>, _> = executor.map(|n: u32| n * n, 0..100).collect();
    assert!(squares.unwrap().into_iter().eq((0..100).map(|n| n * n)));
    finish(executor);
    oracle.finish();
}

#[test]
fn a_drop_finishes_what_was_submitted() {
    let oracle = oracle();
    let count = SharedValue::new(0_u32).unwrap();
    let executor = Executor::new(2).unwrap();
    for _ in 0..200 {
        let task = executor.submit(
            |count: SharedValue<u32>| *count.lock().unwrap() += 1,
            count.clone(),
        );
        drop(task.unwrap());
    }
    finish(executor);
    assert_eq!(count.get().unwrap(), 200);
    drop(count);
    oracle.finish();
}

#[test]
fn a_shutdown_can_cancel_what_has_not_begun() {
    let oracle = oracle();
    let executor = Executor::new(1).unwrap();
    let (begun, gate) = (gate(), gate());
    let run = |(begun, gate): (Gate, Gate)| {
        begun.set(1).unwrap();
        pass(gate);
    };
    let first = executor.submit(run, (begun.clone(), gate.clone())).unwrap();
    let others: Vec<_> = (0..50)
        .map(|n| executor.submit(|n: u8| n, n).unwrap())
        .collect();
    within(LIMIT, {
        let begun = begun.clone();
        move || pass(begun)
    });
    executor.shutdown(false, true).unwrap();
    let refused = executor.submit(|n: u8| n, 1).unwrap_err();
    assert_eq!(refused, TaskError::PoolClosed);
    gate.set(1).unwrap();
    within(LIMIT, move || {
        executor.shutdown(true, true).unwrap();
        executor.shutdown(true, false).unwrap();
        assert_eq!(first.get(), Ok(()));
        for task in others {
            assert_eq!(task.get(), Err(TaskError::Cancelled));
        }
    });
    drop((begun, gate));
    oracle.finish();
}

#[test]
fn a_task_cancelled_before_a_shutdown_does_not_hold_it_up() {
    let oracle = oracle();
    let executor = Executor::new(1).unwrap();
    let running = executor.submit(|()| -> () { forever() }, ()).unwrap();
    let queued = executor.submit(|()| -> () { forever() }, ()).unwrap();
    queued.cancel();
    running.cancel();
    drop((running, queued));
    within(LIMIT, move || executor.shutdown(true, false).unwrap());
    oracle.finish();
}

#[test]
fn submissions_during_a_shutdown_have_a_result_or_an_error() {
    let oracle = oracle();
    let executor = Arc::new(Executor::new(2).unwrap());
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let executor = Arc::clone(&executor);
            std::thread::spawn(move || {
                loop {
                    match executor.submit(|n: u32| n + 1, 1) {
                        Ok(task) => assert_eq!(task.get(), Ok(2)),
                        Err(error) => return assert_eq!(error, TaskError::PoolClosed),
                    }
                }
            })
        })
        .collect();
    executor.submit(|n: u32| n, 1).unwrap().get().unwrap();
    within(LIMIT, move || {
        executor.shutdown(true, false).unwrap();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    oracle.finish();
}

#[test]
fn wait_returns_with_the_first_the_first_error_or_all() {
    let oracle = oracle();
    let executor = Executor::new(2).unwrap();
    let gate = gate();
    let blocked = executor.submit(pass, gate.clone()).unwrap();
    let quick = executor.submit(|()| (), ()).unwrap();
    let tasks = [blocked, quick];
    let first = wait(&tasks, ReturnWhen::FirstCompleted, LIMIT);
    assert_eq!((first.done, first.not_done), (vec![1], vec![0]));
    // None fails, and not all come in time.
    for when in [ReturnWhen::FirstError, ReturnWhen::AllCompleted] {
        let some = wait(&tasks, when, Duration::from_millis(5));
        assert_eq!((some.done, some.not_done), (vec![1], vec![0]));
    }
    let [blocked, quick] = tasks;
    let cancelled = executor.submit(|()| -> () { forever() }, ()).unwrap();
    cancelled.cancel();
    let panics = executor.submit(|()| -> () { panic!("no") }, ()).unwrap();
    let mut taken = executor.submit(|()| (), ()).unwrap();
    taken.get_timeout(LIMIT).unwrap();
    let many = executor.pool().map_async(|n: u8| n, [1, 2]).unwrap();
    let tasks: [&dyn Waitable; 6] = [&blocked, &quick, &cancelled, &panics, &taken, &many];
    let failed = wait(tasks, ReturnWhen::FirstError, LIMIT);
    assert!(failed.done.contains(&3), "{failed:?}");
    assert!(failed.not_done.contains(&0), "{failed:?}");
    let calm: [&dyn Waitable; 4] = [&cancelled, &taken, &quick, &quick];
    let all = wait(calm, ReturnWhen::FirstError, LIMIT);
    assert_eq!(all.done, [0, 1, 2, 3]);
    gate.set(1).unwrap();
    let all = wait(tasks, ReturnWhen::AllCompleted, LIMIT);
    assert_eq!((all.done.len(), all.not_done.len()), (6, 0));
    let none: [&Task<()>; 0] = [];
    assert!(wait(none, ReturnWhen::FirstCompleted, None).done.is_empty());
    drop((blocked, quick, cancelled, panics, taken, many, gate));
    finish(executor);
    oracle.finish();
}

#[test]
fn tasks_of_several_pools_are_waited_for_together() {
    let oracle = oracle();
    let (one, other) = (Executor::new(1).unwrap(), Executor::new(1).unwrap());
    let (gate_of_one, gate_of_other) = (gate(), gate());
    let tasks = [
        one.submit(pass, gate_of_one.clone()).unwrap(),
        other.submit(pass, gate_of_other.clone()).unwrap(),
    ];
    let none = wait(&tasks, ReturnWhen::FirstCompleted, Duration::from_millis(5));
    assert_eq!(none.not_done, [0, 1]);
    gate_of_other.set(1).unwrap();
    let first = wait(&tasks, ReturnWhen::FirstCompleted, LIMIT);
    assert_eq!((first.done, first.not_done), (vec![1], vec![0]));
    let mut coming = as_completed(tasks);
    assert_eq!(coming.next(), Some((1, Ok(()))));
    gate_of_one.set(1).unwrap();
    assert_eq!(coming.next(), Some((0, Ok(()))));
    assert_eq!(coming.next(), None);
    drop((gate_of_one, gate_of_other));
    finish(one);
    finish(other);
    oracle.finish();
}

#[test]
fn results_come_as_they_are_there_each_once() {
    let oracle = oracle();
    let executor = Executor::new(2).unwrap();
    let gate = gate();
    let mut tasks = vec![executor.submit(pass, gate.clone()).unwrap()];
    tasks.extend((0..300).map(|_| executor.submit(|()| (), ()).unwrap()));
    tasks.push(executor.submit(|()| -> () { panic!("no") }, ()).unwrap());
    let mut taken = executor.submit(|()| (), ()).unwrap();
    taken.get_timeout(LIMIT).unwrap();
    tasks.push(taken);
    let mut coming = as_completed(tasks);
    let early: Vec<_> = coming.by_ref().take(302).collect();
    let places: HashSet<_> = early.iter().map(|(index, _)| *index).collect();
    assert!(
        places.len() == 302 && !places.contains(&0),
        "the blocked one comes last"
    );
    for (index, result) in early {
        match index {
            301 => assert!(result.unwrap_err().panic().is_some()),
            302 => assert_eq!(result, Err(TaskError::Taken)),
            _ => assert_eq!(result, Ok(())),
        }
    }
    let mut late = coming.timeout(Duration::from_millis(5));
    assert_eq!(late.next(), Some((0, Err(TaskError::NotReady))));
    assert_eq!(late.next(), None);
    gate.set(1).unwrap();
    let (place, task) = late.into_unfinished().pop().unwrap();
    assert_eq!((place, task.get()), (0, Ok(())));
    drop(gate);
    finish(executor);
    oracle.finish();
}

#[test]
fn one_worker_does_what_comes_one_after_the_other() {
    let oracle = oracle();
    let executor = Executor::from(Pool::builder().workers(1).name("Executor").build().unwrap());
    let pids: HashSet<u32> = (0..3)
        .map(|_| executor.submit(pid, ()).unwrap().get().unwrap())
        .collect();
    assert_eq!(pids.len(), 1);
    finish(executor);
    oracle.finish();
}

#[test]
fn a_map_begins_at_once_and_no_further_ahead_than_its_window() {
    let oracle = oracle();
    let executor = Executor::new(1).unwrap();
    let count = SharedValue::new(0_u32).unwrap();
    let taken = Cell::new(0);
    let items = std::iter::repeat_with(|| {
        taken.set(taken.get() + 1);
        count.clone()
    });
    let results = executor.map(|count: SharedValue<u32>| *count.lock().unwrap() += 1, items);
    let begun = taken.get();
    within(LIMIT, {
        let count = count.clone();
        move || {
            while count.get().unwrap() == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut results = results.window(begun + 3);
    assert_eq!(results.next(), Some(Ok(())));
    assert_eq!(taken.get(), begun + 3);
    drop(results);
    drop(count);
    finish(executor);
    oracle.finish();
}

#[test]
fn a_map_may_have_a_timeout_before_which_results_are_given() {
    let oracle = oracle();
    let executor = Executor::new(1).unwrap();
    let gate = gate();
    let maybe_pass = |gate: Option<Gate>| gate.map(pass).is_some();
    let items = vec![None, Some(gate.clone()), None];
    let mut results = executor.map(maybe_pass, items.clone()).timeout(LIMIT);
    assert_eq!(results.next(), Some(Ok(false)));
    let mut results = results.timeout(Duration::from_millis(5));
    assert_eq!(results.next(), Some(Err(TaskError::NotReady)));
    assert_eq!(results.next(), None);
    drop(results);
    let unordered = executor.pool().imap_unordered(maybe_pass, items);
    let mut unordered = unordered.timeout(Duration::ZERO);
    assert_eq!(unordered.next(), Some(Err(TaskError::NotReady)));
    gate.set(1).unwrap();
    drop((unordered, gate));
    finish(executor);
    oracle.finish();
}

#[test]
fn callbacks_may_submit() {
    fn chain(executor: &Arc<Executor>, left: u32, end: mpsc::Sender<u32>) {
        let task = executor.submit(|n: u32| n - 1, left).unwrap();
        let again = Arc::clone(executor);
        let callback = move |left: Result<u32, TaskError>| match left.unwrap() {
            0 => end.send(0).unwrap(),
            left => chain(&again, left, end),
        };
        task.callback(callback).unwrap();
    }
    let oracle = oracle();
    let executor = Arc::new(Executor::new(2).unwrap());
    let (end, ended) = mpsc::channel();
    chain(&executor, 100, end);
    assert_eq!(ended.recv_timeout(LIMIT), Ok(0));
    within(LIMIT, move || {
        // The last callback may hold it still.
        executor.shutdown(true, false).unwrap();
        drop(executor);
    });
    oracle.finish();
}

#[test]
fn workers_on_demand_are_as_many_as_are_needed() {
    let oracle = oracle();
    let pool = Pool::builder().workers(3).on_demand(true).build().unwrap();
    let executor = Executor::from(pool);
    for _ in 0..3 {
        executor.submit(pid, ()).unwrap().get().unwrap();
    }
    assert_eq!(executor.pool().stats().workers_started, 1);
    let gate = gate();
    let blocked: Vec<_> = (0..45)
        .map(|_| executor.submit(pass, gate.clone()).unwrap())
        .collect();
    gate.set(1).unwrap();
    let all = wait(&blocked, ReturnWhen::AllCompleted, LIMIT);
    assert_eq!(all.done.len(), 45);
    assert!(executor.pool().stats().workers_started <= 3);
    drop((blocked, gate));
    finish(executor);
    oracle.finish();
}

#[test]
fn an_executor_may_break_as_pythons_does() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .failure_mode(FailureMode::BreakAll)
        .build()
        .unwrap();
    let executor = Executor::from(pool);
    let waits = executor.submit(|()| -> () { forever() }, ()).unwrap();
    let dies = executor
        .submit(|()| -> () { std::process::abort() }, ())
        .unwrap();
    for task in [dies, waits] {
        let broken = within(LIMIT, move || task.get().unwrap_err());
        assert!(matches!(broken, TaskError::WorkerLost { .. }), "{broken}");
    }
    let refused = executor.submit(|n: u8| n, 1).unwrap_err();
    assert!(matches!(refused, TaskError::WorkerLost { .. }), "{refused}");
    finish(executor);
    oracle.finish();
}
