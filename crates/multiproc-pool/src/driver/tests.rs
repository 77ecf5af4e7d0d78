//! What goes through the rings, counted.

use std::time::Duration;

use multiproc_testkit::eventually;

use crate::Pool;

const LIMIT: Duration = Duration::from_secs(60);

/// How many bytes were ever put into the rings of tasks.
fn pushed(pool: &Pool) -> u64 {
    let core = pool.driver().lock();
    core.workers().map(super::Worker::pushed).sum()
}

#[test]
fn short_tasks_go_many_in_a_record() {
    const TASKS: u32 = 20_000;
    let pool = Pool::threads(1).unwrap();
    // Each takes four bytes at most, and a record alone 24. How many go together is by how long they seem to take: on a busy
    // machine once longer, but not always.
    eventually(LIMIT, "most tasks share their records", || {
        let before = pushed(&pool);
        pool.map(|n: u32| n, 0..TASKS).unwrap();
        pushed(&pool) - before < 8 * u64::from(TASKS)
    });
}

#[test]
fn a_task_alone_has_no_more_than_its_own_header() {
    // One worker, so that no task is taken back for another and sent again.
    let pool = Pool::threads(1).unwrap();
    (0..100).for_each(|n| assert_eq!(pool.apply(|n: u32| n, n), Ok(n)));
    // The worker is told of the function, too.
    let bytes = pushed(&pool);
    assert!(bytes <= 100 * 24 + 500, "{bytes}");
}
