//! Locks, semaphores and events shared by real processes: what passes between them, and what bad use gets.

#![cfg(not(loom))]

use std::time::Duration;

use multiproc_process::Process;
use multiproc_shm::{
    BoundedSemaphore, Condition, Event, Lock, LockTimeoutError, NotHeld, RLock, Semaphore,
    SharedValue, TryLockError,
};
use multiproc_testkit::{Oracle, forever, within};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(5);

/// The oracle, once what a process keeps for good (the lifeline, the reaper) is there.
fn oracle() -> Oracle {
    Oracle::after(|| {
        let child = Process::spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}

fn join<R: serde::de::DeserializeOwned + Send + 'static>(child: Process<R>) -> R {
    within(LIMIT, move || child.join().unwrap())
}

fn wait_for(event: &Event) {
    assert!(event.wait_timeout(LIMIT), "it was never set");
}

#[test]
fn a_lock_excludes_and_any_process_may_release_it() {
    let oracle = oracle();
    let lock = Lock::new().unwrap();
    let count = SharedValue::new(0_u64).unwrap();
    // Not under the value's own lock: two at a time would lose some.
    let add = |(lock, count): (Lock, SharedValue<u64>)| {
        for _ in 0..1_000 {
            let _held = lock.lock().unwrap();
            let now = count.get().unwrap();
            count.set(now + 1).unwrap();
        }
    };
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(add, (lock.clone(), count.clone())).unwrap())
        .collect();
    children.into_iter().for_each(join);
    assert_eq!(count.get().unwrap(), 3_000);

    let mine = lock.lock().unwrap();
    assert!(lock.is_locked());
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    let late = lock.lock_timeout(SOON);
    assert!(matches!(late, Err(LockTimeoutError::TimedOut)));
    drop(late);
    join(Process::spawn(|lock: Lock| lock.release().unwrap(), lock.clone()).unwrap());
    let again = lock.lock().unwrap();
    drop(mine);
    assert!(lock.is_locked(), "the old guard released the new one's");
    drop(again);
    assert_eq!(lock.release(), Err(NotHeld));
    lock.lock().unwrap().keep();
    assert!(lock.is_locked());
    lock.release().unwrap();
    assert!(!lock.is_locked());
    drop((lock, count));
    oracle.finish();
}

#[test]
fn a_dead_lock_holder_is_told_of_once() {
    let oracle = oracle();
    let (lock, held) = (Lock::new().unwrap(), Event::new().unwrap());
    fn hold((lock, held): (Lock, Event)) {
        let _held = lock.lock().unwrap();
        held.set();
        forever();
    }
    let holder = Process::spawn(hold, (lock.clone(), held.clone())).unwrap();
    wait_for(&held);
    let waiter = {
        let lock = lock.clone();
        std::thread::spawn(move || lock.lock().unwrap_err().owner())
    };
    let pid = holder.pid();
    holder.kill().unwrap();
    let owner = within(LIMIT, || waiter.join().unwrap());
    assert_eq!(owner, Some(pid));
    drop(lock.lock().unwrap());

    fn fail(lock: Lock) {
        let _held = lock.lock().unwrap();
        panic!("half-way");
    }
    let child = Process::builder().print_panics(false);
    let child = child.spawn(fail, lock.clone()).unwrap();
    let pid = child.pid();
    within(LIMIT, move || child.join().unwrap_err());
    assert_eq!(lock.lock().unwrap_err().owner(), Some(pid));
    drop(lock.lock().unwrap());
    drop((lock, held, holder));
    oracle.finish();
}

#[test]
fn a_reentrant_lock_is_its_threads() {
    let oracle = oracle();
    let lock = RLock::new().unwrap();
    let guards = [(); 3].map(|()| lock.lock().unwrap());
    assert_eq!(lock.depth(), 3);
    let others = |lock: RLock| {
        let refused = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
        (
            lock.depth(),
            refused,
            lock.lock_timeout(Duration::ZERO).is_err(),
        )
    };
    assert_eq!(
        join(Process::spawn(others, lock.clone()).unwrap()),
        (0, true, true)
    );
    drop(guards);
    fn leave(lock: RLock) {
        let _guards = (lock.lock(), lock.lock());
        std::process::abort();
    }
    let child = Process::<()>::spawn(leave, lock.clone()).unwrap();
    let pid = child.pid();
    within(LIMIT, move || drop(child.join()));
    let poisoned = lock.lock().unwrap_err();
    assert_eq!((poisoned.owner(), lock.depth()), (Some(pid), 1));
    assert!(lock.is_poisoned());
    lock.clear_poison();
    drop(poisoned);
    drop(lock.lock().unwrap());
    drop(lock);
    oracle.finish();
}

#[test]
fn a_dead_process_gives_its_permits_back() {
    let oracle = oracle();
    let slots = Semaphore::new(3).unwrap();
    let held = Event::new().unwrap();
    fn hold((slots, held): (Semaphore, Event)) {
        slots.acquire().keep();
        slots.acquire().keep();
        slots.acquire().forget();
        held.set();
        forever();
    }
    let holder = Process::spawn(hold, (slots.clone(), held.clone())).unwrap();
    wait_for(&held);
    assert_eq!(slots.available(), 0);
    assert!(slots.try_acquire().is_none() && slots.acquire_timeout(SOON).is_none());
    let waiter = {
        let slots = slots.clone();
        std::thread::spawn(move || slots.acquire_timeout(LIMIT).is_some())
    };
    holder.kill().unwrap();
    assert!(within(LIMIT, || waiter.join().unwrap()));
    assert_eq!(slots.available(), 2, "two come back, and one is forgotten");
    drop((slots, held, holder));
    oracle.finish();
}

#[test]
fn permits_are_added_and_bounded() {
    let oracle = oracle();
    let items = Semaphore::new(0).unwrap();
    let take = |items: Semaphore| (0..100).for_each(|_| items.acquire().forget());
    let child = Process::spawn(take, items.clone()).unwrap();
    (0..100).for_each(|_| items.release());
    join(child);
    assert_eq!(items.available(), 0);

    let bounded = BoundedSemaphore::new(2).unwrap();
    assert_eq!(bounded.release(), Err(NotHeld));
    bounded.acquire().keep();
    let guard = bounded.acquire();
    assert!(bounded.try_acquire().is_none());
    bounded.release().unwrap();
    bounded.release().unwrap();
    assert_eq!(bounded.release(), Err(NotHeld));
    drop(guard);
    assert_eq!(bounded.available(), 2, "the guard's was given back before");
    bounded.acquire().forget();
    let give_back = |bounded: BoundedSemaphore| {
        bounded.release().unwrap();
        bounded.release().is_err()
    };
    assert!(join(Process::spawn(give_back, bounded.clone()).unwrap()));
    assert_eq!(bounded.available(), 2);
    let error = Semaphore::new(u32::MAX).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    drop((items, bounded));
    oracle.finish();
}

#[test]
fn an_event_is_seen_by_all() {
    let oracle = oracle();
    let (event, ready) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    assert!(!event.is_set() && !event.wait_timeout(SOON));
    let wait = |(event, ready): (Event, Semaphore)| {
        ready.release();
        event.wait();
        event.is_set()
    };
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(wait, (event.clone(), ready.clone())).unwrap())
        .collect();
    (0..3).for_each(|_| ready.acquire().forget());
    join(Process::spawn(|event: Event| event.set(), event.clone()).unwrap());
    for child in children {
        assert!(join(child));
    }
    event.clear();
    assert!(!event.is_set() && !event.wait_timeout(Duration::ZERO));
    drop((event, ready));
    oracle.finish();
}

#[test]
fn a_condition_notifies_as_many_as_asked() {
    let oracle = oracle();
    let (condition, arrived) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
    let done = Semaphore::new(0).unwrap();
    let wait = |(condition, arrived, done): (Condition, Semaphore, Semaphore)| {
        let mut held = condition.lock().unwrap();
        arrived.release();
        let notified = held.wait_timeout(LIMIT).unwrap();
        done.release();
        notified
    };
    let handles = (condition.clone(), arrived.clone(), done.clone());
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(wait, handles.clone()).unwrap())
        .collect();
    (0..3).for_each(|_| arrived.acquire().forget());
    condition.lock().unwrap().notify_one();
    assert!(
        done.acquire_timeout(LIMIT)
            .map(|done| done.forget())
            .is_some()
    );
    assert!(done.acquire_timeout(SOON).is_none(), "two were notified");
    assert_eq!(condition.lock().unwrap().notify_many(9), 2);
    for child in children {
        assert!(join(child));
    }
    let mut held = condition.lock().unwrap();
    assert!(!held.wait_timeout(SOON).unwrap());
    assert!(!held.wait_timeout_while(SOON, || true).unwrap());
    assert!(held.wait_timeout_while(Duration::ZERO, || false).unwrap());
    assert!(condition.try_lock().is_err());
    drop((held, handles));
    drop((condition, arrived, done));
    oracle.finish();
}

#[test]
fn a_notice_for_a_dead_process_reaches_another() {
    let oracle = oracle();
    let (condition, arrived) = (Condition::new().unwrap(), Semaphore::new(0).unwrap());
    fn wait((condition, arrived): (Condition, Semaphore)) {
        let mut held = condition.lock().unwrap();
        arrived.release();
        held.wait().unwrap();
    }
    let handles = (condition.clone(), arrived.clone());
    let [dead, alive] = [(); 2].map(|()| {
        let child = Process::spawn(wait, handles.clone()).unwrap();
        arrived.acquire().forget();
        child
    });
    // Chosen while it is killed, or dead already: it has the lock back in neither case.
    let held = condition.lock().unwrap();
    dead.kill().unwrap();
    held.notify_one();
    drop(held);
    within(LIMIT, move || drop(dead.join()));
    join(alive);
    drop((condition, arrived, handles));
    oracle.finish();
}

#[test]
fn handles_travel_in_messages_only_and_as_what_they_are() {
    let oracle = oracle();
    let lock = Lock::new().unwrap();
    let json = serde_json::to_string(&lock).unwrap_err();
    assert!(json.to_string().contains("can only travel in a message"));
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&lock, &mut bytes).unwrap();
    let other = multiproc_wire::decode::<Event>(&bytes, handoff.handles().to_vec());
    assert!(other.is_err());
    let same = multiproc_wire::decode::<Lock>(&bytes, handoff.handles().to_vec()).unwrap();
    let held = lock.lock().unwrap();
    assert!(same.is_locked());
    drop(held);
    drop((lock, same, handoff));
    oracle.finish();
}

#[test]
fn a_leaked_guard_harms_nothing() {
    let oracle = oracle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (lock, slots) = (Lock::new().unwrap(), Semaphore::new(1).unwrap());
            lock.lock().unwrap().keep();
            slots.acquire().keep();
            lock.release().unwrap();
            slots.release();
            // The lock's own thread has released it, and neither is in a list any more.
            drop((lock, slots));
        });
    });
    oracle.finish();
}
