//! What a pool tells of itself: its numbers, its timeline, and the files made of that.
#![allow(clippy::exit, reason = "what tasks do")]

mod common;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, SlowTask, TaskError, TaskOutcome, Timeline};
use multiproc_shm::SharedValue;
use multiproc_testkit::{forever, within};

fn quarter(n: u32) -> u32 {
    assert!(!n.is_multiple_of(4), "no fourths");
    n
}

#[test]
fn every_task_is_counted_once() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.stats().done, 0);
    drop(pool.map_results(quarter, 0..1000).unwrap());
    let kept = pool.map_async(quarter, 0..100).unwrap();
    kept.wait();
    let retrying = pool.with(|policy| policy.retries(2));
    retrying.apply(quarter, 4).unwrap_err();
    let lost = pool.apply(|()| std::process::exit(3), ()).map(|_: ()| ());
    assert!(matches!(lost, Err(TaskError::WorkerLost { .. })));
    drop(
        pool.with(|policy| policy.chunksize(7))
            .map(|n: u32| n, 0..50)
            .unwrap(),
    );
    let stats = pool.stats();
    assert_eq!(
        (stats.done, stats.failed),
        (750 + 75 + 50, 250 + 25 + 1 + 1)
    );
    assert_eq!((stats.retried, stats.in_flight, stats.queued), (2, 0, 0));
    assert!(stats.slowest.is_empty() && pool.timeline().is_none());
    drop((kept, retrying));
    let after = pool.stats();
    assert_eq!((after.done, after.failed), (stats.done, stats.failed));
    finish(pool);
    oracle.finish();
}

#[test]
fn workers_are_told_of() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let gate = SharedValue::new(0_u8).unwrap();
    let pass = |gate: SharedValue<u8>| {
        while gate.get().unwrap() == 0 {
            std::thread::yield_now();
        }
        std::process::id()
    };
    let blocked = pool.map_async(pass, vec![gate.clone(); 5]).unwrap();
    let busy = loop {
        let stats = pool.stats();
        if stats.workers.iter().all(|worker| worker.in_flight > 0) && stats.workers.len() == 2 {
            break stats;
        }
        std::thread::yield_now();
    };
    assert_eq!(busy.in_flight + busy.queued, 5);
    assert!(
        busy.workers
            .iter()
            .all(|worker| worker.start.is_some() && worker.tasks == 0)
    );
    gate.set(1).unwrap();
    let pids: HashSet<u32> = blocked.get().unwrap().into_iter().collect();
    let stats = pool.stats();
    assert_eq!(stats.workers_started, 2);
    assert_eq!(
        stats.workers.iter().map(|worker| worker.tasks).sum::<u64>(),
        5
    );
    let known: HashSet<u32> = stats.workers.iter().map(|worker| worker.pid).collect();
    assert!(pids.is_subset(&known));
    for (before, after) in busy.workers.iter().zip(&stats.workers) {
        assert!(after.busy >= before.busy && after.busy > Duration::ZERO);
    }
    let text = stats.to_string();
    assert!(text.contains("5 done, 0 failed") && text.contains(&stats.workers[0].pid.to_string()));
    drop(gate);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_timeline_has_every_task_where_and_when_it_ran() {
    let oracle = oracle();
    let pool = Pool::builder().workers(2).timeline(10_000).build().unwrap();
    let nap = |(n, millis): (u32, u64)| {
        let end = Instant::now() + Duration::from_millis(millis);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        quarter(n)
    };
    drop(
        pool.map_results(nap, (1..=20).map(|n| (n, u64::from(n == 7) * 30)))
            .unwrap(),
    );
    pool.apply(|()| std::process::exit(3), ())
        .map(|_: ()| ())
        .unwrap_err();
    drop(
        pool.with(|policy| policy.chunksize(25))
            .map(|n: u32| n, 0..100)
            .unwrap(),
    );
    drop(
        pool.map(|text: Vec<u8>| text, vec![vec![1; 3 << 20]; 2])
            .unwrap(),
    );
    let stats = pool.stats();
    let timeline = pool.timeline().unwrap();
    check(&timeline);
    assert_eq!((timeline.forgotten, timeline.implausible), (0, 0));
    let count = |call, outcome| {
        let tasks = timeline.tasks.iter();
        let found = tasks.filter(|task| task.call == call && task.outcome == outcome);
        found.map(|task| task.items).sum::<usize>()
    };
    assert_eq!(count(1, TaskOutcome::Returned), 15);
    assert_eq!(count(1, TaskOutcome::Panicked), 5);
    assert_eq!(count(2, TaskOutcome::Lost), 1);
    assert_eq!(count(3, TaskOutcome::Returned), 100);
    assert_eq!(count(4, TaskOutcome::Returned), 2);
    assert_eq!(
        timeline.tasks.iter().filter(|task| task.call == 3).count(),
        4
    );
    let lost = timeline
        .tasks
        .iter()
        .find(|task| task.outcome == TaskOutcome::Lost)
        .unwrap();
    assert!(timeline.workers[lost.worker].ended.is_some());
    let is_nap = |slow: &&SlowTask| (slow.call, slow.item) == (1, 6);
    let slow = stats.slowest.iter().find(is_nap).unwrap();
    assert!(slow.took >= Duration::from_millis(30), "{slow:?}");
    assert_eq!(slow.argument.as_deref(), Some("(7, 30)"));
    let svg = timeline.to_svg();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("lost with its worker") && svg.contains("panicked"));
    check_trace(&timeline);
    finish(pool);
    oracle.finish();
}

/// That tasks of one worker do not overlap, nor lie outside its life.
fn check(timeline: &Timeline) {
    for (number, worker) in timeline.workers.iter().enumerate() {
        let mut tasks: Vec<_> = timeline
            .tasks
            .iter()
            .filter(|task| task.worker == number)
            .collect();
        tasks.sort_by_key(|task| task.started);
        let mut before = worker.ready.unwrap_or(worker.started).min(worker.started);
        for task in tasks {
            assert!(
                task.started >= before && task.ended >= task.started,
                "{task:?}"
            );
            before = task.ended;
        }
        assert!(worker.ended.is_none_or(|ended| ended >= before));
    }
}

fn check_trace(timeline: &Timeline) {
    let trace: serde_json::Value = serde_json::from_str(&timeline.to_chrome_trace()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let tasks: Vec<_> = events
        .iter()
        .filter(|event| event["cat"] == "task")
        .collect();
    assert_eq!(tasks.len(), timeline.tasks.len());
    for (event, task) in tasks.into_iter().zip(&timeline.tasks) {
        assert_eq!(event["ph"], "X");
        assert_eq!(event["tid"].as_u64(), Some(task.worker as u64));
        let micros = event["ts"].as_f64().unwrap();
        assert!((micros - task.started.as_secs_f64() * 1e6).abs() < 0.002);
        assert_eq!(event["args"]["item"].as_u64(), Some(task.item as u64));
    }
}

#[test]
fn what_runs_is_in_the_timeline_and_ends_with_its_worker() {
    let oracle = oracle();
    let pool = Pool::builder().workers(1).timeline(16).build().unwrap();
    let task = pool.apply_async(|()| -> () { forever() }, ()).unwrap();
    let running = loop {
        let timeline = pool.timeline().unwrap();
        if let Some(task) = timeline.tasks.first() {
            break task.clone();
        }
        std::thread::yield_now();
    };
    assert_eq!(running.outcome, TaskOutcome::Running);
    task.cancel();
    drop(task);
    within(LIMIT, {
        let pool = pool.with(|policy| policy);
        move || assert_eq!(pool.apply(|n: u8| n, 1), Ok(1))
    });
    let timeline = pool.timeline().unwrap();
    assert_eq!(timeline.tasks[0].outcome, TaskOutcome::Lost);
    assert_eq!(timeline.workers.len(), 2);
    assert_eq!(timeline.workers[0].seat, timeline.workers[1].seat);
    check(&timeline);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_timeline_and_its_picture_are_bounded() {
    let oracle = oracle();
    let pool = Pool::builder().workers(2).timeline(5_000).build().unwrap();
    drop(pool.map(|n: u32| n, 0..40_000).unwrap());
    let timeline = pool.timeline().unwrap();
    assert_eq!((timeline.tasks.len(), timeline.forgotten), (5_000, 35_000));
    check(&timeline);
    let mut most = timeline.clone();
    // Many more tasks make no larger a picture, be it that they all went wrong.
    for task in &timeline.tasks {
        let wrong = [TaskOutcome::Panicked, TaskOutcome::Failed].map(|outcome| {
            let mut task = task.clone();
            task.outcome = outcome;
            task
        });
        most.tasks.extend(wrong.into_iter().cycle().take(20));
    }
    for timeline in [&timeline, &most] {
        let svg = timeline.to_svg();
        // Two lanes of a thousand columns, in each a bar and what may have gone wrong.
        assert!(svg.len() < 2 * 1016 * 3 * 250, "{}", svg.len());
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn progress_is_reported_from_none_to_all() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let mut seen = Vec::new();
    let task = pool.map_async(quarter, 1..=20_000).unwrap();
    let error = task.get_with_progress(Duration::ZERO, |progress| {
        seen.push((progress.settled(), progress.total));
        assert!((0.0..=1.0).contains(&progress.fraction()) && progress.rate() >= 0.0);
        if progress.settled() == progress.total {
            assert_eq!((progress.done, progress.failed), (15_000, 5_000));
        }
    });
    assert!(error.unwrap_err().panic().is_some());
    assert!(seen.is_sorted() && seen.iter().all(|(_, total)| *total == 20_000));
    assert_eq!(seen.last(), Some(&(20_000, 20_000)));
    let none = pool.map_async(quarter, Vec::<u32>::new()).unwrap();
    assert_eq!(none.progress().fraction(), 1.0);
    let nothing = none.get_with_progress(Duration::from_secs(60), |progress| {
        assert_eq!((progress.settled(), progress.remaining()), (0, None));
    });
    assert_eq!(nothing, Ok(vec![]));
    let task = pool.map_async(quarter, [1]).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        task.get_with_progress(LIMIT, |_| panic!("a reporter's own affair"))
    }));
    assert!(panicked.is_err());
    assert_eq!(pool.apply(quarter, 1), Ok(1));
    finish(pool);
    oracle.finish();
}

#[test]
fn tasks_with_a_state_are_told_of_by_what_they_are_given() {
    let oracle = oracle();
    let pool = Pool::builder().workers(1).timeline(100).build().unwrap();
    pool.map_with(
        &7_u64,
        |base: &mut u64, text: String| *base + text.len() as u64,
        ["abc"],
    )
    .unwrap();
    pool.fold(
        0,
        |sum: &mut u64, n: u64| *sum += n,
        |sum, more| *sum += more,
        [1_u64, 2],
    )
    .unwrap();
    let stats = pool.stats();
    let told = |call| {
        let slow = stats.slowest.iter().filter(|slow| slow.call == call);
        let mut told: Vec<_> = slow
            .map(|slow| {
                (
                    slow.function.replace("'_ ", ""),
                    slow.argument.clone().unwrap(),
                )
            })
            .collect();
        told.sort();
        told
    };
    let has = |call, function: &str, argument: &str| {
        assert_eq!(told(call)[0], (function.to_string(), argument.to_string()));
    };
    has(1, "fn(&mut u64, alloc::string::String) -> u64", "\"abc\"");
    has(2, "fn(&mut u64, u64)", "[1]");
    finish(pool);
    oracle.finish();
}
