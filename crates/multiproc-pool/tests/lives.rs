//! How long workers live: how many tasks, how much memory, how long without a task, how many of them there are.
#![allow(clippy::exit, reason = "what workers do")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Failure, Pool, TaskError};
use multiproc_process::{Process, StartMethod, Stdio};
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{Oracle, SIGKILL, alive, eventually, forever, kill, within};

#[test]
fn a_worker_runs_so_many_tasks_and_no_more() {
    let oracle = oracle();
    for most in [1, 3, 10] {
        let pool = Pool::builder()
            .workers(3)
            .max_tasks_per_worker(most)
            .build()
            .unwrap();
        let task = pool.map_async(pid, vec![(); 60]).unwrap();
        let pids = within(LIMIT, move || task.get().unwrap());
        for pid in &pids {
            let ran = pids.iter().filter(|other| *other == pid).count();
            assert!(ran as u64 <= most, "{ran} tasks of {most} in one worker");
        }
        finish(pool);
    }
    oracle.finish();
}

#[test]
fn a_worker_that_leaks_is_replaced() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(1)
        .max_memory_per_worker(64 << 20)
        .build()
        .unwrap();
    let leak = |_: ()| {
        Box::leak(vec![1_u8; 3 << 20].into_boxed_slice());
        std::process::id()
    };
    let task = pool.map_async(leak, vec![(); 100]).unwrap();
    let pids = within(LIMIT, move || task.get().unwrap());
    assert!(pids.iter().collect::<HashSet<_>>().len() >= 2);
    finish(pool);
    oracle.finish();
}

#[test]
fn workers_are_started_on_demand_and_end_when_idle() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(4)
        .on_demand(true)
        .idle_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    for _ in 0..3 {
        let one: HashSet<u32> = (0..3).map(|_| pool.apply(pid, ()).unwrap()).collect();
        assert_eq!(one.len(), 1, "one after the other, one worker is enough");
        let here = SharedValue::new(0_u32).unwrap();
        let meet = |here: SharedValue<u32>| {
            *here.lock().unwrap() += 1;
            while here.get().unwrap() < 4 {
                std::thread::yield_now();
            }
            std::process::id()
        };
        let task = pool.map_async(meet, vec![here.clone(); 4]).unwrap();
        let pids = within(LIMIT, move || task.get().unwrap());
        assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 4);
        eventually(LIMIT, "all have ended", || {
            !pids.iter().any(|pid| alive(*pid))
        });
        drop(here);
    }
    assert_eq!(
        pool.broadcast(pid, ()).unwrap().len(),
        4,
        "each has a worker for that"
    );
    finish(pool);
    oracle.finish();
}

#[test]
fn a_pool_becomes_larger_and_smaller_while_it_works() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let first = pool.apply(pid, ()).unwrap();
    pool.resize(3).unwrap();
    assert_eq!(pool.workers(), 3);
    let all = pool.broadcast(pid, ()).unwrap();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 3);
    assert!(all.contains(&first), "the first stays");
    // One is busy: it stays, and the others go.
    let gate = SharedValue::new(0_u32).unwrap();
    let hold = |gate: SharedValue<u32>| {
        gate.set(std::process::id()).unwrap();
        while gate.get().unwrap() != 1 {
            std::thread::yield_now();
        }
        std::process::id()
    };
    let running = pool.apply_async(hold, gate.clone()).unwrap();
    let mut busy = 0;
    eventually(LIMIT, "one is busy", || {
        busy = gate.get().unwrap();
        busy != 0
    });
    pool.resize(1).unwrap();
    eventually(LIMIT, "the others have ended", || {
        all.iter().filter(|pid| alive(**pid)).count() == 1
    });
    gate.set(1).unwrap();
    assert_eq!(within(LIMIT, move || running.get().unwrap()), busy);
    assert_eq!(pool.apply(pid, ()).unwrap(), busy);
    for workers in [2, 1, 4, 2, 3] {
        let running = pool.map_async(|n: u32| n, 0..2000).unwrap();
        pool.resize(workers).unwrap();
        assert!(
            within(LIMIT, move || running.get().unwrap())
                .into_iter()
                .eq(0..2000)
        );
        let told = pool.broadcast_async(pid, ()).unwrap();
        assert_eq!(within(LIMIT, move || told.get().unwrap()).len(), workers);
    }
    assert!(pool.resize(0).is_err());
    drop(gate);
    finish(pool);
    oracle.finish();
}

#[test]
fn resizing_settles_what_was_for_a_worker_that_goes() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let pids = SharedArray::<u32>::zeroed(2).unwrap();
    fn hold((pids, n): (SharedArray<u32>, usize)) {
        pids.lock().unwrap()[n] = std::process::id();
        while pids.lock().unwrap()[n] != 1 {
            std::thread::yield_now();
        }
    }
    let items: Vec<_> = (0..2).map(|n| (pids.clone(), n)).collect();
    let running = pool.map_async(hold, items).unwrap();
    eventually(LIMIT, "both are busy", || {
        !pids.to_vec().unwrap().contains(&0)
    });
    let told = pool.broadcast_async(pid, ()).unwrap();
    pool.resize(1).unwrap();
    pids.lock().unwrap().fill(1);
    let results = within(LIMIT, move || told.get_results().unwrap());
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.contains(&Err(TaskError::Cancelled)));
    within(LIMIT, move || running.get().unwrap());
    drop(pids);
    finish(pool);
    oracle.finish();
}

#[test]
fn an_initializer_that_fails_is_told_of_and_one_that_does_not_is_run_once() {
    let oracle = oracle();
    let times = SharedValue::new(0_u32).unwrap();
    let count = |times: SharedValue<u32>| -> Result<(), Failure> {
        *times.lock().unwrap() += 1;
        Ok(())
    };
    let pool = Pool::builder()
        .workers(2)
        .initializer(count, times.clone())
        .build()
        .unwrap();
    assert_eq!(pool.broadcast(pid, ()).unwrap().len(), 2);
    assert_eq!(times.get().unwrap(), 2);
    finish(pool);
    drop(times);

    fn refuse(path: String) -> Result<(), Failure> {
        std::fs::read(path)?;
        Ok(())
    }
    let pool = Pool::builder()
        .workers(2)
        .start_limit(3)
        .initializer(refuse, "/no/such/file".to_string())
        .build()
        .unwrap();
    let task = pool.apply_async(pid, ()).unwrap();
    let error = within(LIMIT, move || task.get().unwrap_err());
    assert!(
        matches!(&error, TaskError::RestartLimit { last, .. } if last.contains("No such file")),
        "{error}"
    );
    drop(pool);
    oracle.finish();
}

#[test]
fn a_finalizer_is_run_by_each_worker_and_its_error_is_the_joins() {
    let oracle = oracle();
    let times = SharedValue::new(0_u32).unwrap();
    let count = |times: SharedValue<u32>| *times.lock().unwrap() += 1;
    let pool = Pool::builder()
        .workers(2)
        .max_tasks_per_worker(5)
        .finalizer(count, times.clone())
        .build()
        .unwrap();
    assert_eq!(pool.map(|n: u32| n, 0..20).unwrap().len(), 20);
    finish(pool);
    assert!(times.get().unwrap() >= 4, "{times:?}");
    drop(times);
    for finalizer in [
        |_: ()| -> Result<(), Failure> { Err("the lights are still on".into()) },
        |_: ()| -> Result<(), Failure> { panic!("the lights are still on") },
    ] {
        let pool = Pool::builder()
            .workers(2)
            .finalizer(finalizer, ())
            .build()
            .unwrap();
        assert_eq!(pool.apply(|n: u8| n, 1), Ok(1));
        let error = within(LIMIT, move || {
            pool.close();
            pool.join().unwrap_err()
        });
        assert!(
            error.to_string().contains("the lights are still on"),
            "{error}"
        );
    }
    oracle.finish();
}

#[test]
fn workers_that_are_killed_are_replaced_within_every_rule() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .on_demand(true)
        .max_tasks_per_worker(4)
        .idle_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let die = |n: u32| -> u32 {
        match n % 7 {
            0 => std::process::exit(1),
            3 => {
                kill(std::process::id(), SIGKILL).unwrap();
                forever()
            }
            _ => n,
        }
    };
    for _ in 0..5 {
        let task = pool.map_async(die, 0..40).unwrap();
        let results = within(LIMIT, move || task.get_results().unwrap());
        for (n, result) in (0..).zip(results) {
            match n % 7 {
                0 | 3 => assert!(matches!(result, Err(TaskError::WorkerLost { .. }))),
                _ => assert_eq!(result, Ok(n)),
            }
        }
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn what_a_worker_wrote_last_is_in_its_tasks_error_and_no_more_than_asked() {
    let oracle = oracle_with_capture();
    let pool = Pool::builder().workers(2).stderr_tail(40).build().unwrap();
    let complain = |n: u32| {
        use std::io::Write;
        for line in 0..n {
            writeln!(std::io::stderr(), "complaint {line:>20}").unwrap();
        }
        if n > 0 {
            std::process::abort();
        }
    };
    let error = pool.apply(complain, 100).unwrap_err();
    let TaskError::WorkerLost { stderr, .. } = &error else {
        panic!("{error}")
    };
    assert!(stderr.len() <= 40 && stderr.ends_with("99"), "{stderr:?}");
    let text = error.to_string();
    assert!(text.contains("SIGABRT") && text.ends_with(stderr), "{text}");
    assert_eq!(pool.apply(complain, 0), Ok(()));
    finish(pool);
    oracle.finish();
}

/// The oracle, once what captures streams, which stays, is there too.
fn oracle_with_capture() -> Oracle {
    Oracle::after(|| {
        let captured = Process::builder().stderr(Stdio::captured());
        let child = captured.spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}

#[test]
fn workers_may_be_forked_by_a_server() {
    let oracle = oracle();
    let in_a_process = |()| {
        let pool = Pool::builder()
            .workers(2)
            .start_method(StartMethod::ForkServer)
            .niceness(5)
            .build()
            .unwrap();
        for _ in 0..10 {
            let pids = pool.broadcast(pid, ()).unwrap();
            kill(pids[0], SIGKILL).unwrap();
            assert!(pool.map(|n: u32| n, 0..100).unwrap().into_iter().eq(0..100));
        }
        pool.close();
        pool.join().unwrap();
    };
    // In a process of its own, since the server stays as long as its process.
    let child = Process::spawn(in_a_process, ()).unwrap();
    within(LIMIT, move || child.join().unwrap());
    oracle.finish();
}

#[test]
fn a_pool_on_demand_that_is_closed_at_once_still_does_what_it_was_given() {
    let oracle = oracle();
    for workers in [1, 3] {
        let pool = Pool::builder()
            .workers(workers)
            .on_demand(true)
            .max_tasks_per_worker(2)
            .build()
            .unwrap();
        let running = pool.map_async(|n: u32| n, 0..20).unwrap();
        let told = pool.broadcast_async(pid, ()).unwrap();
        finish(pool);
        assert!(running.get().unwrap().into_iter().eq(0..20));
        assert_eq!(told.get().unwrap().len(), workers);
    }
    // One that was never used has no worker at all.
    let pool = Pool::builder().workers(4).on_demand(true).build().unwrap();
    assert!(pool.worker_pids().is_empty());
    finish(pool);
    oracle.finish();
}
