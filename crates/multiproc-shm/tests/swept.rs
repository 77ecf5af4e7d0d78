//! A process that dies with words that the kernel does not know of: its parent, once it has noticed the
//! death, sees to them, and everybody goes on.

#![cfg(not(loom))]

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use multiproc_process::Process;
use multiproc_shm::{
    Barrier, BarrierError, Condition, Event, Lock, LockTimeoutError, Mutex, PoisonError, RLock,
    RwLock, Semaphore,
};
use multiproc_testkit::{eventually, forever, process_state, within};
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(5);

#[derive(Clone, Serialize, Deserialize)]
struct All {
    number: Mutex<u32>,
    lock: Lock,
    nested: RLock,
    pair: RwLock<u32>,
    slots: Semaphore,
    barrier: Barrier,
    held: Event,
}

/// Has the kernel forget the calling thread's list of what it holds.
fn lose_the_list() {
    #[repr(C)]
    struct Head(Cell<usize>, libc::c_long, usize);
    let head = Box::leak(Box::new(Head(Cell::new(0), -32, 0)));
    head.0.set(std::ptr::from_ref(&head.0).addr());
    let head: *const Head = head;
    // SAFETY: an empty list, leaked.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
    assert_eq!(result, 0);
}

fn hold(all: All) {
    let _number = all.number.lock().unwrap();
    lose_the_list();
    let _guards = (all.lock.lock().unwrap(), all.nested.lock().unwrap());
    let _written = all.pair.write().unwrap();
    let _permit = all.slots.acquire();
    let _member = all.barrier.join().unwrap();
    all.held.set();
    forever();
}

/// One that waits for notice, with its list lost, and is chosen when it is dead.
#[test]
fn a_notice_for_one_that_the_kernel_does_not_reach_goes_to_another() {
    let (number, changed) = (Mutex::new(0_u32).unwrap(), Condition::new().unwrap());
    let waits = Event::new().unwrap();
    fn wait((number, changed, waits): (Mutex<u32>, Condition, Event)) {
        let held = number.lock().unwrap();
        lose_the_list();
        waits.set();
        let _never = changed.wait(held);
    }
    let handles = (number.clone(), changed.clone(), waits.clone());
    let child = Process::spawn(wait, handles).unwrap();
    assert!(waits.wait_timeout(LIMIT));
    drop(number.lock().unwrap()); // until it has released it
    let other = {
        let (number, changed) = (number.clone(), changed.clone());
        thread::spawn(move || {
            let mut held = number.lock().unwrap_or_else(PoisonError::into_inner);
            *held = 1;
            let waited = changed.wait_timeout(held, LIMIT);
            let (_held, result) = waited.unwrap_or_else(PoisonError::into_inner);
            assert!(!result.timed_out(), "the notice died with the other");
        })
    };
    eventually(LIMIT, "the other waits", || {
        number.get().is_ok_and(|now| now == 1)
    });
    let pid = child.pid();
    child.kill().unwrap();
    eventually(LIMIT, "it is dead", || process_state(pid) == Some('Z'));
    changed.notify_one();
    assert!(within(LIMIT, move || child.join()).is_err());
    within(LIMIT, || other.join().unwrap());
}

#[test]
fn what_the_kernel_does_not_reach_the_parent_does() {
    let all = All {
        number: Mutex::new(1).unwrap(),
        lock: Lock::new().unwrap(),
        nested: RLock::new().unwrap(),
        pair: RwLock::new(2).unwrap(),
        slots: Semaphore::new(1).unwrap(),
        barrier: Barrier::new(2).unwrap(),
        held: Event::new().unwrap(),
    };
    let child = Process::spawn(hold, all.clone()).unwrap();
    assert!(all.held.wait_timeout(LIMIT));
    let pid = child.pid();
    child.kill().unwrap();
    eventually(LIMIT, "it is dead", || process_state(pid) == Some('Z'));
    // Nobody has looked at its end, and the kernel knew of nothing.
    let late = all.number.lock_timeout(SOON);
    assert!(matches!(late, Err(LockTimeoutError::TimedOut)));
    drop(late);
    assert!(all.lock.try_lock().is_err() && all.nested.try_lock().is_err());
    assert!(all.pair.try_read().is_err() && all.slots.try_acquire().is_none());

    fn owner<G>(taken: Result<G, LockTimeoutError<G>>) -> Option<u32> {
        match taken {
            Err(LockTimeoutError::Poisoned(error)) => error.owner(),
            _ => panic!("nobody tells of the death"),
        }
    }
    let wait = |wait: fn(&All) -> Option<u32>| {
        let all = all.clone();
        thread::spawn(move || wait(&all))
    };
    let waiters = [
        wait(|all| owner(all.number.lock_timeout(LIMIT))),
        wait(|all| owner(all.lock.lock_timeout(LIMIT))),
        wait(|all| owner(all.nested.lock_timeout(LIMIT))),
        wait(|all| owner(all.pair.read_timeout(LIMIT))),
    ];
    let permit = wait(|all| all.slots.acquire_timeout(LIMIT).map(|_| 0));
    let broken =
        wait(|all| (all.barrier.wait_timeout(LIMIT) == Err(BarrierError::Broken)).then_some(0));
    assert!(within(LIMIT, move || child.join()).is_err());
    for waiter in waiters {
        assert_eq!(within(LIMIT, || waiter.join().unwrap()), Some(pid));
    }
    for waiter in [permit, broken] {
        assert_eq!(within(LIMIT, || waiter.join().unwrap()), Some(0));
    }
}
