//! Arrays that workers change in place, piece by piece; and what is left of them when a worker ends in the middle.

mod common;

use std::time::Duration;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{SIGKILL, alive, eventually, forever, kill, within};

#[test]
fn every_element_is_changed_once_whatever_the_chunk() {
    let oracle = oracle();
    let pool = Pool::new(3).unwrap();
    for length in [0_u32, 1, 7, 1000] {
        for chunk in [1, 3, 999, 1000, usize::MAX] {
            let mut array = SharedArray::from_slice(&(0..length).collect::<Vec<_>>()).unwrap();
            let add = |piece: &mut [u32], (number, more): (usize, u32)| {
                for element in piece {
                    *element = *element * 10 + more + u32::try_from(number.min(1)).unwrap();
                }
            };
            pool.for_each_chunk_mut_with(&mut array, chunk, 2, add)
                .unwrap();
            let whole = array.to_vec().unwrap();
            for (n, element) in (0..length).zip(whole) {
                let first = u32::from(n as usize >= chunk);
                assert_eq!(element, n * 10 + 2 + first, "{n} of {length} by {chunk}");
            }
        }
    }
    let mut array = SharedArray::<u8>::zeroed(3).unwrap();
    let none = pool.for_each_chunk_mut(&mut array, 0, |_, _| ());
    assert_eq!(none, Err(TaskError::NoChunk));
    drop(array);
    finish(pool);
    oracle.finish();
}

#[test]
fn a_panic_poisons_the_array_and_the_other_chunks_are_done() {
    let oracle = oracle();
    let pool = Pool::new(2).unwrap();
    let mut array = SharedArray::<u32>::zeroed(100).unwrap();
    let fill = |piece: &mut [u32], number: usize| {
        piece[0] = 1;
        assert!(number != 4, "not four");
        piece.fill(1);
    };
    let error = pool.for_each_chunk_mut(&mut array, 10, fill).unwrap_err();
    assert_eq!(error.panic().unwrap().message, "not four");
    assert_eq!(
        pool.for_each_chunk_mut(&mut array, 10, fill),
        Err(TaskError::Poisoned)
    );
    let elements = array
        .to_vec()
        .unwrap_or_else(multiproc_shm::PoisonError::into_inner);
    for (n, element) in elements.into_iter().enumerate() {
        assert_eq!(element, u32::from(!(41..50).contains(&n)), "{n}");
    }
    drop(array);
    finish(pool);
    oracle.finish();
}

/// Says who changes the third chunk, and changes it until it is killed.
fn scribble(piece: &mut [u32], (number, told): (usize, SharedValue<u32>)) {
    if number != 3 {
        return piece.fill(7);
    }
    told.set(std::process::id()).unwrap();
    loop {
        for element in &mut *piece {
            *element = element.wrapping_add(1);
        }
    }
}

#[test]
fn when_the_call_returns_nobody_writes_any_more_killed_or_timed_out() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    for kills in [true, false] {
        for _ in 0..10 {
            let mut array = SharedArray::<u32>::zeroed(80 << 10).unwrap();
            let told = SharedValue::new(0_u32).unwrap();
            let calls = match kills {
                true => pool.with(|policy| policy),
                false => pool.with(|policy| policy.task_timeout(Duration::from_millis(50))),
            };
            let (error, array) = {
                let told = told.clone();
                std::thread::scope(|scope| {
                    if kills {
                        let told = told.clone();
                        scope.spawn(move || {
                            let mut pid = 0;
                            eventually(LIMIT, "somebody scribbles", || {
                                pid = told.get().unwrap();
                                pid != 0
                            });
                            kill(pid, SIGKILL).unwrap();
                        });
                    }
                    within(LIMIT, move || {
                        let error = calls
                            .for_each_chunk_mut_with(&mut array, 10 << 10, told, scribble)
                            .unwrap_err();
                        (error, array)
                    })
                })
            };
            let pid = told.get().unwrap();
            match kills {
                true => assert!(
                    matches!(error, TaskError::WorkerLost { task: 3, .. }),
                    "{error}"
                ),
                false => assert!(matches!(error, TaskError::TimedOut { .. }), "{error}"),
            }
            let poison = array.lock().unwrap_err();
            let elements = poison.into_inner();
            let first = elements.to_vec();
            assert!(
                first[..30 << 10]
                    .iter()
                    .chain(&first[40 << 10..])
                    .all(|n| *n == 7)
            );
            eventually(LIMIT, "the writer is gone", || !alive(pid));
            assert!(first == *elements, "somebody still writes");
            drop(elements);
            drop((told, array));
        }
    }
    finish(pool);
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

#[test]
fn a_pool_that_is_terminated_meanwhile_gives_the_array_back() {
    let oracle = oracle();
    let pool = Pool::builder()
        .workers(2)
        .grace(Duration::from_millis(20))
        .build()
        .unwrap();
    let mut array = SharedArray::<u32>::zeroed(8).unwrap();
    let told = SharedValue::new(0_u32).unwrap();
    let hang = |_: &mut [u32], (_, told): (usize, SharedValue<u32>)| {
        told.set(1).unwrap();
        forever()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually(LIMIT, "one hangs", || told.get().unwrap() == 1);
            pool.terminate();
        });
        let context = told.clone();
        let done = pool.for_each_chunk_mut_with(&mut array, 2, context, hang);
        assert_eq!(done, Err(TaskError::Cancelled));
    });
    assert!(array.lock().is_err());
    drop((told, array, pool));
    oracle.finish();
}
