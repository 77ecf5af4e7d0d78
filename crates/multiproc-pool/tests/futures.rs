//! Tasks that are awaited: no thread waits in the pool for them.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::SharedValue;
use multiproc_testkit::{SIGKILL, eventually, forever, kill, within};

/// The smallest executor: parks its thread until it is woken.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::park_timeout(LIMIT);
        assert!(begun.elapsed() < LIMIT, "nobody has woken the future");
    }
}

#[test]
fn tasks_are_awaited_one_by_one_and_together() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    for n in 0..500_u32 {
        assert_eq!(
            block_on(pool.apply_async(|n: u32| n + 1, n).unwrap()),
            Ok(n + 1)
        );
    }
    let all = async {
        let tasks: Vec<_> = (0..200_u32)
            .map(|n| pool.apply_async(|n: u32| n * 2, n).unwrap())
            .collect();
        let many = pool.map_async(|n: u32| n, 0..10_000).unwrap();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        (sum, many.await.unwrap().len())
    };
    assert_eq!(block_on(all), (199 * 200, 10_000));
    finish(pool);
    oracle.finish();
}

#[test]
fn callers_and_awaiters_share_a_pool() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    within(LIMIT * 2, move || {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..500_u32 {
                        assert_eq!(pool.apply(|n: u32| n, n), Ok(n));
                    }
                });
                scope.spawn(|| {
                    for n in 0..500_u32 {
                        assert_eq!(block_on(pool.apply_async(|n: u32| n, n).unwrap()), Ok(n));
                    }
                });
            }
        });
        finish(pool);
    });
    oracle.finish();
}

#[test]
fn a_death_and_the_end_of_the_pool_wake_who_awaits() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let hang = |()| -> u8 { forever() };
    let told = SharedValue::new(0_u32).unwrap();
    let tell_and_hang = |told: SharedValue<u32>| -> u8 {
        told.set(std::process::id()).unwrap();
        forever()
    };
    let lost = pool.apply_async(tell_and_hang, told.clone()).unwrap();
    let waiter = std::thread::spawn(move || block_on(lost));
    let mut worker = 0;
    eventually(LIMIT, "the task runs", || {
        worker = told.get().unwrap();
        worker != 0
    });
    kill(worker, SIGKILL).unwrap();
    let error = within(LIMIT, move || waiter.join().unwrap().unwrap_err());
    assert!(matches!(error, TaskError::WorkerLost { .. }), "{error}");
    drop(told);
    let cancelled = pool.apply_async(hang, ()).unwrap();
    let waiter = std::thread::spawn(move || block_on(cancelled));
    within(LIMIT, move || pool.terminate());
    assert_eq!(
        within(LIMIT, move || waiter.join().unwrap()),
        Err(TaskError::Cancelled)
    );
    oracle.finish();
}

#[test]
fn a_future_that_is_dropped_or_awaited_twice_harms_nothing() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    {
        let mut task = pool.apply_async(|n: u8| n, 1).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let _first: Poll<_> = pin!(&mut task).poll(&mut context);
    }
    let mut task = pool.apply_async(|n: u8| n, 2).unwrap();
    assert_eq!(block_on(&mut task), Ok(2));
    assert_eq!(block_on(&mut task), Err(TaskError::Taken));
    assert_eq!(pool.apply(|n: u8| n, 3), Ok(3));
    drop(task);
    finish(pool);
    oracle.finish();
}
