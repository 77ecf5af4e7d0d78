//! Tasks that are cancelled, or take too long: what becomes of them, and of all others.
#![allow(clippy::print_stdout, reason = "the figures")]

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
    println!("{late}");
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
