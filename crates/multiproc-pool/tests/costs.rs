//! What a task costs, counted instead of timed: allocations, wake-ups, and what a pool does that has nothing to do.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use multiproc_pool::Pool;
use multiproc_testkit::eventually;

use common::{LIMIT, oracle};

/// Counts, in the parent and in each worker, and of each thread by itself.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    OWN.set(OWN.get() + 1);
}

// SAFETY: everything is the system's allocator's; counting touches no memory of anybody's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// So many allocations this process has made, and which process it is.
fn allocations(_: u64) -> (u32, u64) {
    (std::process::id(), ALLOCATIONS.load(Ordering::Relaxed))
}

const TASKS: u64 = 20_000;

#[test]
fn a_worker_allocates_nothing_for_a_task() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    pool.map(allocations, 0..TASKS).unwrap();
    let counts = pool.map(allocations, 0..TASKS).unwrap();
    let mut first_and_last = HashMap::new();
    for (pid, count) in counts {
        first_and_last.entry(pid).or_insert((count, count)).1 = count;
    }
    for (pid, (first, last)) in first_and_last {
        // On a busy machine its longest record comes late, and the buffer for it grows then.
        assert!(last - first < 10, "{} of worker {pid}", last - first);
    }
    let calls: Vec<_> = (0..100)
        .map(|n| pool.apply(allocations, n).unwrap())
        .collect();
    for (pid, count) in &calls {
        let first = calls.iter().find(|(other, _)| other == pid).unwrap().1;
        assert_eq!(count - first, 0, "of worker {pid}, for a call");
    }
    drop(pool);
    oracle.finish();
}

#[test]
fn a_caller_allocates_for_a_call_and_not_for_its_tasks() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let during = |work: &dyn Fn()| {
        let before = OWN.get();
        work();
        OWN.get() - before
    };
    let map = || assert_eq!(pool.map(|n: u64| n, 0..TASKS).unwrap().len(), 20_000);
    map();
    // Buffers double as they grow.
    let of_map = during(&map);
    assert!(of_map < 1_000, "{of_map} for {TASKS} tasks");
    let apply = || (0..100).for_each(|n| assert_eq!(pool.apply(|n: u64| n, n), Ok(n)));
    apply();
    let of_apply = during(&apply);
    assert_eq!(of_apply, 0, "for 100 calls");
    drop(pool);
    oracle.finish();
}

/// How often the threads of a process went to sleep and were woken, by themselves or with that name alone.
fn sleeps(pid: u32, name: Option<&str>) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let field = |status: &str, key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim().to_string())
            .unwrap_or_default()
    };
    let named = status.filter(|status| name.is_none_or(|name| field(status, "Name:") == name));
    named
        .filter_map(|status| {
            field(&status, "voluntary_ctxt_switches:")
                .parse::<u64>()
                .ok()
        })
        .sum()
}

/// The processes of a pool's workers.
fn workers(pool: &Pool, count: usize) -> Vec<u32> {
    let mut pids = Vec::new();
    eventually(LIMIT, "every worker has had a task", || {
        let more = pool.map(|()| std::process::id(), [(); 1_000]).unwrap();
        pids.extend(more);
        pids.sort_unstable();
        pids.dedup();
        pids.len() == count
    });
    pids
}

#[test]
fn short_tasks_are_woken_for_by_the_thousand() {
    const MANY: u64 = 200_000;
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let pids = workers(&pool, 2);
    let all = || pids.iter().map(|pid| sleeps(*pid, None)).sum::<u64>();
    let before = all();
    pool.map(|n: u64| n, 0..MANY).unwrap();
    let thousands = MANY / 1_000;
    let woken = all() - before;
    // Some ninety in all where nothing else runs.
    assert!(woken <= 10 * thousands, "{woken} wake-ups for {MANY} tasks");
    drop(pool);
    oracle.finish();
}

#[test]
fn a_pool_that_has_nothing_to_do_does_nothing() {
    let oracle = oracle();
    let pool = Pool::builder().workers(2).name("Idle").build().unwrap();
    let pids = workers(&pool, 2);
    let all = || pids.iter().map(|pid| sleeps(*pid, None)).sum::<u64>();
    // Nobody is woken between two looks that are so far apart.
    let pause = std::time::Duration::from_millis(100);
    let mut last = all();
    eventually(LIMIT, "the workers sleep", || {
        let (_never, silence) = std::sync::mpsc::channel::<()>();
        let _timed_out = silence.recv_timeout(pause);
        std::mem::replace(&mut last, all()) == last
    });
    drop(pool);
    oracle.finish();
}
