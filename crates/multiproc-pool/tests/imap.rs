//! Maps that take their input as they need it.

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::SharedValue;
use multiproc_testkit::within;

#[test]
fn results_come_in_order_from_an_endless_input() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let squares: Vec<u64> = pool
        .imap(|n: u64| n * n, 0..)
        .take(1000)
        .map(Result::unwrap)
        .collect();
    assert!(squares.into_iter().eq((0..1000).map(|n| n * n)));
    finish(pool);
    oracle.finish();
}

#[test]
fn unordered_results_come_as_they_are_there() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    // The first waits until the consumer has had all others.
    let task = |(gate, n): (SharedValue<u32>, u32)| {
        while n == 0 && gate.get().unwrap() == 0 {
            std::thread::yield_now();
        }
        n
    };
    let (pool, last) = within(LIMIT, {
        let gate = gate.clone();
        move || {
            let items = (0..100).map(|n| (gate.clone(), n));
            let mut results = pool.imap_unordered(task, items).map(Result::unwrap);
            let others: BTreeSet<u32> = results.by_ref().take(99).collect();
            assert!(others.into_iter().eq(1..100));
            gate.set(1).unwrap();
            let last = results.next();
            assert_eq!(results.next(), None);
            drop(results);
            (pool, last)
        }
    });
    assert_eq!(last, Some(0));
    drop(gate);
    finish(pool);
    oracle.finish();
}

#[test]
fn the_input_is_taken_no_further_than_the_window() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let taken = Cell::new(0);
    let items = (0..1000_u32).inspect(|_| taken.set(taken.get() + 1));
    let mut results = pool.imap(|n: u32| n, items).window(5);
    assert_eq!(taken.get(), 0);
    for n in 0..20 {
        assert_eq!(results.next(), Some(Ok(n)));
        assert_eq!(taken.get(), n + 5);
    }
    drop(results);
    assert_eq!(taken.get(), 24);
    finish(pool);
    oracle.finish();
}

#[test]
fn an_error_is_one_items_and_the_rest_goes_on() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let task = |n: u32| match n {
        3 => panic!("not three"),
        5 => std::process::abort(),
        n => n,
    };
    for ordered in [true, false] {
        let results: Vec<_> = if ordered {
            pool.imap(task, 0..10).collect()
        } else {
            pool.imap_unordered(task, 0..10).collect()
        };
        let errors: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .collect();
        assert_eq!((results.len(), errors.len()), (10, 2));
        assert!(errors.iter().any(|error| error.panic().is_some()));
        assert!(
            errors
                .iter()
                .any(|error| matches!(error, TaskError::WorkerLost { .. }))
        );
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn an_input_that_panics_leaves_the_pool_as_it_was() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let items = (0..10_u32).inspect(|n| assert!(*n < 4, "the input fails"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.imap(|n: u32| n, items.clone()).for_each(drop);
    }));
    assert!(panicked.is_err());
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(|n: u32| n, items)));
    assert!(panicked.is_err());
    assert_eq!(pool.map(|n: u32| n, 0..3).unwrap(), [0, 1, 2]);
    finish(pool);
    oracle.finish();
}

#[test]
fn dropped_half_way_the_rest_is_never_started() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let started = SharedValue::new(0_u32).unwrap();
    let task = |(started, _): (SharedValue<u32>, u32)| *started.lock().unwrap() += 1;
    let mut results = pool
        .imap(task, (0..).map(|n| (started.clone(), n)))
        .window(50);
    assert!(results.next().is_some());
    drop(results);
    // What was started by then ends before a task that is sent now.
    pool.apply(|()| (), ()).unwrap();
    let begun = started.get().unwrap();
    assert!(begun <= 50);
    pool.apply(|()| (), ()).unwrap();
    assert_eq!(started.get().unwrap(), begun);
    drop(started);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_closed_pool_is_an_error_of_each_item() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    pool.close();
    let results: Vec<_> = pool.imap(|n: u8| n, 0..3).collect();
    assert_eq!(
        results,
        [
            Err(TaskError::PoolClosed),
            Err(TaskError::PoolClosed),
            Err(TaskError::PoolClosed)
        ]
    );
    drop(pool);
    oracle.finish();
}
