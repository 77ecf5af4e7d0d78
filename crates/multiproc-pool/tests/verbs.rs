//! What a pool can be asked to do beside `map`: with a state, folded, in each worker, in chunks.

mod common;

use std::collections::HashSet;

use common::{LIMIT, finish, oracle, pid};
use multiproc_pool::{Chunks, Pool, TaskError};
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{SIGKILL, eventually, kill, within};
use serde::{Deserialize, Deserializer, Serialize};

/// Counts, in shared memory, how often it is decoded.
#[derive(Serialize)]
struct Counted {
    decoded: SharedValue<u32>,
    table: Vec<u64>,
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        let (decoded, table) = <(SharedValue<u32>, Vec<u64>)>::deserialize(deserializer)?;
        *decoded.lock().unwrap() += 1;
        Ok(Counted { decoded, table })
    }
}

#[test]
fn a_state_is_sent_once_to_each_worker_and_again_to_a_replacement() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    // More than a ring holds, so that it comes in pieces.
    let state = Counted {
        decoded: SharedValue::new(0).unwrap(),
        table: (0..200_000).collect(),
    };
    let look = |state: &mut Counted, n: usize| state.table[n];
    let found = pool.map_with(&state, look, 0..5000).unwrap();
    assert!(found.into_iter().eq(0..5000));
    let decoded = state.decoded.get().unwrap();
    assert!((1..=2).contains(&decoded), "decoded {decoded} times");

    let die = |state: &mut Counted, n: usize| {
        if n == 7 {
            std::process::abort();
        }
        state.table[n]
    };
    let task = pool.map_with_async(&state, die, 0..2000).unwrap();
    let results = within(LIMIT, move || task.get_results().unwrap());
    for (n, result) in (0..).zip(results) {
        match n {
            7 => assert!(matches!(result, Err(TaskError::WorkerLost { task: 7, .. }))),
            _ => assert_eq!(result, Ok(n)),
        }
    }
    drop(state);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_state_keeps_what_is_done_to_it_and_goes_with_its_call() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let count = |sum: &mut u64, n: u64| {
        *sum += n;
        *sum
    };
    for _ in 0..100 {
        assert_eq!(
            pool.map_with(&100, count, 1..=4).unwrap(),
            [101, 103, 106, 110]
        );
    }
    // What a state holds open is closed when its call is done.
    let told = SharedValue::new(0_u32).unwrap();
    let open = |_: ()| std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = pool.apply(open, ()).unwrap();
    for _ in 0..5 {
        let here = |told: &mut SharedValue<u32>, n: u32| *told.lock().unwrap() += n;
        let other = SharedValue::new(1_u32).unwrap();
        pool.map_with(&other, here, [1, 2]).unwrap();
        assert_eq!(other.get().unwrap(), 4);
    }
    eventually(LIMIT, "the states are gone", || {
        pool.apply(open, ()).unwrap() <= before
    });
    drop(told);
    finish(pool);
    oracle.finish();
}

#[derive(Serialize)]
struct Poison(u8);

impl<'de> Deserialize<'de> for Poison {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Poison, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => std::process::abort(),
            1 => Err(serde::de::Error::custom("it is rotten")),
            n => Ok(Poison(n)),
        }
    }
}

#[test]
fn a_state_that_cannot_be_decoded_is_its_items_error_and_ends() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let take = |state: &mut Poison, n: u8| state.0 + n;
    let task = pool.map_with_async(&Poison(1), take, 0..20).unwrap();
    for result in within(LIMIT, move || task.get_results().unwrap()) {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, TaskError::ArgumentsLost(why) if why.contains("state") && why.contains("rotten")),
            "{error}"
        );
    }
    // Each item that begins to decode it costs a worker, and no more than that.
    let task = pool.map_with_async(&Poison(0), take, 0..5).unwrap();
    for result in within(LIMIT, move || task.get_results().unwrap()) {
        assert!(
            matches!(result, Err(TaskError::WorkerLost { .. })),
            "{result:?}"
        );
    }
    assert_eq!(pool.map_with(&Poison(2), take, [1]).unwrap(), [3]);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_fold_is_the_same_however_it_is_cut() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let words: Vec<String> = (0..100).map(|n| format!("<{n}>")).collect();
    let join = |text: &mut String, word: String| text.push_str(&word);
    for chunks in [
        Chunks::Single,
        Chunks::Of(1),
        Chunks::Of(7),
        Chunks::Of(1000),
        Chunks::PerWorker(4),
    ] {
        let text = pool
            .with(|policy| policy.chunksize(chunks))
            .fold(
                String::new(),
                join,
                |text, more| text.push_str(&more),
                words.iter(),
            )
            .unwrap();
        assert_eq!(text, words.concat(), "{chunks:?}");
    }
    let none = pool.fold(
        5_u8,
        |_: &mut u8, _: u8| unreachable!(),
        |_, _| (),
        [0_u8; 0],
    );
    assert_eq!(none, Ok(5));
    let error = pool
        .fold(
            0,
            |sum: &mut u32, n: u32| *sum += 1 / n,
            |sum, n| *sum += n,
            0..9,
        )
        .unwrap_err();
    assert!(error.panic().is_some(), "{error}");
    let reduced = pool
        .map_reduce(|n: u64| n * n, |a, b| a + b, 1..=1000)
        .unwrap();
    assert_eq!(reduced, Some(333_833_500));
    let failed = pool
        .map_reduce(|n: u64| 1 / n, |a, b| a + b, 0..)
        .unwrap_err();
    assert!(
        failed.panic().is_some(),
        "an endless input ends with its first error"
    );
    finish(pool);
    oracle.finish();
}

#[test]
fn a_broadcast_is_run_once_by_each_worker_busy_or_not() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    let counts = SharedArray::<u32>::zeroed(1).unwrap();
    let gate = SharedValue::new(0_u32).unwrap();
    let hold = |gate: SharedValue<u32>| {
        *gate.lock().unwrap() += 1;
        while gate.get().unwrap() < 100 {
            std::thread::yield_now();
        }
        std::process::id()
    };
    let running = pool.map_async(hold, vec![gate.clone(); 2]).unwrap();
    eventually(LIMIT, "two are busy", || gate.get().unwrap() == 2);
    let count = |counts: SharedArray<u32>| {
        counts.lock().unwrap()[0] += 1;
        std::process::id()
    };
    let mut told = pool.broadcast_async(count, counts.clone()).unwrap();
    // The idle one runs its own, and goes on with other work; the busy ones run theirs later.
    assert_eq!(pool.map(|n: u32| n, 0..500).unwrap().len(), 500);
    assert!(
        told.get_timeout(std::time::Duration::from_millis(20))
            .is_err()
    );
    gate.set(100).unwrap();
    let pids = within(LIMIT, move || told.get().unwrap());
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(counts.lock().unwrap()[0], 3);
    within(LIMIT, move || running.get().unwrap());
    drop((counts, gate));
    finish(pool);
    oracle.finish();
}

#[test]
fn a_broadcast_survives_deaths_before_it_begins() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    for _ in 0..10 {
        for pid in pool.broadcast(pid, ()).unwrap() {
            kill(pid, SIGKILL).unwrap();
        }
        let told = pool.broadcast_async(pid, ()).unwrap();
        let results = within(LIMIT, move || told.get_results().unwrap());
        assert_eq!(results.len(), 3);
        for result in results {
            // One that was sent to a worker about to die may have been begun by it.
            assert!(
                matches!(result, Ok(_) | Err(TaskError::WorkerLost { .. })),
                "{result:?}"
            );
        }
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn chunks_change_nothing_but_the_speed() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let fail = |n: u32| {
        assert!(n % 10 != 3, "no threes");
        n.to_string()
    };
    for chunks in [
        Chunks::Single,
        Chunks::Of(1),
        Chunks::Of(20),
        Chunks::Of(5000),
        Chunks::PerWorker(4),
    ] {
        let chunked = pool.with(|policy| policy.chunksize(chunks));
        let results = chunked.map_results(fail, 0..1003).unwrap();
        assert_eq!(results.len(), 1003);
        for (n, result) in (0..).zip(results) {
            match n % 10 {
                3 => assert_eq!(result.unwrap_err().panic().unwrap().message, "no threes"),
                _ => assert_eq!(result.unwrap(), n.to_string()),
            }
        }
        assert!(chunked.map(fail, Vec::<u32>::new()).unwrap().is_empty());
        assert_eq!(
            chunked.starmap(|(a, b): (u8, u8)| a + b, [(1, 2)]).unwrap(),
            [3]
        );
        // Handles travel both ways.
        let made = chunked
            .map(|n: u32| SharedValue::new(n).unwrap(), 0..30)
            .unwrap();
        assert!(made.iter().map(|value| value.get().unwrap()).eq(0..30));
        let read = chunked
            .map(|value: SharedValue<u32>| value.get().unwrap(), made)
            .unwrap();
        assert!(read.into_iter().eq(0..30));
    }
    finish(pool);
    oracle.finish();
}

#[test]
fn a_death_in_a_chunk_costs_the_chunk() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let chunked = pool.with(|policy| policy.chunksize(10));
    let die = |n: u32| {
        if n == 25 {
            std::process::abort();
        }
        n
    };
    let task = chunked.map_async(die, 0..100).unwrap();
    let results = within(LIMIT, move || task.get_results().unwrap());
    for (n, result) in (0..).zip(results) {
        match n {
            20..30 => assert!(
                matches!(result, Err(TaskError::WorkerLost { task: 20, .. })),
                "{n}"
            ),
            _ => assert_eq!(result, Ok(n)),
        }
    }
    drop(chunked);
    finish(pool);
    oracle.finish();
}
