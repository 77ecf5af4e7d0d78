//! Holders that other threads of their process outlive: for some microseconds after a kill, or as long as they like
//! where the holder alone has ended. Nobody else is let in before the process is over.

#![cfg(not(loom))]

mod common;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use multiproc_process::Process;
use multiproc_shm::{LockTimeoutError, RawValue, RwLock, SharedArray, TryLockError};
use multiproc_testkit::{Percentiles, eventually, forever, within};
use serde::Serialize;
use serde::de::DeserializeOwned;

use common::{LIMIT, oracle};

/// Of kills. Debug builds say little.
const ROUNDS: usize = if cfg!(debug_assertions) { 15 } else { 101 };

/// Has four threads change a part each, without end.
fn change(elements: &mut [u64], changing: &RawValue<u64>) {
    thread::scope(|scope| {
        for part in elements.chunks_mut(1024) {
            scope.spawn(|| {
                changing.as_atomic().fetch_add(1, Relaxed);
                loop {
                    part.iter_mut().for_each(|n| *n += 1);
                    std::hint::black_box(&mut *part);
                }
            });
        }
        forever();
    });
}

/// Runs `work` in a process whose threads [`change`] what it is given, kills it, and has `look` called, with what
/// is to look at the elements for a while.
fn kill<H>(handle: &H, work: fn((H, RawValue<u64>)), look: impl FnOnce(&H, &dyn Fn(&[u64])))
where
    H: Clone + Serialize + DeserializeOwned + 'static,
{
    let changing = RawValue::new(0_u64).unwrap();
    let child = Process::spawn(work, (handle.clone(), changing.clone())).unwrap();
    eventually(LIMIT, "all threads write", || changing.get() == 4);
    child.kill().unwrap();
    look(handle, &|elements| {
        let seen = [0, 1024, 2048, 3072].map(|first| elements[first]);
        for _ in 0..1000 {
            let now = [0, 1024, 2048, 3072].map(|first| elements[first]);
            assert_eq!(std::hint::black_box(now), seen, "somebody still writes");
        }
    });
    within(LIMIT, move || child.join().unwrap_err());
}

#[test]
fn a_killed_holder_s_other_threads_are_waited_for() {
    let oracle = oracle();
    let mut waited = Percentiles::new("kill of a holder, whose other threads write, to the next");
    let work = |(array, changing): (SharedArray<u64>, RawValue<u64>)| {
        change(&mut array.lock().unwrap(), &changing);
    };
    for _ in 0..ROUNDS {
        let array = SharedArray::<u64>::zeroed(4096).unwrap();
        kill(&array, work, |array, unchanged| {
            let begun = Instant::now();
            let elements = array.lock().unwrap_err().into_inner();
            waited.add(begun.elapsed());
            unchanged(&elements);
        });
    }
    waited.report();
    oracle.finish();
}

#[test]
fn a_killed_writer_s_other_threads_are_waited_for() {
    let oracle = oracle();
    let work = |(lock, changing): (RwLock<[u64; 4096]>, RawValue<u64>)| {
        change(&mut *lock.write().unwrap(), &changing);
    };
    for round in 0..ROUNDS {
        let lock = RwLock::new([0; 4096]).unwrap();
        kill(&lock, work, |lock, unchanged| {
            // The next is a reader or a writer.
            if round % 2 == 0 {
                unchanged(&*lock.read().unwrap_err().into_inner());
            } else {
                unchanged(&*lock.write().unwrap_err().into_inner());
            }
        });
    }
    oracle.finish();
}

/// Runs `take` in a process, in a thread that ends by itself right after, and leaves the process to others. Says
/// whether `others` are let in meanwhile, whom it has to be after the process's end.
fn outlived<H>(handle: &H, take: fn((H, RawValue<u64>)), others: impl Fn(&H) -> bool) -> bool
where
    H: Clone + Serialize + DeserializeOwned + 'static,
{
    let ended = RawValue::new(0_u64).unwrap();
    let child = Process::spawn(take, (handle.clone(), ended.clone())).unwrap();
    eventually(LIMIT, "the holder ends", || ended.get() == 1);
    let meanwhile = others(handle);
    child.kill().unwrap();
    eventually(LIMIT, "the next is let in", || others(handle));
    within(LIMIT, move || child.join().unwrap_err());
    meanwhile
}

/// Has `take` called by a thread that ends there and then: the kernel marks what it holds, and nobody hands it over.
fn ends_alone<G>(take: impl FnOnce() -> G + Send + 'static, ended: &RawValue<u64>) {
    let thread = RawValue::new(0_u64).unwrap();
    let own = thread.clone();
    thread::spawn(move || {
        let _held = take();
        // SAFETY: takes no pointer.
        own.set(unsafe { libc::gettid() }.unsigned_abs().into());
        // SAFETY: ends this thread, in which nothing is left to be done that anybody waits for.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    eventually(LIMIT, "it has begun", || thread.get() != 0);
    let place = format!("/proc/self/task/{}", thread.get());
    eventually(LIMIT, "it has ended", || !Path::new(&place).exists());
    ended.set(1);
    forever();
}

#[test]
fn nobody_has_an_array_beside_the_other_threads_of_one_that_ended() {
    let oracle = oracle();
    let array = SharedArray::<u64>::zeroed(10).unwrap();
    let take = |(array, ended): (SharedArray<u64>, RawValue<u64>)| {
        let array: &'static _ = Box::leak(Box::new(array));
        ends_alone(|| array.lock().unwrap(), &ended);
    };
    let others = |array: &SharedArray<u64>| match array.try_lock() {
        Ok(_) => panic!("nobody was told of the death"),
        Err(TryLockError::Poisoned(_)) => true,
        Err(TryLockError::WouldBlock) => false,
    };
    assert!(!outlived(&array, take, others));
    drop(array);
    oracle.finish();
}

#[test]
fn nobody_reads_beside_the_other_threads_of_a_writer_that_ended() {
    let oracle = oracle();
    let lock = RwLock::new(0_u64).unwrap();
    let take = |(lock, ended): (RwLock<u64>, RawValue<u64>)| {
        let lock: &'static _ = Box::leak(Box::new(lock));
        ends_alone(|| lock.write().unwrap(), &ended);
    };
    let others = |lock: &RwLock<u64>| {
        let moment = Duration::from_micros(50);
        assert!(lock.is_poisoned() && lock.try_write().is_err());
        let reads = matches!(lock.try_read(), Err(TryLockError::Poisoned(_)));
        let writes = lock.write_timeout(moment);
        reads && matches!(writes, Err(LockTimeoutError::Poisoned(_)))
    };
    assert!(!outlived(&lock, take, others));
    drop(lock);
    oracle.finish();
}

#[test]
fn nobody_writes_beside_the_other_threads_of_a_reader_that_ended() {
    let oracle = oracle();
    let lock = RwLock::new(0_u64).unwrap();
    let take = |(lock, ended): (RwLock<u64>, RawValue<u64>)| {
        let lock: &'static _ = Box::leak(Box::new(lock));
        ends_alone(|| lock.read().unwrap(), &ended);
    };
    let others = |lock: &RwLock<u64>| {
        drop(lock.read().expect("a reader poisons nothing"));
        let moment = Duration::from_micros(50);
        lock.write_timeout(moment).is_ok() && lock.try_write().is_ok()
    };
    assert!(!outlived(&lock, take, others));
    drop(lock);
    oracle.finish();
}
