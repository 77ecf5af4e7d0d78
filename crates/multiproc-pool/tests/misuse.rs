//! What bad use of a pool gets: an error that says so, and a pool that goes on.

mod common;

use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Chunks, Pool, ReturnWhen, TaskError, wait};
use multiproc_process::Process;
use multiproc_shm::{Event, SharedValue};
use multiproc_testkit::{eventually, forever, within};
use serde::{Deserialize, Deserializer, Serialize};

#[test]
fn what_cannot_be_is_refused_before_anything_is_started() {
    let oracle = oracle();
    for (builder, says) in [
        (Pool::builder().workers(0), "at least one worker"),
        (Pool::builder().workers(1 << 20), "more than a machine"),
        (Pool::builder().max_tasks_per_worker(0), "at least one task"),
        (Pool::builder().max_pending(0), "at least one task"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    oracle.finish();
}

#[test]
fn a_chunk_of_nothing_is_an_error_of_its_call() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    for chunks in [Chunks::Of(0), Chunks::PerWorker(0), Chunks::from(0)] {
        let odd = pool.with(|policy| policy.chunksize(chunks));
        assert_eq!(odd.map(|n: u8| n, [1]), Err(TaskError::NoChunk));
        let folded = odd.fold(0, |sum: &mut u8, n: u8| *sum += n, |sum, n| *sum += n, [1]);
        assert_eq!(folded, Err(TaskError::NoChunk));
    }
    assert_eq!(pool.map(|n: u8| n, [1]), Ok(vec![1]));
    finish(pool);
    oracle.finish();
}

#[test]
fn an_input_that_panics_is_its_callers_and_sends_nothing() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let ran = SharedValue::new(0_u32).unwrap();
    let count = |ran: SharedValue<u32>| *ran.lock().unwrap() += 1;
    let input = (0..5).map(|n| {
        if n == 3 {
            std::panic::panic_any("no more");
        }
        ran.clone()
    });
    let calls = std::panic::AssertUnwindSafe(|| pool.map(count, input));
    let panic = std::panic::catch_unwind(calls).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"no more"));
    assert_eq!(pool.map(|n: u8| n, 0..10).unwrap().len(), 10);
    assert_eq!(ran.get().unwrap(), 0);
    // A lazy map gives what came before.
    let input = (0..5_u32).inspect(|n| {
        if *n == 3 {
            std::panic::panic_any("no more");
        }
    });
    let mut lazy = pool.imap(|n: u32| n, input).window(1);
    assert!(lazy.by_ref().take(3).map(Result::unwrap).eq(0..3));
    let next = std::panic::AssertUnwindSafe(|| lazy.next());
    assert!(std::panic::catch_unwind(next).is_err());
    assert_eq!(pool.apply(|n: u8| n, 1), Ok(1));
    drop((ran, lazy));
    finish(pool);
    oracle.finish();
}

#[test]
fn a_closed_pool_takes_nothing_and_an_open_one_is_not_joined() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let error = pool.join().unwrap_err().to_string();
    assert!(error.contains("still open"), "{error}");
    assert_eq!(pool.apply(|n: u8| n, 1), Ok(1));
    pool.close();
    for refused in [
        pool.apply(|n: u8| n, 1).map(drop),
        pool.map_async(|n: u8| n, [1]).map(drop),
        pool.broadcast(|n: u8| n, 1).map(drop),
        pool.map_with(&1_u8, |a: &mut u8, b: u8| *a + b, [1])
            .map(drop),
        pool.imap(|n: u8| n, [1]).next().unwrap().map(drop),
    ] {
        assert_eq!(refused, Err(TaskError::PoolClosed));
    }
    assert!(pool.resize(3).unwrap_err().to_string().contains("closed"));
    pool.join().unwrap();
    pool.join().unwrap();
    drop(pool);
    oracle.finish();
}

#[derive(Serialize)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Unreadable, D::Error> {
        Err(serde::de::Error::custom("it is not to be read"))
    }
}

#[test]
fn what_cannot_be_decoded_is_its_tasks_error_on_either_side() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(|_: Unreadable| 1_u8, Unreadable).unwrap_err();
    assert!(
        matches!(&error, TaskError::ArgumentsLost(why) if why.contains("Unreadable")),
        "{error}"
    );
    let error = pool.apply(|_: u8| Unreadable, 1).map(drop).unwrap_err();
    assert!(matches!(&error, TaskError::Decode(_)), "{error}");
    assert_eq!(pool.apply(|n: u8| n, 1), Ok(1));
    finish(pool);
    oracle.finish();
}

#[test]
fn a_wait_of_no_time_is_over_at_once() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    // There is no negative `Duration`; the shortest is none at all.
    let mut task = pool.apply_async(|()| -> u8 { forever() }, ()).unwrap();
    assert_eq!(task.get_timeout(Duration::ZERO), Err(TaskError::NotReady));
    assert!(!task.wait_timeout(Duration::ZERO));
    task.cancel();
    drop(task);
    let timed = pool.with(|policy| policy.task_timeout(Duration::ZERO));
    let task = timed.apply_async(|()| -> u8 { forever() }, ()).unwrap();
    let error = within(LIMIT, move || task.get().unwrap_err());
    assert_eq!(
        error,
        TaskError::TimedOut {
            after: Duration::ZERO
        }
    );
    assert_eq!(pool.apply(|n: u8| n, 1), Ok(1));
    drop(timed);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_task_that_waits_for_a_pool_of_its_own_gets_one_of_its_own() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let nested = |n: u32| {
        let inner = Pool::new(2).unwrap();
        inner
            .map(|n: u32| n * n, 0..n)
            .unwrap()
            .into_iter()
            .sum::<u32>()
    };
    assert_eq!(pool.apply(nested, 4), Ok(14));
    finish(pool);
    oracle.finish();
}

/// Of a worker.
static GATE: OnceLock<Event> = OnceLock::new();

fn pass(n: u8) -> u8 {
    GATE.get().unwrap().wait();
    n
}

#[test]
fn a_forked_copy_of_the_program_has_no_part_in_its_parents_pool() {
    let oracle = oracle();
    // In a process of its own, since a test's other threads are not forked.
    let told = Process::spawn(
        |()| {
            let gate = Event::new().unwrap();
            let keep = |gate: Event| drop(GATE.set(gate));
            let pool = Pool::builder().workers(2).initializer(keep, gate.clone());
            let pool = pool.build().unwrap();
            let mut task = pool.apply_async(|n: u8| n, 1).unwrap();
            assert!(task.wait_timeout(LIMIT));
            // One item is with each worker, and others wait there behind it.
            let mut results = pool.imap(pass, 0..6_u8).window(6);
            gate.set();
            assert_eq!(results.next(), Some(Ok(0)));
            gate.clear();
            let open = pool.map_async(pass, [7]).unwrap();
            // SAFETY: the child goes on with this thread alone, takes no lock that another could hold here, and ends
            // by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let refused = pool.apply(|n: u8| n, 1) == Err(TaskError::Forked)
                    && task.get_timeout(LIMIT) == Err(TaskError::Forked)
                    && pool.join().unwrap_err().to_string().contains("forked");
                let refused = refused && results.next() == Some(Err(TaskError::Forked));
                // Whoever waits for what does not come is not left to wait, nor to look again and again.
                open.wait();
                let waited = wait([&open], ReturnWhen::AllCompleted, None);
                let refused = refused
                    && waited.not_done == [0]
                    && !open.ready()
                    && pool.resize(3).is_err()
                    && open.get_with_progress(LIMIT, drop) == Err(TaskError::Forked);
                pool.close();
                pool.terminate();
                drop((results, task, pool));
                // SAFETY: ends this process.
                unsafe { libc::_exit(i32::from(!refused)) };
            }
            let mut status = -1;
            // SAFETY: `status` is live; the child is this process's own.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(waited, child);
            assert_eq!(task.get_timeout(LIMIT), Ok(1));
            gate.set();
            let results: Vec<u8> = results.map(Result::unwrap).collect();
            assert_eq!(results, [1, 2, 3, 4, 5]);
            assert_eq!(open.get(), Ok(vec![7]));
            (status, pool.map(|n: u8| n, 0..10).unwrap().len())
        },
        (),
    );
    let told = within(LIMIT, move || told.unwrap().join().unwrap());
    assert_eq!(told, (0, 10));
    oracle.finish();
}

#[test]
fn any_thread_may_end_a_pool_in_any_order_and_twice() {
    let oracle = oracle();
    for round in 0..12 {
        let pool = Pool::builder()
            .workers(2)
            .grace(Duration::from_millis(20))
            .build()
            .unwrap();
        let begun = SharedValue::new(0_u32).unwrap();
        let hang = |begun: SharedValue<u32>| -> u8 {
            *begun.lock().unwrap() += 1;
            forever()
        };
        // Busy workers, and queues full of large arguments.
        let running = pool.map_async(hang, vec![begun.clone(); 2]).unwrap();
        let large = vec![vec![0_u8; 1 << 20]; 8];
        let queued = pool
            .map_async(|bytes: Vec<u8>| bytes.len(), &large)
            .unwrap();
        eventually(LIMIT, "both run", || begun.get().unwrap() == 2);
        let (tell, told) = mpsc::channel();
        let waiter = std::thread::spawn(move || tell.send(queued.get()).unwrap());
        let pool = within(LIMIT, move || {
            std::thread::scope(|scope| match round % 4 {
                0 => pool.terminate(),
                1 => {
                    pool.close();
                    scope.spawn(|| pool.terminate());
                    pool.terminate();
                }
                2 => {
                    pool.close();
                    assert!(
                        pool.join_timeout(Duration::from_millis(5))
                            .unwrap_err()
                            .is_timeout()
                    );
                    scope.spawn(|| pool.terminate());
                    pool.join().unwrap();
                }
                _ => {
                    scope.spawn(|| pool.close());
                    scope.spawn(|| pool.terminate());
                }
            });
            pool.terminate();
            pool.close();
            pool.join().unwrap();
            pool
        });
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), Err(TaskError::Cancelled));
        waiter.join().unwrap();
        let results = within(LIMIT, move || running.get_results().unwrap());
        assert!(
            results
                .iter()
                .all(|result| *result == Err(TaskError::Cancelled))
        );
        drop((begun, pool));
    }
    oracle.finish();
}
