//! Workers that come to be in each way.

mod common;

use common::{LIMIT, finish, pid};
use multiproc_pool::{Pool, StartMethod, TaskError};
use multiproc_process::{ForkPromise, Process};
use multiproc_testkit::{Oracle, within};

/// Tasks, a death, its replacement and an end, by workers of this method.
fn works(method: StartMethod) {
    let pool = Pool::builder()
        .workers(2)
        .start_method(method)
        .build()
        .unwrap();
    let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
    assert_eq!(pool.map(|n: u64| n * n, 0..1000).unwrap(), squares);
    assert_ne!(pool.apply(pid, ()).unwrap(), std::process::id());
    let lost = pool.apply(|()| -> () { std::process::abort() }, ());
    assert!(
        matches!(lost, Err(TaskError::WorkerLost { .. })),
        "{lost:?}"
    );
    assert_eq!(pool.map(|n: u64| n * n, 0..1000).unwrap(), squares);
    finish(pool);
}

#[test]
fn a_pool_may_choose_any_start_method() {
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let oracle = Oracle::after(|| {
            let builder = Process::builder().start_method(method);
            let child = builder.spawn(|()| (), ()).unwrap();
            child.on_end(|| ()).unwrap();
            child.join().unwrap();
        });
        works(method);
        oracle.finish();
    }
}

#[test]
fn workers_can_be_forked_by_a_program_whose_other_threads_are_known() {
    let oracle = common::oracle();
    let alone = Process::builder().start_method(StartMethod::Spawn).spawn(
        |()| {
            // SAFETY: the one other thread is the pool's, which forks itself, or waits for this one's tasks.
            works(StartMethod::Fork(unsafe { ForkPromise::among_threads() }));
        },
        (),
    );
    let alone = alone.unwrap();
    within(LIMIT, move || alone.join()).unwrap();
    oracle.finish();
}
