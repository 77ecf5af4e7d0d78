//! What bad use of the primitives gets: an error, an answer at once, or a panic that is in the documents.

#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use multiproc_shm::{
    Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, Mutex, NotHeld, Once, RLock,
    RwLock, Semaphore,
};
use multiproc_testkit::within;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn no_time_is_an_answer_at_once() {
    let none = Duration::ZERO;
    let (number, lock, pair) = (
        Mutex::new(0).unwrap(),
        Lock::new().unwrap(),
        RwLock::new(0).unwrap(),
    );
    // What is free is had in no time.
    let held = (
        number.lock_timeout(none).unwrap(),
        lock.lock_timeout(none).unwrap(),
    );
    let read = pair.read_timeout(none).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(number.lock_timeout(none).is_err() && lock.lock_timeout(none).is_err());
            assert!(pair.write_timeout(none).is_err() && pair.read_timeout(none).is_ok());
        });
    });
    drop((held, read));
    assert!(Semaphore::new(0).unwrap().acquire_timeout(none).is_none());
    assert!(!Event::new().unwrap().wait_timeout(none));
    let condition = Condition::new().unwrap();
    let waited = condition.wait_timeout(number.lock().unwrap(), none);
    assert!(waited.unwrap().1.timed_out());
    let barrier = Barrier::new(2).unwrap();
    assert_eq!(barrier.wait_timeout(none), Err(BarrierError::TimedOut));
    assert!(barrier.is_broken());
}

#[test]
fn an_enormous_time_is_for_ever() {
    let ever = Duration::MAX;
    let (number, event) = (Mutex::new(0).unwrap(), Event::new().unwrap());
    let (slots, barrier) = (Semaphore::new(0).unwrap(), Barrier::new(2).unwrap());
    let held = number.lock_timeout(ever).unwrap();
    let waiter = {
        let (number, event, slots, barrier) = (
            number.clone(),
            event.clone(),
            slots.clone(),
            barrier.clone(),
        );
        std::thread::spawn(move || {
            drop(number.lock_timeout(ever).unwrap());
            assert!(event.wait_timeout(ever));
            assert!(slots.acquire_timeout(ever).is_some());
            barrier.wait_timeout(ever).unwrap();
        })
    };
    drop(held);
    event.set();
    slots.release();
    barrier.wait_timeout(ever).unwrap();
    within(LIMIT, || waiter.join().unwrap());
}

#[test]
fn what_is_not_held_cannot_be_released() {
    assert_eq!(Lock::new().unwrap().release(), Err(NotHeld));
    let bounded = BoundedSemaphore::new(2).unwrap();
    assert_eq!(bounded.release(), Err(NotHeld));
    assert_eq!(bounded.available(), 2);
    let most = Semaphore::new(i32::MAX.cast_unsigned()).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| most.release())).is_err());
    assert_eq!(most.available(), i32::MAX.cast_unsigned());
    assert!(Semaphore::new(1 << 31).is_err());
    assert!(Barrier::new(0).is_err() && Barrier::new(127).is_err());
}

#[test]
fn a_thread_that_would_wait_for_itself_panics() {
    let (number, pair, once) = (
        Mutex::new(0).unwrap(),
        RwLock::new(0).unwrap(),
        Once::new().unwrap(),
    );
    let mine = number.lock().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| number.lock().map(drop).is_ok())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| number.get().is_ok())).is_err());
    drop(mine);
    let read = pair.read().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| pair.write().map(drop).is_ok())).is_err());
    drop(read);
    assert!(
        catch_unwind(AssertUnwindSafe(
            || once.call_once(|_| once.call_once(|_| ()))
        ))
        .is_err()
    );
    // None of them is the worse for it, but for what the panic cut short.
    drop((number.lock().unwrap(), pair.write().unwrap()));
    once.call_once(|state| assert!(state.is_poisoned()));
}

/// A fork that is no start of a program: its copies of guards are not its own, its handles are.
#[test]
fn a_forked_child_has_handles_and_no_guards() {
    let (number, lock, nested) = (
        Mutex::new(0).unwrap(),
        Lock::new().unwrap(),
        RLock::new().unwrap(),
    );
    let (pair, slots) = (RwLock::new(0).unwrap(), Semaphore::new(2).unwrap());
    let guards = (
        number.lock().unwrap(),
        lock.lock().unwrap(),
        nested.lock().unwrap(),
        pair.write().unwrap(),
        slots.acquire(),
    );
    // SAFETY: no pointer is passed; the child ends below, without running what is the parent's to run.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let as_it_should = catch_unwind(AssertUnwindSafe(|| {
            drop(guards);
            number.try_lock().is_err()
                && lock.is_locked()
                && nested.try_lock().is_err()
                && pair.try_read().is_err()
                && slots.available() == 1
                && slots.try_acquire().is_some()
        }));
        // SAFETY: no pointer is passed.
        unsafe { libc::_exit(i32::from(!as_it_should.unwrap_or(false))) };
    }
    let mut status = 0;
    // SAFETY: `status` is live; the child is this process's.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child let go of what is its parent's");
    drop(guards);
    assert!(number.try_lock().is_ok() && !lock.is_locked() && nested.try_lock().is_ok());
    assert!(pair.try_write().is_ok());
    assert_eq!(slots.available(), 2);
}
