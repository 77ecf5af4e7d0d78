//! What is called with results, and what it may do.

mod common;

use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::SharedValue;
use multiproc_testkit::{SIGKILL, forever, kill, within};

#[test]
fn a_callback_is_told_of_results_and_of_errors_before_and_after() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let (tell, told) = mpsc::channel();
    let task = pool.apply_async(|n: u32| n + 1, 1).unwrap();
    let to = tell.clone();
    task.callback(move |result| to.send(result.map(|n| vec![n])).unwrap())
        .unwrap();
    assert_eq!(told.recv_timeout(LIMIT).unwrap(), Ok(vec![2]));
    let task = pool.map_async(|n: u32| 6 / n, 0..3).unwrap();
    task.wait();
    assert_eq!(task.successful(), Some(false));
    let to = tell.clone();
    task.callback(move |result| to.send(result).unwrap())
        .unwrap();
    let error = told.recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(error.panic().is_some(), "{error}");
    let task = pool
        .apply_async(
            |()| -> u32 {
                kill(std::process::id(), SIGKILL).unwrap();
                forever()
            },
            (),
        )
        .unwrap();
    task.callback(move |result| tell.send(result.map(|n| vec![n])).unwrap())
        .unwrap();
    let error = told.recv_timeout(LIMIT).unwrap().unwrap_err();
    assert!(matches!(error, TaskError::WorkerLost { .. }), "{error}");
    finish(pool);
    oracle.finish();
}

#[test]
fn a_callback_that_panics_or_takes_long_harms_nothing() {
    let oracle = oracle();
    // One worker, so that the results come in the order of the calls.
    let pool = Pool::new(1).unwrap();
    let gate = Arc::new(Barrier::new(2));
    let opens = Arc::clone(&gate);
    let (tell, told) = mpsc::channel();
    let slow = tell.clone();
    pool.apply_async(|n: u8| n, 1)
        .unwrap()
        .callback(move |_| {
            opens.wait();
            slow.send(1).unwrap();
        })
        .unwrap();
    pool.apply_async(|n: u8| n, 2)
        .unwrap()
        .callback(|_| std::panic::panic_any("on purpose"))
        .unwrap();
    pool.apply_async(|n: u8| n, 3)
        .unwrap()
        .callback(move |result| tell.send(result.unwrap()).unwrap())
        .unwrap();
    // The pool works on, deaths included.
    let lost = pool
        .apply(|()| -> u8 { std::process::abort() }, ())
        .unwrap_err();
    assert!(matches!(lost, TaskError::WorkerLost { .. }));
    assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
    assert!(told.try_recv().is_err());
    gate.wait();
    assert_eq!(told.recv_timeout(LIMIT).unwrap(), 1);
    assert_eq!(told.recv_timeout(LIMIT).unwrap(), 3);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_callback_may_use_its_pool_and_wait_in_it_but_not_join_it() {
    let oracle = oracle();
    let pool = Arc::new(Pool::new(2).unwrap());
    let (tell, told) = mpsc::channel();
    let own = Arc::clone(&pool);
    pool.apply_async(|n: u32| n, 20)
        .unwrap()
        .callback(move |n| {
            let more = own.map(|n: u32| n, 0..n.unwrap()).unwrap().len();
            // Deaths are seen to while it waits.
            let lost = own.apply(|()| -> u8 { std::process::abort() }, ());
            own.close();
            let joined = own.join().unwrap_err().to_string();
            tell.send((more, lost.is_err(), joined)).unwrap();
        })
        .unwrap();
    let (more, lost, joined) = told.recv_timeout(LIMIT).unwrap();
    assert_eq!((more, lost), (20, true));
    assert!(joined.contains("callback"), "{joined}");
    let pool = within(LIMIT, move || {
        pool.join().unwrap();
        pool
    });
    drop(pool);
    oracle.finish();
}

#[test]
fn a_pool_may_be_dropped_by_its_own_callback() {
    let oracle = oracle();
    for _ in 0..20 {
        let pool = Arc::new(Pool::new(2).unwrap());
        let (tell, told) = mpsc::channel();
        let (give, given) = mpsc::channel::<Arc<Pool>>();
        pool.apply_async(|n: u8| n, 1)
            .unwrap()
            .callback(move |_| {
                drop(given.recv().unwrap());
                tell.send(()).unwrap();
            })
            .unwrap();
        give.send(pool).unwrap();
        told.recv_timeout(LIMIT).unwrap();
    }
    oracle.finish();
}

#[test]
fn every_callback_is_called_once_also_at_the_end() {
    let oracle = oracle();
    for end in [
        |pool: &Pool| pool.terminate(),
        |pool: &Pool| {
            pool.close();
            pool.join().unwrap();
        },
    ] {
        let pool = Pool::builder()
            .workers(2)
            .grace(Duration::from_millis(20))
            .build()
            .unwrap();
        let count = SharedValue::new(0_u32).unwrap();
        let (tell, told) = mpsc::channel();
        for n in 0..100_u32 {
            let tell = tell.clone();
            pool.apply_async(|n: u32| n, n)
                .unwrap()
                .callback(move |result| tell.send((n, result)).unwrap())
                .unwrap();
        }
        drop(tell);
        let pool = within(LIMIT, move || {
            end(&pool);
            pool
        });
        drop(pool);
        let mut seen: Vec<u32> = told
            .iter()
            .map(|(n, result)| {
                assert!(matches!(result, Err(TaskError::Cancelled)) || result == Ok(n));
                n
            })
            .collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..100));
        drop(count);
    }
    oracle.finish();
}
