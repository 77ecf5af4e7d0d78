//! Threads of one process: words, deaths of threads, and the kernel's part in them.

use std::sync::atomic::{AtomicBool, AtomicU32 as Count, AtomicU64};
use std::thread::{scope, yield_now};
use std::time::Duration;

use super::*;

fn lock(lock: &LockWord) -> Held {
    // SAFETY: the tests' locks outlive the threads that take them.
    unsafe { lock.lock(limit()) }.unwrap()
}

fn unlock(lock: &LockWord) {
    // SAFETY: the tests access what they protect before this only.
    unsafe { lock.unlock() };
}

fn word(lock: &LockWord) -> u32 {
    lock.word().load(Acquire)
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Yields until `done`, or fails at the limit.
fn eventually(done: impl Fn() -> bool) {
    let limit = limit();
    while !done() {
        assert!(!limit.has_passed(), "it never came");
        yield_now();
    }
}

/// Whether the thread whose id `at` holds is asleep in a futex call.
fn sleeps_on_a_futex(at: &Count) -> bool {
    let call = std::fs::read_to_string(format!("/proc/self/task/{}/syscall", at.load(Acquire)));
    call.is_ok_and(|call| call.starts_with("202 ") || call.starts_with("98 "))
}

#[test]
fn an_uncontended_lock_leaves_nothing_behind() {
    let it = LockWord::default();
    assert_eq!(lock(&it), Held::Sound);
    assert_eq!(word(&it), thread_id());
    assert_eq!(it.note(OWNER).load(Relaxed), std::process::id());
    unlock(&it);
    assert_eq!(word(&it), 0);
    assert_eq!(it.note(OWNER).load(Relaxed), 0);
}

#[test]
fn a_holder_that_comes_again_is_told_so() {
    let it = LockWord::default();
    assert_eq!(lock(&it), Held::Sound);
    // SAFETY: not taken.
    let again = unsafe { it.lock(Deadline::NEVER) };
    assert_eq!(again, Err(NotTaken::WouldDeadlock));
    // SAFETY: not taken.
    assert_eq!(unsafe { it.try_lock() }, None);
    unlock(&it);
    assert_eq!(word(&it), 0);
}

#[test]
fn who_does_not_hold_it_cannot_unlock_it() {
    let it = LockWord::default();
    unlock(&it);
    assert_eq!(lock(&it), Held::Sound);
    scope(|scope| {
        scope.spawn(|| unlock(&it));
    });
    assert_eq!(word(&it), thread_id());
    unlock(&it);
}

#[test]
fn a_deadline_ends_the_wait_and_the_lock_works_on() {
    let it = LockWord::default();
    assert_eq!(lock(&it), Held::Sound);
    scope(|scope| {
        scope.spawn(|| {
            // SAFETY: not taken.
            let late = unsafe { it.lock(Deadline::after(Duration::from_millis(2))) };
            assert_eq!(late, Err(NotTaken::TimedOut));
        });
    });
    assert_eq!(word(&it), thread_id() | WAITERS);
    unlock(&it);
    assert_eq!(
        word(&it),
        WAITERS,
        "nobody slept, which only a close may conclude"
    );
    assert_eq!(lock(&it), Held::Sound);
    unlock(&it);
    assert_eq!(word(&it), 0, "closed");
}

#[test]
fn a_free_word_with_waiters_is_taken_without_waiting() {
    let it = LockWord::default();
    it.word().store(WAITERS, Relaxed);
    // SAFETY: as in `lock`.
    assert_eq!(unsafe { it.try_lock() }, Some(Held::Sound));
    assert_eq!(word(&it), thread_id() | WAITERS);
    unlock(&it);
}

#[test]
fn a_close_gives_way_to_who_falls_asleep() {
    let it = LockWord::default();
    assert_eq!(lock(&it), Held::Sound);
    it.word().fetch_or(WAITERS | CLOSING, Relaxed);
    let sleeper = Count::new(0);
    scope(|scope| {
        scope.spawn(|| {
            sleeper.store(thread_id(), Release);
            assert_eq!(lock(&it), Held::Sound);
            unlock(&it);
        });
        eventually(|| word(&it) == thread_id() | WAITERS && sleeps_on_a_futex(&sleeper));
        it.note(QUIET).store(1, Relaxed);
        unlock(&it);
    });
}

#[test]
fn a_thread_that_ends_holding_it_poisons_it() {
    let it = LockWord::default();
    assert_eq!(
        scope(|scope| scope.spawn(|| lock(&it)).join().unwrap()),
        Held::Sound
    );
    assert!(it.is_poisoned());
    it.clear_poison();
    assert!(it.is_poisoned(), "nobody has been told yet");
    let poisoned = Held::Poisoned {
        owner: Some(std::process::id()),
    };
    for _ in 0..2 {
        assert_eq!(lock(&it), poisoned);
        unlock(&it);
    }
    it.clear_poison();
    assert_eq!(lock(&it), Held::Sound);
    unlock(&it);
}

#[test]
fn a_death_before_the_name_is_noted_is_nameless() {
    let it = LockWord::default();
    it.word().store(OWNER_DIED, Relaxed);
    assert_eq!(lock(&it), Held::Poisoned { owner: None });
    unlock(&it);
}

#[test]
fn a_holders_end_wakes_a_sleeper() {
    let it = LockWord::default();
    let (sleeper, held) = (Count::new(0), AtomicBool::new(false));
    scope(|scope| {
        scope.spawn(|| {
            assert_eq!(lock(&it), Held::Sound);
            held.store(true, Release);
            eventually(|| sleeps_on_a_futex(&sleeper));
        });
        scope.spawn(|| {
            eventually(|| held.load(Acquire));
            sleeper.store(thread_id(), Release);
            assert!(matches!(lock(&it), Held::Poisoned { .. }));
            unlock(&it);
        });
    });
}

/// The kernel's half of Invariant 4, in the form that Linux has had since 5.17.
#[test]
fn a_thread_that_ends_with_a_free_word_announced_passes_its_wake_on() {
    for free in [0, WAITERS, WAITERS | OWNER_DIED] {
        let it = LockWord::default();
        it.word().store(free, Relaxed);
        let (sleeper, woken) = (Count::new(0), AtomicBool::new(false));
        scope(|scope| {
            scope.spawn(|| {
                sleeper.store(thread_id(), Release);
                // May return for nothing, but the wake is then not passed on to anybody else.
                assert_eq!(futex::wait(it.word(), free, limit()), Woken::Look);
                woken.store(true, Release);
            });
            eventually(|| sleeps_on_a_futex(&sleeper));
            scope.spawn(|| it.robust.announce());
        });
        assert!(woken.into_inner());
    }
}

#[test]
fn many_threads_exclude_each_other_and_all_get_through() {
    const THREADS: u64 = 4;
    const TURNS: u64 = 20_000;
    let it = LockWord::default();
    let count = AtomicU64::new(0);
    scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for turn in 0..TURNS {
                    assert_eq!(lock(&it), Held::Sound);
                    // Not a read-modify-write: a second holder would lose a turn.
                    count.store(count.load(Relaxed) + 1, Relaxed);
                    if turn % 64 == 0 {
                        yield_now();
                    }
                    unlock(&it);
                }
            });
        }
    });
    assert_eq!(count.into_inner(), THREADS * TURNS);
    for _ in 0..2 {
        assert_eq!(lock(&it), Held::Sound);
        unlock(&it);
    }
    assert_eq!(word(&it), 0);
}

#[test]
fn waits_with_deadlines_and_without_mix() {
    let it = LockWord::default();
    let taken = AtomicU64::new(0);
    scope(|scope| {
        for thread in 0..4 {
            let (it, taken) = (&it, &taken);
            scope.spawn(move || {
                for turn in 0..2_000 {
                    let deadline = match thread {
                        0 | 1 => limit(),
                        _ => Deadline::after(Duration::from_micros(turn % 50)),
                    };
                    // SAFETY: as in `lock`.
                    if unsafe { it.lock(deadline) }.is_ok() {
                        taken.store(taken.load(Relaxed) + 1, Relaxed);
                        yield_now();
                        unlock(it);
                    }
                }
            });
        }
    });
    assert!(taken.into_inner() >= 4_000);
}

#[test]
fn a_brief_section_has_the_lock_and_lets_it_go() {
    let lock = LockWord::default();
    // SAFETY: here and below, the lock outlives the call, and the sections take no other lock.
    let inside = unsafe { lock.briefly(|| lock.is_mine()) };
    assert_eq!(inside, Some(true));
    assert!(!lock.is_held());
    // SAFETY: as above.
    let guard = unsafe { lock.guard() }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { lock.briefly(|| ()) }, None, "it is held");
    drop(guard);
    let panicked = std::panic::catch_unwind(|| {
        // SAFETY: as above.
        unsafe { lock.briefly(|| panic!("in the section")) }
    });
    assert!(panicked.is_err() && !lock.is_held() && lock.is_poisoned());
    // SAFETY: as above.
    assert_eq!(unsafe { lock.briefly(|| ()) }, None, "it is not sound");
    assert!(!lock.is_held());
    lock.clear_poison();
    // SAFETY: as above.
    assert_eq!(unsafe { lock.briefly(|| ()) }, Some(()));
}

#[test]
fn brief_sections_exclude_each_other_and_others() {
    let (lock, count) = (LockWord::default(), AtomicU64::new(0));
    let add = || count.store(count.load(Relaxed) + 1, Relaxed);
    scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    // SAFETY: the lock outlives the threads, and the section takes no other.
                    if unsafe { lock.briefly(add) }.is_none() {
                        // SAFETY: as above; the guard is not leaked.
                        let _guard = unsafe { lock.guard() }.unwrap();
                        add();
                    }
                }
            });
        }
    });
    assert_eq!(count.load(Relaxed), 80_000);
}
