//! Locks, semaphores and events shared by real processes: what passes between them, and what bad use gets.

#![cfg(not(loom))]

mod common;

use std::time::Duration;

use multiproc_process::Process;
use multiproc_shm::{
    Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, LockTimeoutError, Mutex,
    NotHeld, Once, RLock, RwLock, Semaphore, SharedArray, SharedValue, TryLockError,
};
use multiproc_testkit::{forever, within};

use common::{LIMIT, join, oracle};

const SOON: Duration = Duration::from_millis(5);

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
    let (condition, lock) = (Condition::new().unwrap(), Lock::new().unwrap());
    let (arrived, done) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let wait = |(condition, lock, arrived, done): (Condition, Lock, Semaphore, Semaphore)| {
        let held = lock.lock().unwrap();
        arrived.release();
        let (_held, result) = condition.wait_timeout(held, LIMIT).unwrap();
        done.release();
        !result.timed_out()
    };
    let handles = (
        condition.clone(),
        lock.clone(),
        arrived.clone(),
        done.clone(),
    );
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(wait, handles.clone()).unwrap())
        .collect();
    (0..3).for_each(|_| arrived.acquire().forget());
    drop(lock.lock().unwrap()); // until the last has released it
    condition.notify_one();
    assert!(
        done.acquire_timeout(LIMIT)
            .map(|done| done.forget())
            .is_some()
    );
    assert!(done.acquire_timeout(SOON).is_none(), "two were notified");
    assert_eq!(condition.notify_many(9), 2);
    for child in children {
        assert!(join(child));
    }
    let held = lock.lock().unwrap();
    let (held, late) = condition.wait_timeout(held, SOON).unwrap();
    assert!(late.timed_out() && lock.is_locked());
    let (held, late) = condition.wait_timeout_while(held, SOON, |()| true).unwrap();
    assert!(late.timed_out());
    let at_once = condition.wait_timeout_while(held, Duration::ZERO, |()| false);
    let (held, at_once) = at_once.unwrap();
    assert!(!at_once.timed_out());
    drop((held, handles));
    drop((condition, lock, arrived, done));
    oracle.finish();
}

/// Two conditions of one lock, whichever kind it is: who waits has the data again when it goes on.
#[test]
fn a_condition_goes_with_any_lock() {
    let oracle = oracle();
    let (items, taken) = (Condition::new().unwrap(), Condition::new().unwrap());
    let slot = Mutex::new(0_u32).unwrap();
    let take = |(slot, items, taken): (Mutex<u32>, Condition, Condition)| {
        let mut sum = 0;
        for _ in 0..100 {
            let held = slot.lock().unwrap();
            let mut held = items.wait_while(held, |slot| *slot == 0).unwrap();
            sum += std::mem::take(&mut *held);
            taken.notify_one();
        }
        sum
    };
    let child = Process::spawn(take, (slot.clone(), items.clone(), taken.clone())).unwrap();
    for number in 1..=100 {
        let held = slot.lock().unwrap();
        let mut held = taken.wait_while(held, |slot| *slot != 0).unwrap();
        *held = number;
        drop(held);
        items.notify_one();
    }
    assert_eq!(join(child), 5_050);

    let array = SharedArray::from_slice(&[0_u8, 0]).unwrap();
    let nested = RLock::new().unwrap();
    let set = |(array, nested, items): (SharedArray<u8>, RLock, Condition)| {
        // Only while the other waits, which has it three times.
        let _held = nested.lock().unwrap();
        array.lock().unwrap()[1] = 7;
        items.notify_all();
    };
    let go = || Process::spawn(set, (array.clone(), nested.clone(), items.clone())).unwrap();
    let held = array.lock().unwrap();
    let child = go();
    let mut held = items.wait_while(held, |array| array[1] == 0).unwrap();
    assert_eq!(*held, [0, 7]);
    held[1] = 0;
    drop(held);
    join(child);
    let outer = [(); 2].map(|()| nested.lock().unwrap());
    let inner = nested.lock().unwrap();
    let child = go();
    let inner = items.wait_while(inner, |()| array.lock().unwrap()[1] == 0);
    let inner = inner.unwrap();
    assert_eq!(nested.depth(), 3);
    let others = |nested: RLock| nested.try_lock().is_err();
    assert!(join(Process::spawn(others, nested.clone()).unwrap()));
    drop((inner, outer));
    assert_eq!(nested.depth(), 0);
    join(child);
    drop((items, taken, slot, array, nested));
    oracle.finish();
}

#[test]
fn a_notice_for_a_dead_process_reaches_another() {
    let oracle = oracle();
    let (condition, lock) = (Condition::new().unwrap(), Lock::new().unwrap());
    let arrived = Semaphore::new(0).unwrap();
    fn wait((condition, lock, arrived): (Condition, Lock, Semaphore)) {
        let held = lock.lock().unwrap();
        arrived.release();
        drop(condition.wait(held).unwrap());
    }
    let handles = (condition.clone(), lock.clone(), arrived.clone());
    let [dead, alive] = [(); 2].map(|()| {
        let child = Process::spawn(wait, handles.clone()).unwrap();
        arrived.acquire().forget();
        child
    });
    // Chosen while it is killed, or dead already: it has the lock back in neither case.
    let held = lock.lock().unwrap();
    dead.kill().unwrap();
    condition.notify_one();
    drop(held);
    within(LIMIT, move || drop(dead.join()));
    join(alive);
    drop((condition, lock, arrived, handles));
    oracle.finish();
}

#[test]
fn processes_pass_a_barrier_in_step() {
    let oracle = oracle();
    let barrier = Barrier::new(4).unwrap();
    let acted = SharedValue::new(0_u32).unwrap();
    let pass = |(barrier, acted): (Barrier, SharedValue<u32>)| {
        let mut led = 0;
        for round in 1..=100 {
            let act = || *acted.lock().unwrap() += 1;
            let result = if round % 2 == 0 {
                barrier.wait_with(act).unwrap()
            } else {
                barrier.wait_timeout_with(LIMIT, act).unwrap()
            };
            assert!(acted.get().unwrap() >= round);
            led += u32::from(result.is_leader());
        }
        led
    };
    let children: Vec<_> = (0..4)
        .map(|_| Process::spawn(pass, (barrier.clone(), acted.clone())).unwrap())
        .collect();
    let led: u32 = children.into_iter().map(join).sum();
    assert_eq!((led, acted.get().unwrap()), (100, 100));
    assert_eq!((barrier.parties(), barrier.waiting()), (4, 0));
    for parties in [0, 127] {
        let error = Barrier::new(parties).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    drop((barrier, acted));
    oracle.finish();
}

#[test]
fn a_barrier_is_broken_by_a_death_a_timeout_or_an_abort() {
    let oracle = oracle();
    let (barrier, joined) = (Barrier::new(3).unwrap(), Event::new().unwrap());
    let wait = |barrier: Barrier| barrier.wait().unwrap_err() == BarrierError::Broken;
    fn take_part((barrier, joined): (Barrier, Event)) {
        let _member = barrier.join().unwrap();
        joined.set();
        forever();
    }
    // One is killed while it waits, and one that takes part before it does.
    for member in [false, true] {
        let waiter = Process::spawn(wait, barrier.clone()).unwrap();
        let victim = if member {
            let victim = Process::spawn(take_part, (barrier.clone(), joined.clone())).unwrap();
            wait_for(&joined);
            victim.kill().unwrap();
            within(LIMIT, move || drop(victim.join()));
            None
        } else {
            Some(Process::spawn(wait, barrier.clone()).unwrap())
        };
        if let Some(victim) = victim {
            multiproc_testkit::eventually(LIMIT, "two wait", || barrier.waiting() == 2);
            victim.kill().unwrap();
            within(LIMIT, move || drop(victim.join()));
        }
        assert!(join(waiter));
        assert!(barrier.is_broken());
        assert_eq!(barrier.wait(), Err(BarrierError::Broken));
        barrier.reset();
    }
    assert_eq!(barrier.wait_timeout(SOON), Err(BarrierError::TimedOut));
    assert!(barrier.is_broken());
    barrier.reset();
    barrier.abort();
    assert!(join(Process::spawn(wait, barrier.clone()).unwrap()));
    drop((barrier, joined));
    oracle.finish();
}

#[test]
fn readers_read_together_and_a_dead_writer_poisons() {
    let oracle = oracle();
    let (lock, held) = (RwLock::new(5_u64).unwrap(), Event::new().unwrap());
    let mine = lock.read().unwrap();
    let read = |lock: RwLock<u64>| (lock.read().is_ok(), lock.try_write().is_err());
    assert_eq!(
        join(Process::spawn(read, lock.clone()).unwrap()),
        (true, true)
    );
    let late = |lock: RwLock<u64>| lock.write_timeout(SOON).is_err();
    assert!(join(Process::spawn(late, lock.clone()).unwrap()));
    drop(mine);
    fn hold((lock, held, write): (RwLock<u64>, Event, bool)) {
        let _guards = if write {
            (None, Some(lock.write().unwrap()))
        } else {
            (Some(lock.read().unwrap()), None)
        };
        held.set();
        forever();
    }
    for write in [false, true] {
        held.clear();
        let holder = Process::spawn(hold, (lock.clone(), held.clone(), write)).unwrap();
        wait_for(&held);
        assert_eq!(lock.try_read().is_err(), write);
        assert!(lock.try_write().is_err());
        let waiter = {
            let lock = lock.clone();
            std::thread::spawn(move || lock.write().map(drop).map_err(|error| error.owner()))
        };
        let pid = holder.pid();
        holder.kill().unwrap();
        let told = within(LIMIT, || waiter.join().unwrap());
        assert_eq!(told, if write { Err(Some(pid)) } else { Ok(()) });
        within(LIMIT, move || drop(holder.join()));
    }
    assert!(lock.is_poisoned() && lock.read().is_err());
    lock.clear_poison();
    assert_eq!(*lock.read_timeout(SOON).unwrap(), 5);
    *lock.write().unwrap() += 1;
    let change = |lock: RwLock<u64>| *lock.write_timeout(LIMIT).unwrap() *= 7;
    join(Process::spawn(change, lock.clone()).unwrap());
    assert_eq!(*lock.try_read().unwrap(), 42);
    drop(RwLock::new(()).unwrap().write().unwrap());
    drop((lock, held));
    oracle.finish();
}

#[test]
fn once_is_done_by_one_and_again_after_a_death() {
    let oracle = oracle();
    let (once, begun) = (Once::new().unwrap(), Event::new().unwrap());
    fn stop_half_way((once, begun): (Once, Event)) {
        once.call_once(|state| {
            assert!(!state.is_poisoned());
            begun.set();
            forever();
        });
    }
    let victim = Process::spawn(stop_half_way, (once.clone(), begun.clone())).unwrap();
    wait_for(&begun);
    let next = |once: Once| {
        let mut told = None;
        once.call_once(|state| told = Some(state.is_poisoned()));
        (told, once.is_completed())
    };
    let next = [(); 2].map(|()| Process::spawn(next, once.clone()).unwrap());
    assert!(!once.is_completed());
    victim.kill().unwrap();
    let mut told = next.map(join);
    told.sort_unstable();
    assert_eq!(told, [(None, true), (Some(true), true)]);
    drop((once, begun, victim));
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

    let array = SharedArray::from_slice(&[1, 2]).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let error = multiproc_wire::decode::<Mutex<i32>>(&bytes, handoff.handles().to_vec());
    assert!(error.is_err(), "two elements are no mutex");
    drop((array, handoff));
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
