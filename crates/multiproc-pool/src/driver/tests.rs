//! What goes through the rings, counted.

use crate::Pool;

#[test]
fn short_tasks_go_many_in_a_record() {
    const TASKS: u32 = 100_000;
    let pool = Pool::threads(2).unwrap();
    let pushed = || {
        pool.driver()
            .lock()
            .workers()
            .map(super::Worker::pushed)
            .sum::<u64>()
    };
    let before = pushed();
    pool.map(|n: u32| n, 0..TASKS).unwrap();
    let bytes = pushed() - before;
    // Each takes four bytes at most, and a record alone 24.
    assert!(bytes < 8 * u64::from(TASKS), "{bytes}");
    // A task alone has no more than its own header; and each worker is told of the function.
    let before = pushed();
    (0..100).for_each(|n| assert_eq!(pool.apply(|n: u32| n, n), Ok(n)));
    let bytes = pushed() - before;
    assert!(bytes <= 100 * 24 + 1_000, "{bytes}");
}
