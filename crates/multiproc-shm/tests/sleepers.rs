//! Who waits sleeps: no timer runs for it, and nothing wakes it but what it waits for. Counted in the
//! kernel's own numbers of how often a thread has gone to sleep.

#![cfg(not(loom))]

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use multiproc_shm::{
    Barrier, Condition, Event, Lock, LockTimeoutError, Mutex, RLock, RwLock, Semaphore,
};
use multiproc_testkit::{eventually, linger, within};

const LIMIT: Duration = Duration::from_secs(60);
/// Of each wait.
const WATCHED: Duration = Duration::from_millis(250);

/// How often the thread has given up its core to wait, once it is asleep in a futex call.
fn sleeps(thread: u32) -> Option<u64> {
    let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).ok()?;
    let number: i64 = call.split(' ').next()?.parse().ok()?;
    let waits = [libc::SYS_futex, SYS_FUTEX_WAITV].contains(&number);
    let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).ok()?;
    let switches = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    switches.filter(|_| waits)?.trim().parse().ok()
}

const SYS_FUTEX_WAITV: libc::c_long = 449;

fn waitv_is_missing() -> bool {
    let nothing: *const u8 = std::ptr::null();
    // SAFETY: no words are passed, which the kernel refuses, if it knows the call.
    let result = unsafe {
        libc::syscall(
            SYS_FUTEX_WAITV,
            nothing,
            0,
            0,
            nothing,
            libc::CLOCK_MONOTONIC,
        )
    };
    result != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
}

/// Has a thread `wait`, counts its sleeps for a while, and lets it go on by `release`.
fn watch(what: &str, rechecks: bool, wait: impl FnOnce() + Send + 'static, release: impl FnOnce()) {
    let (tell, told) = mpsc::channel();
    let waiter = thread::spawn(move || {
        // SAFETY: takes no pointer.
        tell.send(unsafe { libc::gettid() }.cast_unsigned())
            .unwrap();
        wait();
    });
    let thread = told.recv_timeout(LIMIT).unwrap();
    let fallback = rechecks && (cfg!(multiproc_force_no_waitv) || waitv_is_missing());
    let mut seen = (None, 0);
    // Asleep for good: the same number at two looks, unless it is one that is woken by a timer.
    eventually(LIMIT, what, || {
        let now = sleeps(thread);
        seen = (
            now,
            if now.is_some() && now == seen.0 {
                seen.1 + 1
            } else {
                0
            },
        );
        seen.1 > 3 || fallback && now.is_some()
    });
    let before = seen.0.unwrap();
    linger(WATCHED);
    let mut after = None;
    eventually(LIMIT, what, || {
        after = sleeps(thread);
        after.is_some()
    });
    let woken = after.unwrap() - before;
    if fallback {
        let most = 2 * u64::try_from(WATCHED.as_millis()).unwrap();
        assert!((1..most).contains(&woken), "{what}: {woken} wakes");
    } else {
        assert_eq!(woken, 0, "{what} wakes for nothing");
    }
    release();
    within(LIMIT, || waiter.join().unwrap());
}

#[test]
fn nothing_wakes_who_sleeps() {
    let mutex = Mutex::new(0).unwrap();
    let (held, it) = (mutex.lock().unwrap(), mutex.clone());
    watch(
        "a mutex",
        false,
        move || drop(it.lock().unwrap()),
        || drop(held),
    );

    let (held, it) = (mutex.lock().unwrap(), mutex.clone());
    let until = move || {
        assert!(!matches!(
            it.lock_timeout(LIMIT),
            Err(LockTimeoutError::TimedOut)
        ))
    };
    watch("a mutex, with a deadline", false, until, || drop(held));

    let lock = Lock::new().unwrap();
    let (held, it) = (lock.lock().unwrap(), lock.clone());
    watch(
        "a lock",
        true,
        move || drop(it.lock().unwrap()),
        || drop(held),
    );

    let nested = RLock::new().unwrap();
    let (held, it) = (nested.lock().unwrap(), nested.clone());
    watch(
        "a reentrant lock",
        false,
        move || drop(it.lock().unwrap()),
        || drop(held),
    );

    let pair = RwLock::new(0).unwrap();
    let (held, it) = (pair.read().unwrap(), pair.clone());
    watch(
        "a writer",
        true,
        move || drop(it.write().unwrap()),
        || drop(held),
    );
    let (held, it) = (pair.write().unwrap(), pair.clone());
    watch(
        "a reader",
        true,
        move || drop(it.read().unwrap()),
        || drop(held),
    );

    let slots = Semaphore::new(0).unwrap();
    let it = slots.clone();
    watch(
        "a semaphore",
        true,
        move || drop(it.acquire()),
        || slots.release(),
    );

    let event = Event::new().unwrap();
    let it = event.clone();
    watch("an event", true, move || it.wait(), || event.set());

    let (condition, number) = (Condition::new().unwrap(), Mutex::new(0).unwrap());
    let (it, guarded) = (condition.clone(), number.clone());
    let wait = move || drop(it.wait(guarded.lock().unwrap()).unwrap());
    watch("a condition", true, wait, || condition.notify_one());

    let barrier = Barrier::new(2).unwrap();
    let it = barrier.clone();
    let wait = move || assert!(it.wait().is_ok());
    watch("a barrier", true, wait, || assert!(barrier.wait().is_ok()));
}
