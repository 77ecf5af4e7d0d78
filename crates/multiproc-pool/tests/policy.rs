//! What is said of calls: retries, limits in time that a task may keep itself, a bound on what is pending.

mod common;

use std::time::Duration;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{FailureMode, Pool, TaskError, cancelled};
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{SIGKILL, eventually, forever, kill, within};

fn start(starts: &SharedValue<u32>) -> u32 {
    let mut starts = starts
        .lock()
        .unwrap_or_else(multiproc_shm::PoisonError::into_inner);
    *starts += 1;
    *starts
}

#[test]
fn a_task_that_always_aborts_is_begun_once_and_as_often_as_it_has_retries() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let abort = |starts: SharedValue<u32>| -> u8 {
        start(&starts);
        std::process::abort()
    };
    for retries in [0, 1, 3] {
        let starts = SharedValue::new(0_u32).unwrap();
        let again = pool.with(|policy| policy.retries(retries));
        let task = again.apply_async(abort, starts.clone()).unwrap();
        let error = within(LIMIT, move || task.get().unwrap_err());
        assert!(
            matches!(error, TaskError::WorkerLost { attempts, .. } if attempts == retries + 1),
            "{error:?}"
        );
        assert_eq!(starts.get().unwrap(), retries + 1);
        drop(starts);
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn a_panic_is_retried_and_a_signal_only_if_asked() {
    let oracle = oracle();
    let pool = Pool::builder().workers(2).retries(2).build().unwrap();
    let third_time = |starts: SharedValue<u32>| {
        let time = start(&starts);
        assert!(time == 3, "not yet");
        time
    };
    let starts = SharedValue::new(0_u32).unwrap();
    assert_eq!(pool.apply(third_time, starts.clone()), Ok(3));
    starts.set(0).unwrap();
    let once = pool
        .with(|policy| policy.retries(0))
        .apply(third_time, starts.clone());
    assert_eq!(once.unwrap_err().panic().unwrap().message, "not yet");

    let killed = |starts: SharedValue<u32>| {
        if start(&starts) < 3 {
            kill(std::process::id(), SIGKILL).unwrap();
            forever();
        }
        "alive".to_string()
    };
    starts.set(0).unwrap();
    let error = pool.apply(killed, starts.clone()).unwrap_err();
    assert!(
        matches!(error, TaskError::WorkerLost { attempts: 1, .. }),
        "{error:?}"
    );
    let brave = pool.with(|policy| policy.retry_signals(true));
    starts.set(0).unwrap();
    assert_eq!(brave.apply(killed, starts.clone()).unwrap(), "alive");
    assert_eq!(starts.get().unwrap(), 3);
    drop((starts, brave));
    finish(pool);
    oracle.finish();
}

#[test]
fn a_soft_limit_asks_and_a_hard_one_does_not() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let polite = |_: ()| {
        let mut looked = 0_u64;
        while !cancelled() {
            looked += 1;
            std::thread::yield_now();
        }
        looked > 0
    };
    let before = pool.apply(pid, ()).unwrap();
    let soft = pool.with(|policy| policy.soft_timeout(Duration::from_millis(30)));
    assert_eq!(soft.map(polite, [(), ()]).unwrap(), [true, true]);
    assert!(
        !pool.apply(|()| cancelled(), ()).unwrap(),
        "the next is not asked"
    );
    assert_eq!(
        pool.apply(pid, ()).unwrap(),
        before,
        "the worker was left alone"
    );
    let both = soft.with(|policy| policy.task_timeout(Duration::from_millis(100)));
    let deaf = |_: ()| -> u8 { forever() };
    let task = both.apply_async(deaf, ()).unwrap();
    let error = within(LIMIT, move || task.get().unwrap_err());
    assert_eq!(
        error,
        TaskError::TimedOut {
            after: Duration::from_millis(100)
        }
    );
    assert!(!cancelled(), "this process is no worker");
    drop((soft, both));
    finish(pool);
    oracle.finish();
}

#[test]
fn a_call_has_its_own_limit_beside_calls_that_have_none() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .task_timeout(Duration::from_millis(50))
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    let wait = |gate: SharedValue<u32>| {
        while gate.get().unwrap() == 0 {
            std::thread::yield_now();
        }
    };
    let patient = pool.with(|policy| policy.task_timeout(None));
    let running = patient.apply_async(wait, gate.clone()).unwrap();
    let task = pool.apply_async(|()| -> u8 { forever() }, ()).unwrap();
    let error = within(LIMIT, move || task.get().unwrap_err());
    assert!(matches!(error, TaskError::TimedOut { .. }), "{error}");
    gate.set(1).unwrap();
    within(LIMIT, move || running.get().unwrap());
    drop((gate, patient));
    finish(pool);
    oracle.finish();
}

#[test]
fn a_full_pool_has_callers_wait_or_tells_them() {
    let oracle = oracle();
    let pool = Pool::builder().workers(1).max_pending(2).build().unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    let wait = |gate: SharedValue<u32>| {
        *gate.lock().unwrap() += 1;
        while gate.get().unwrap() < 100 {
            std::thread::yield_now();
        }
    };
    let first = pool.apply_async(wait, gate.clone()).unwrap();
    eventually(LIMIT, "it runs", || gate.get().unwrap() == 1);
    let second = pool.apply_async(|n: u8| n, 2).unwrap();
    let hasty = pool.with(|policy| policy.refuse_when_full(true));
    assert_eq!(hasty.apply(|n: u8| n, 3), Err(TaskError::Full { limit: 2 }));
    std::thread::scope(|scope| {
        let third = scope.spawn(|| pool.apply(|n: u8| n, 3));
        let many = scope.spawn(|| pool.map(|n: u8| n, 0..50));
        gate.set(100).unwrap();
        assert_eq!(third.join().unwrap(), Ok(3));
        assert!(many.join().unwrap().unwrap().into_iter().eq(0..50));
    });
    assert_eq!(second.get(), Ok(2));
    first.get().unwrap();
    // Somebody who waits for room hears of the end.
    gate.set(0).unwrap();
    let running = pool.map_async(wait, vec![gate.clone(); 2]).unwrap();
    eventually(LIMIT, "it runs", || gate.get().unwrap() == 1);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pool.apply(|n: u8| n, 4));
        pool.terminate();
        assert!(waits.join().unwrap().is_err());
    });
    drop((gate, hasty, pool, running));
    oracle.finish();
}

#[test]
fn a_pool_that_is_to_break_does_with_the_first_worker_lost() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(3)
        .failure_mode(FailureMode::BreakAll)
        .build()
        .unwrap();
    let pids = SharedArray::<u32>::zeroed(3).unwrap();
    fn hold((pids, n): (SharedArray<u32>, usize)) -> u8 {
        pids.lock().unwrap()[n] = std::process::id();
        forever()
    }
    let items: Vec<_> = (0..3).map(|n| (pids.clone(), n)).collect();
    let running = pool.map_async(hold, items).unwrap();
    let mut workers = vec![];
    eventually(LIMIT, "all are busy", || {
        workers = pids.to_vec().unwrap();
        !workers.contains(&0)
    });
    // An idle death breaks nothing, but none is idle.
    kill(workers[1], SIGKILL).unwrap();
    let results = within(LIMIT, move || running.get_results().unwrap());
    for (n, result) in results.into_iter().enumerate() {
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                TaskError::WorkerLost { pid, task: 1, started, .. }
                    if pid == workers[1] && started == (n == 1)
            ),
            "{error:?}"
        );
    }
    let error = pool.apply(|n: u8| n, 1).unwrap_err();
    assert!(matches!(error, TaskError::WorkerLost { .. }), "{error:?}");
    drop((pids, pool));
    oracle.finish();
}

#[test]
fn what_fails_after_its_call_was_cancelled_is_not_begun_again() {
    let oracle = oracle();
    let pool = Pool::builder().workers(1).retries(5).build().unwrap();
    let starts = SharedValue::new(0_u32).unwrap();
    let wait_and_fail = |starts: SharedValue<u32>| -> u8 {
        start(&starts);
        while starts.get().unwrap() < 100 {
            std::thread::yield_now();
        }
        panic!("after all")
    };
    let running = pool.apply_async(wait_and_fail, starts.clone()).unwrap();
    eventually(LIMIT, "it runs", || starts.get().unwrap() == 1);
    pool.cancel_not_started();
    starts.set(100).unwrap();
    let error = within(LIMIT, move || running.get().unwrap_err());
    assert_eq!(error.panic().unwrap().message, "after all");
    assert_eq!(starts.get().unwrap(), 100);
    drop(starts);
    finish(pool);
    oracle.finish();
}
