//! Guards that are leaked: what they give access to stays theirs while their process lives, and there.

#![cfg(not(loom))]

use std::time::Duration;

use multiproc_process::Process;
use multiproc_shm::{Event, LockTimeoutError, Mutex, RwLock, SharedArray, TryLockError};
use multiproc_sys::map::{self, Mapping};
use multiproc_testkit::{forever, within};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(5);

/// Leaks what `lock` gives, with the handle, in a thread that ends then; the leaked reference goes on.
fn leak<H: Send + 'static, R: Send + 'static>(
    handle: H,
    lock: impl FnOnce(&'static H) -> R + Send + 'static,
) -> R {
    let thread = std::thread::spawn(move || lock(Box::leak(Box::new(handle))));
    thread.join().unwrap()
}

#[test]
fn what_a_thread_that_ended_has_leaked_is_nobody_elses() {
    let number = Mutex::new(7_u64).unwrap();
    let mine: &'static mut u64 = leak(number.clone(), |number| {
        &mut **Box::leak(Box::new(number.lock().unwrap()))
    });
    assert!(matches!(number.try_lock(), Err(TryLockError::WouldBlock)));
    let other =
        |number: Mutex<u64>| matches!(number.lock_timeout(SOON), Err(LockTimeoutError::TimedOut));
    let child = Process::spawn(other, number.clone()).unwrap();
    assert!(within(LIMIT, move || child.join().unwrap()));
    *mine += 1;
    assert_eq!(*mine, 8);

    let array = SharedArray::from_slice(&[1_u8, 2]).unwrap();
    let mine: &'static [u8] = leak(array.clone(), |array| {
        &**Box::leak(Box::new(array.lock().unwrap()))
    });
    assert!(array.try_lock().is_err());
    assert_eq!(mine, [1, 2]);

    let limits = RwLock::new(3_u8).unwrap();
    let read: &'static u8 = leak(limits.clone(), |limits| {
        &**Box::leak(Box::new(limits.read().unwrap()))
    });
    assert!(limits.write_timeout(SOON).is_err());
    assert_eq!((*limits.read().unwrap(), *read), (3, 3));
}

#[test]
fn what_a_process_has_leaked_is_free_with_its_death() {
    let (number, limits) = (Mutex::new(7_u64).unwrap(), RwLock::new(3_u8).unwrap());
    let leaked = Event::new().unwrap();
    fn leak_all((number, limits, leaked): (Mutex<u64>, RwLock<u8>, Event)) {
        let _: &'static mut u64 = leak(number, |number| {
            &mut **Box::leak(Box::new(number.lock().unwrap()))
        });
        let _: &'static u8 = leak(limits, |limits| {
            &**Box::leak(Box::new(limits.read().unwrap()))
        });
        leaked.set();
        forever();
    }
    let handles = (number.clone(), limits.clone(), leaked.clone());
    let child = Process::spawn(leak_all, handles).unwrap();
    assert!(leaked.wait_timeout(LIMIT));
    assert!(number.try_lock().is_err() && limits.try_write().is_err());
    let waiter = {
        let number = number.clone();
        std::thread::spawn(move || match number.lock_timeout(LIMIT) {
            Err(LockTimeoutError::Poisoned(error)) => error.owner(),
            _ => panic!("nobody tells of the death"),
        })
    };
    let pid = child.pid();
    child.kill().unwrap();
    assert_eq!(within(LIMIT, || waiter.join().unwrap()), Some(pid));
    drop(limits.write_timeout(LIMIT).unwrap());
    within(LIMIT, move || drop(child.join()));
}

#[test]
fn no_peer_has_memory_unmapped_that_is_in_a_list() {
    let number = Mutex::new(7_u64).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&number, &mut bytes).unwrap();
    let handle = &handoff.handles()[0];
    let peer = Mapping::new(handle, map::length(handle).unwrap()).unwrap();
    let address = std::ptr::from_ref(&*number.lock().unwrap()).addr();
    #[expect(clippy::mem_forget, reason = "that is what is tested")]
    std::mem::forget(number.lock().unwrap());
    // A peer gone wild: nothing in the memory tells any more that somebody holds it.
    peer.write(0, &vec![0; peer.len()]);
    drop((number, handoff));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().any(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&address)
    });
    assert!(mapped, "the thread's list leads into unmapped memory");
    // With it the thread can hold and release others, and end.
    let other = Mutex::new(1).unwrap();
    drop(other.lock().unwrap());
}
