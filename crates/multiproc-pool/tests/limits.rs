//! Tasks that are cancelled, or take too long: what becomes of them, and of all others.

mod common;

use std::time::{Duration, Instant};

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::SharedValue;
use multiproc_testkit::{Percentiles, alive, eventually, forever, within};

fn spin_with_signals_blocked() {
    // SAFETY: a plain C structure that `sigfillset` fills.
    let mut all = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is live.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: `all` is filled; a null old mask is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) };
    // SAFETY: `all` is filled; the whole process ignores what can be ignored.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    loop {
        std::hint::spin_loop();
    }
}

fn misbehave(how: u32) -> u32 {
    match how {
        1 => forever(),
        2 => spin_with_signals_blocked(),
        3 => {
            // SAFETY: takes no pointer.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        _ => {}
    }
    how
}

#[test]
fn a_task_that_takes_too_long_is_ended_and_no_other() {
    let oracle = oracle();
    let (allowed, grace) = (Duration::from_millis(200), Duration::from_millis(50));
    let mut late =
        Percentiles::new("past deadline and grace until a task that hangs has its error");
    for how in [1, 2, 3] {
        let pool = Pool::builder()
            .workers(2)
            .task_timeout(allowed)
            .grace(grace)
            .build()
            .unwrap();
        pool.map(pid, [(); 20]).unwrap();
        let (results, took) = within(LIMIT, move || {
            let begun = Instant::now();
            let hanging = pool.apply_async(misbehave, how).unwrap();
            let others = pool.map(misbehave, vec![0; 200]).unwrap();
            assert_eq!(others.len(), 200);
            let result = hanging.get();
            let took = begun.elapsed();
            assert_eq!(pool.map(misbehave, vec![0; 20]).unwrap().len(), 20);
            finish(pool);
            (result, took)
        });
        assert_eq!(
            results,
            Err(TaskError::TimedOut { after: allowed }),
            "{how}"
        );
        assert!(took >= allowed);
        late.add(took.saturating_sub(allowed + grace));
    }
    late.report();
    oracle.finish();
}

#[test]
fn tasks_in_time_are_left_alone() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .task_timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    assert_eq!(pool.map(misbehave, vec![0; 5000]).unwrap().len(), 5000);
    finish(pool);
    oracle.finish();
}

#[test]
fn what_is_cancelled_before_it_starts_never_does() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    let wait = |gate: SharedValue<u32>| {
        *gate.lock().unwrap() += 1;
        while gate.get().unwrap() != 100 {
            std::thread::yield_now();
        }
    };
    let running = pool.apply_async(wait, gate.clone()).unwrap();
    eventually(LIMIT, "the first task runs", || gate.get().unwrap() == 1);
    let worker = {
        let count = |gate: SharedValue<u32>| *gate.lock().unwrap() += 1000;
        let queued = pool.map_async(count, vec![gate.clone(); 50]).unwrap();
        queued.cancel();
        queued.cancel();
        assert!(queued.ready());
        let results = within(LIMIT, move || queued.get_results().unwrap());
        assert!(
            results
                .iter()
                .all(|result| *result == Err(TaskError::Cancelled))
        );
        assert_eq!(gate.get().unwrap(), 1);
        gate.set(100).unwrap();
        within(LIMIT, move || running.get().unwrap());
        pool.apply(pid, ()).unwrap()
    };
    assert_eq!(
        pool.apply(pid, ()).unwrap(),
        worker,
        "the worker was left alone"
    );
    assert_eq!(gate.get().unwrap(), 100);
    drop(gate);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_running_task_is_cancelled_with_its_worker() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    for how in [1, 2, 3] {
        let told = SharedValue::new(0_u32).unwrap();
        let task = |(told, how): (SharedValue<u32>, u32)| {
            told.set(std::process::id()).unwrap();
            misbehave(how)
        };
        let task = pool.apply_async(task, (told.clone(), how)).unwrap();
        let mut worker = 0;
        eventually(LIMIT, "the task runs", || {
            worker = told.get().unwrap();
            worker != 0
        });
        let others = pool.map_async(misbehave, vec![0; 100]).unwrap();
        task.cancel();
        assert_eq!(within(LIMIT, move || task.get()), Err(TaskError::Cancelled));
        assert_eq!(within(LIMIT, move || others.get().unwrap().len()), 100);
        eventually(LIMIT, "the worker is gone", || !alive(worker));
        drop(told);
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn cancelling_at_any_moment_settles_every_task_once_and_harms_no_other() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    for round in 0..200_u32 {
        let cancelled = pool.map_async(|n: u32| n, 0..round).unwrap();
        let kept = pool.map_async(|n: u32| n + 1, 0..50).unwrap();
        cancelled.cancel();
        let results = within(LIMIT, move || cancelled.get_results().unwrap());
        for (n, result) in (0..round).zip(&results) {
            assert!(matches!(result, Err(TaskError::Cancelled)) || *result == Ok(n));
        }
        let kept = within(LIMIT, move || kept.get().unwrap());
        assert!(kept.into_iter().eq(1..=50));
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn what_is_cancelled_while_it_runs_takes_nothing_of_its_job_along() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(1)
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    for _ in 0..20 {
        let begun = SharedValue::new(0_u32).unwrap();
        let task = |begun: SharedValue<u32>| -> u8 {
            *begun.lock().unwrap() += 1;
            forever()
        };
        let job = pool.map_async(task, vec![begun.clone(); 4]).unwrap();
        eventually(LIMIT, "one of four runs", || begun.get().unwrap() == 1);
        job.cancel();
        let results = within(LIMIT, move || job.get_results().unwrap());
        assert!(
            results
                .iter()
                .all(|result| *result == Err(TaskError::Cancelled))
        );
        pool.apply(pid, ()).unwrap();
        pool.apply(pid, ()).unwrap();
        assert_eq!(begun.get().unwrap(), 1, "no other of them was begun");
        drop(begun);
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn a_terminated_pool_begins_nothing_more_and_tells_at_once() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::from_millis(300))
        .build()
        .unwrap();
    let begun = SharedValue::new(0_u32).unwrap();
    let task = |begun: SharedValue<u32>| {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        *begun.lock().unwrap() += 1;
        multiproc_testkit::linger(Duration::from_millis(2));
    };
    let job = pool.map_async(task, vec![begun.clone(); 5000]).unwrap();
    eventually(LIMIT, "some have begun", || begun.get().unwrap() >= 20);
    let waiter = std::thread::spawn(move || {
        let results = job.get_results().unwrap();
        (Instant::now(), results.len())
    });
    let told_of = begun.clone();
    let (ended, in_the_end) = within(LIMIT, move || {
        pool.terminate();
        (
            Instant::now(),
            told_of
                .get()
                .unwrap_or_else(multiproc_shm::PoisonError::into_inner),
        )
    });
    let (told, results) = within(LIMIT, move || waiter.join().unwrap());
    assert_eq!(results, 5000);
    assert!(
        told < ended,
        "who waits is told before the workers' grace is over"
    );
    assert!(in_the_end < 1000, "{in_the_end} tasks were begun");
    drop(begun);
    oracle.finish();
}

#[test]
fn an_apply_does_not_wait_behind_a_long_map() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    // Short tasks first, so that many are queued at each worker, then long ones, the first of which tells.
    let reached = SharedValue::new(0_u8).unwrap();
    let task = |(n, tell): (u32, Option<SharedValue<u8>>)| {
        if let Some(tell) = tell {
            tell.set(1).unwrap();
        }
        if n >= 20_000 {
            multiproc_testkit::linger(Duration::from_millis(5));
        }
    };
    let items = (0..25_000).map(|n| (n, (n == 20_000).then(|| reached.clone())));
    let map = pool.map_async(task, items).unwrap();
    eventually(LIMIT, "the long tasks are reached", || {
        let _drives: bool = map.ready();
        reached.get().unwrap() == 1
    });
    drop(reached);
    let mut longest = Percentiles::new("apply beside a map of tasks of 5 ms");
    for _ in 0..10 {
        let begun = Instant::now();
        pool.apply(|n: u8| n, 1).unwrap();
        longest.add(begun.elapsed());
    }
    longest.report();
    assert!(longest.p50() < Duration::from_secs(1), "{longest}");
    map.cancel();
    drop(map);
    finish(pool);
    oracle.finish();
}
