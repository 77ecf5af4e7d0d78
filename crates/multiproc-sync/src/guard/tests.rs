//! Guards, panics and poison within one process.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

fn lock(word: &LockWord) -> Result<LockGuard<'_>, PoisonError<LockGuard<'_>>> {
    // SAFETY: the tests' words outlive their guards, and no guard is leaked.
    unsafe { word.guard() }
}

fn try_lock(word: &LockWord) -> Result<LockGuard<'_>, TryLockError<LockGuard<'_>>> {
    // SAFETY: as in `lock`.
    unsafe { word.try_guard() }
}

#[test]
fn a_guard_unlocks_when_dropped() {
    let word = LockWord::default();
    let guard = lock(&word).unwrap();
    assert!(matches!(try_lock(&word), Err(TryLockError::WouldBlock)));
    drop(guard);
    drop(try_lock(&word).unwrap());
    assert!(!word.is_poisoned());
}

#[test]
fn a_panic_poisons_until_the_poison_is_cleared() {
    let word = LockWord::default();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = lock(&word).unwrap();
        panic!("in the middle of a change");
    }));
    assert!(panicked.is_err());
    for _ in 0..2 {
        let error = lock(&word).unwrap_err();
        assert_eq!(error.owner(), Some(std::process::id()));
    }
    assert!(matches!(try_lock(&word), Err(TryLockError::Poisoned(_))));
    word.clear_poison();
    drop(lock(&word).unwrap());
}

#[test]
fn a_guard_taken_and_dropped_during_a_panic_does_not_poison() {
    struct LocksWhenDropped<'a>(&'a LockWord);
    impl Drop for LocksWhenDropped<'_> {
        fn drop(&mut self) {
            drop(lock(self.0).unwrap());
        }
    }
    let word = LockWord::default();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _locks = LocksWhenDropped(&word);
        panic!("before the lock was taken");
    }));
    assert!(panicked.is_err());
    assert!(!word.is_poisoned());
}

#[test]
fn taking_it_twice_is_a_panic_with_a_clear_message() {
    let word = LockWord::default();
    let guard = lock(&word).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| lock(&word).map(drop).is_ok())).unwrap_err();
    let message = panicked.downcast_ref::<String>().unwrap();
    assert_eq!(
        message,
        "this thread holds the lock already and would wait for itself"
    );
    drop(guard);
    assert!(!word.is_poisoned());
}
