//! Workers that are killed: what their tasks, the other tasks and the pool see of it.
#![allow(clippy::print_stdout, reason = "the figures")]

mod common;

use std::time::{Duration, Instant};

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Pool, TaskError};
use multiproc_process::Process;
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{Percentiles, SIGKILL, SIGSTOP, eventually, forever, kill, within};

/// Kills in the middle of a map: how many, and what would be a defect, not a slow machine.
const KILLS: usize = 200;
const SLOW: Duration = Duration::from_secs(1);

/// Stops a process, and waits until it is: until then it can still start something.
fn stop(pid: u32) {
    kill(pid, SIGSTOP).unwrap();
    eventually(LIMIT, "the process is stopped", || {
        multiproc_testkit::process_state(pid) == Some('T')
    });
}

/// So many, or as many as `MULTIPROC_KILL_ROUNDS` asks for.
fn rounds(usual: usize) -> usize {
    std::env::var("MULTIPROC_KILL_ROUNDS").map_or(usual, |rounds| rounds.parse().unwrap())
}

/// Says who runs item 500, and stays there until it is killed. The others are counted.
fn until_killed((told, n): (SharedArray<u32>, u32)) -> u32 {
    if n == 500 {
        told.lock().unwrap()[0] = std::process::id();
        forever();
    }
    told.lock().unwrap()[1] += 1;
    n
}

#[test]
fn a_killed_worker_costs_one_task_of_a_thousand_at_once() {
    let oracle = oracle();
    let mut told_after =
        Percentiles::new("worker killed to its error, the other 999 results there");
    for _ in 0..rounds(KILLS) {
        let pool = Pool::new(2).unwrap();
        let told = SharedArray::<u32>::zeroed(2).unwrap();
        let items = (0..1000).map(|n| (told.clone(), n)).collect::<Vec<_>>();
        let killer = {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut victim = 0;
                eventually(LIMIT, "item 500 runs alone", || {
                    let told = told.lock().unwrap();
                    victim = told[0];
                    victim != 0 && told[1] == 999
                });
                let killed = Instant::now();
                kill(victim, SIGKILL).unwrap();
                (victim, killed)
            })
        };
        let (results, ended) = within(LIMIT, move || {
            let results = pool.map_results(until_killed, items).unwrap();
            let ended = Instant::now();
            drop(pool);
            (results, ended)
        });
        let (victim, killed) = killer.join().unwrap();
        for (n, result) in (0..).zip(&results) {
            match result {
                Ok(value) => assert_eq!(*value, n),
                Err(TaskError::WorkerLost {
                    pid, status, task, ..
                }) => {
                    assert_eq!((*pid, status.signal(), *task), (victim, Some(SIGKILL), 500));
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 999);
        told_after.add(ended.duration_since(killed));
        drop(told);
    }
    // The figure is what counts; a machine that does other things too is no failure.
    told_after.report();
    assert!(told_after.p50() <= SLOW, "{told_after}");
    oracle.finish();
}

#[test]
fn an_idle_worker_that_is_killed_fails_nothing_and_is_replaced() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let mut known = 0;
    for _ in 0..rounds(50) {
        let victim = pool.apply(pid, ()).unwrap();
        assert_ne!(known, victim, "a dead worker answered");
        known = victim;
        kill(victim, SIGKILL).unwrap();
        assert_eq!(pool.map(|n: u8| n, 0..20).unwrap().len(), 20);
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn all_workers_killed_at_once_are_replaced() {
    let oracle = oracle();
    let pool = Pool::new(4).unwrap();
    for _ in 0..rounds(10) {
        let here = SharedValue::new(0_u32).unwrap();
        let meet = |here: SharedValue<u32>| {
            *here.lock().unwrap() += 1;
            while here.get().unwrap() < 4 {
                std::thread::yield_now();
            }
            std::process::id()
        };
        let pids = pool.map(meet, vec![here.clone(); 4]).unwrap();
        pids.iter().for_each(|pid| kill(*pid, SIGKILL).unwrap());
        assert!(pool.map(|n: u32| n, 0..100).unwrap().into_iter().eq(0..100));
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn killed_while_it_writes_a_large_result_it_hangs_nothing() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let large = |told: SharedValue<u32>| {
        told.set(std::process::id()).unwrap();
        vec![1_u8; 64 << 20]
    };
    for round in 0..20_u64 {
        let told = SharedValue::new(0_u32).unwrap();
        let task = pool.apply_async(large, told.clone()).unwrap();
        let victim = {
            let told = told.clone();
            within(LIMIT, move || {
                loop {
                    match told.get().unwrap() {
                        0 => std::thread::yield_now(),
                        pid => break pid,
                    }
                }
            })
        };
        multiproc_testkit::linger(Duration::from_millis(round * 5));
        kill(victim, SIGKILL).unwrap();
        match within(LIMIT, move || task.get()) {
            Ok(whole) => assert_eq!(whole.len(), 64 << 20),
            Err(TaskError::WorkerLost { pid, .. }) => assert_eq!(pid, victim),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(pool.apply(|n: u8| n, 1).unwrap(), 1);
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn random_kills_settle_every_task_exactly_once() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let work = |(starts, n): (SharedArray<u32>, usize)| {
        starts
            .lock()
            .unwrap_or_else(multiproc_shm::PoisonError::into_inner)[n] += 1;
        std::process::id()
    };
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut chance = seed;
    for _ in 0..rounds(60) {
        let starts = SharedArray::<u32>::zeroed(300).unwrap();
        let victims = pool.map(pid, [(); 3]).unwrap();
        let running = pool
            .map_async(
                work,
                (0..300).map(|n| (starts.clone(), n)).collect::<Vec<_>>(),
            )
            .unwrap();
        for victim in victims {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            multiproc_testkit::linger(Duration::from_micros(chance >> 54));
            // It may be gone already: two of the three may have been one.
            let _killed = kill(victim, SIGKILL);
        }
        let results = within(LIMIT, move || running.get_results().unwrap());
        assert_eq!(results.len(), 300);
        let starts = starts
            .to_vec()
            .unwrap_or_else(multiproc_shm::PoisonError::into_inner);
        for (n, result) in results.iter().enumerate() {
            match result {
                Ok(_) => assert_eq!(starts[n], 1, "task {n} ran {} times", starts[n]),
                Err(TaskError::WorkerLost { .. }) => assert!(starts[n] <= 1),
                Err(other) => panic!("{n}: {other}"),
            }
        }
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn one_long_task_strands_nothing_behind_it() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    // The first item waits for all the others, which are queued behind it.
    let task = |(gate, n): (SharedValue<u32>, u32)| {
        if n == 0 {
            while gate.get().unwrap() < 200 {
                std::thread::yield_now();
            }
        } else {
            *gate.lock().unwrap() += 1;
        }
        n
    };
    let items: Vec<_> = (0..=200).map(|n| (gate.clone(), n)).collect();
    let results = within(LIMIT, move || {
        let results = pool.map(task, items).unwrap();
        finish(pool);
        results
    });
    assert!(results.into_iter().eq(0..=200));
    drop(gate);
    oracle.finish();
}

#[test]
fn a_stopped_worker_strands_only_what_it_runs() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let victim = pool.apply(pid, ()).unwrap();
    stop(victim);
    let (pool, results) = within(LIMIT, move || {
        let running = pool.map_async(|n: u32| n, 0..500).unwrap();
        // The other worker does all that the stopped one has not claimed before it stopped.
        let results = running.get().unwrap();
        (pool, results)
    });
    assert!(results.into_iter().eq(0..500));
    drop(pool);
    oracle.finish();
}

fn pool_with_busy_workers(output: SharedArray<u32>) {
    let pool = Pool::new(2).unwrap();
    fn busy((pids, n): (SharedArray<u32>, usize)) {
        pids.lock().unwrap()[n] = std::process::id();
        forever()
    }
    let _running = pool
        .map_async(busy, vec![(output.clone(), 0), (output, 1)])
        .unwrap();
    forever()
}

#[test]
fn a_killed_parent_takes_its_busy_workers_along() {
    let oracle = oracle().with_orphans();
    let mut gone = Percentiles::new("parent killed to its pool's workers gone");
    for _ in 0..20 {
        let pids = SharedArray::<u32>::zeroed(2).unwrap();
        let parent = Process::spawn(pool_with_busy_workers, pids.clone()).unwrap();
        let mut workers = vec![];
        eventually(LIMIT, "the workers are busy", || {
            workers = pids.to_vec().unwrap();
            !workers.contains(&0)
        });
        let killed = Instant::now();
        kill(parent.pid(), SIGKILL).unwrap();
        eventually(LIMIT, "the workers are gone", || {
            !workers.iter().any(|pid| multiproc_testkit::alive(*pid))
        });
        gone.add(killed.elapsed());
        parent.join().unwrap_err();
        drop(pids);
    }
    gone.report();
    assert!(gone.p50() <= SLOW, "{gone}");
    oracle.finish();
}

#[test]
fn a_pool_whose_workers_cannot_be_replaced_gives_up_with_an_error() {
    let oracle = oracle();
    // In a process of its own, for the limit's sake.
    let told = Process::spawn(
        |()| {
            let pool = Pool::new(1).unwrap();
            let worker = pool.apply(pid, ()).unwrap();
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            let limit = libc::rlimit {
                rlim_cur: open - 1,
                rlim_max: open - 1,
            };
            // SAFETY: `limit` is live.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
            kill(worker, SIGKILL).unwrap();
            let error = pool.apply(|n: u8| n, 1).unwrap_err();
            let again = pool.apply(|n: u8| n, 1).unwrap_err();
            assert_eq!(error, again);
            (
                matches!(error, TaskError::RestartLimit { .. }),
                error.to_string(),
            )
        },
        (),
    );
    let (limited, text) = within(LIMIT, move || told.unwrap().join().unwrap());
    assert!(limited && text.contains("given up"), "{text}");
    oracle.finish();
}

#[test]
fn a_stopped_worker_strands_nothing_of_who_only_polls_or_follows() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    let hold = |gate: SharedValue<u32>| {
        while gate.get().unwrap() == 0 {
            std::thread::yield_now();
        }
    };
    let victim = pool.apply(pid, ()).unwrap();
    stop(victim);
    // One thread drives and sleeps; another only polls; a third follows.
    std::thread::scope(|scope| {
        let driver = scope.spawn(|| pool.apply(hold, gate.clone()));
        for n in 0..20_u32 {
            let polled = pool.apply_async(|n: u32| n, n).unwrap();
            eventually(LIMIT, "the polled task is done", || polled.ready());
            assert_eq!(polled.get().unwrap(), n);
            assert_eq!(pool.apply(|n: u32| n, n).unwrap(), n);
        }
        gate.set(1).unwrap();
        driver.join().unwrap().unwrap();
    });
    drop((pool, gate));
    oracle.finish();
}

#[test]
fn a_pool_without_descriptors_to_spare_goes_on_with_the_workers_it_has() {
    let oracle = oracle();
    let told = Process::spawn(
        |()| {
            let pool = Pool::new(2).unwrap();
            let gate = SharedValue::new(0_u32).unwrap();
            let hold = |gate: SharedValue<u32>| {
                *gate.lock().unwrap() += 1;
                while gate.get().unwrap() != 100 {
                    std::thread::yield_now();
                }
                std::process::id()
            };
            let running = pool.apply_async(hold, gate.clone()).unwrap();
            eventually(LIMIT, "the task runs", || gate.get().unwrap() == 1);
            let idle = pool.apply(pid, ()).unwrap();
            // As many files as there may be.
            let limit = libc::rlimit {
                rlim_cur: 64,
                rlim_max: 64,
            };
            // SAFETY: `limit` is live.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
            let mut files = vec![];
            while let Ok(file) = std::fs::File::open("/dev/null") {
                files.push(file);
            }
            kill(idle, SIGKILL).unwrap();
            multiproc_testkit::linger(Duration::from_millis(1500));
            gate.set(100).unwrap();
            running.get().unwrap();
            assert_eq!(pool.apply(|n: u8| n, 1).unwrap(), 1);
            drop(files);
            // With descriptors again there are two workers again.
            let meet = SharedValue::new(0_u32).unwrap();
            let both = |meet: SharedValue<u32>| {
                *meet.lock().unwrap() += 1;
                while meet.get().unwrap() < 2 {
                    std::thread::yield_now();
                }
            };
            pool.map(both, vec![meet; 2]).unwrap().len()
        },
        (),
    );
    assert_eq!(within(LIMIT, move || told.unwrap().join().unwrap()), 2);
    oracle.finish();
}
