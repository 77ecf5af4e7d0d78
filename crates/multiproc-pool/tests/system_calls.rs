//! What one call asks of the kernel, counted from outside: at most a wake-up and a wait on each side, and nothing else.
#![expect(
    clippy::print_stdout,
    reason = "by a line a program says that it has begun"
)]

mod common;

use std::env;

use multiproc_pool::Pool;
use multiproc_shm::{Bytes, SharedArray};
use multiproc_testkit::{Calls, Program, mark, system_calls};

use common::{LIMIT, oracle};

const TASKS: u64 = 200;
/// Where a test runs as the program that is counted: how many workers its pool has.
const ROLE: &str = "MULTIPROC_POOL_COUNTED";
/// The line by which it says that it has begun.
const BEGUN: &str = "calls are made";

/// One call after the other, again and again, marked by the hundreds.
fn calls_for_ever(workers: usize, call: impl Fn(&Pool, u64)) -> ! {
    let pool = Pool::new(workers).unwrap();
    let calls = || (0..TASKS).for_each(|n| call(&pool, n));
    calls();
    println!("\n{BEGUN}");
    loop {
        mark(true);
        calls();
        mark(false);
    }
}

/// What is no wait and no wake-up.
fn others(calls: &Calls) -> u64 {
    // Memory that the allocator is given, or gives back.
    let memory = [libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap];
    let memory: u64 = memory.iter().map(|number| calls.of(*number)).sum();
    calls.all() - calls.of(libc::SYS_futex) - memory
}

/// How many workers the program has that is to be counted, if this is it.
fn role() -> Option<usize> {
    env::var(ROLE).ok()?.parse().ok()
}

fn counted(test: &str, workers: usize) {
    let oracle = oracle();
    let itself = env::current_exe().unwrap();
    let program = Program::new(itself)
        .args(["--exact", test])
        .arg("--nocapture")
        .env(ROLE, workers.to_string());
    let mut running = program.deadline(LIMIT).start();
    // What libtest says comes before.
    while running.next_line(LIMIT) != BEGUN {}
    let threads = system_calls(running.pid());
    running.kill(multiproc_testkit::SIGKILL);
    assert!(!running.wait().status.success());
    let caller = threads.iter().find(|calls| calls.marked).unwrap();
    let is_watcher = |calls: &&Calls| calls.name == "multiproc-pool";
    let watcher = threads.iter().find(is_watcher).unwrap();
    // Each call may find the other side asleep, and sleep itself; neither, where both look.
    let most = 2 * TASKS + 2;
    assert_eq!(others(caller), 0, "{caller:?}");
    let of_workers = |calls: &&Calls| calls.pid != caller.pid;
    let mut sum = 0;
    for calls in threads.iter().filter(of_workers) {
        assert_eq!(others(calls), 0, "{calls:?}");
        sum += calls.of(libc::SYS_futex);
    }
    assert!(caller.of(libc::SYS_futex) <= most, "{caller:?}");
    assert!(watcher.all() <= TASKS / 10, "{watcher:?}");
    assert!(sum <= most, "{sum} of the workers for {TASKS} calls");
    oracle.finish();
}

#[test]
fn a_call_is_a_wake_up_and_a_wait_on_each_side() {
    if let Some(workers) = role() {
        calls_for_ever(workers, |pool, n| {
            assert_eq!(pool.apply(|n: u64| n + 1, n), Ok(n + 1));
        });
    }
    let test = "a_call_is_a_wake_up_and_a_wait_on_each_side";
    counted(test, 1);
    counted(test, 3);
}

#[test]
fn an_array_that_was_sent_before_goes_without_a_system_call() {
    if let Some(workers) = role() {
        let array = SharedArray::<u8>::zeroed(1 << 20).unwrap();
        calls_for_ever(workers, |pool, _| {
            let length = pool.apply(|array: SharedArray<u8>| array.len(), array.clone());
            assert_eq!(length, Ok(1 << 20));
        });
    }
    let test = "an_array_that_was_sent_before_goes_without_a_system_call";
    counted(test, 1);
}

#[test]
fn long_bytes_after_others_go_without_a_system_call() {
    if let Some(workers) = role() {
        let bytes = Bytes::from(vec![7; 100_000]);
        calls_for_ever(workers, |pool, _| {
            let look = |bytes: Bytes| (bytes.len(), bytes.is_lent());
            assert_eq!(pool.apply(look, bytes.clone()), Ok((100_000, true)));
        });
    }
    let test = "long_bytes_after_others_go_without_a_system_call";
    counted(test, 1);
}
