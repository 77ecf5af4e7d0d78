//! Deaths of threads, and the company of glibc's own robust mutexes.

use std::sync::atomic::Ordering::{Acquire, SeqCst};

use super::*;
use crate::clock::Deadline;
use crate::futex;

fn word() -> RobustWord {
    RobustWord::anchor()
}

fn take(word: &RobustWord) {
    word.announce();
    word.word.store(thread_id(), SeqCst);
    // SAFETY: the tests' words outlive the threads that hold them.
    unsafe { word.link(Until::ThreadEnds) };
}

fn release(word: &RobustWord) {
    assert!(word.unlink());
    word.word.store(0, SeqCst);
    word.retract();
}

/// Nodes from the head to the end of the list, by the links the kernel would follow.
fn walk() -> Vec<usize> {
    let head = head().unwrap();
    let end = ptr::from_ref(&head.first).addr();
    let mut nodes = vec![];
    let mut node = head.first.get();
    while node != end {
        nodes.push(node);
        assert!(nodes.len() < 100, "the list does not end: {nodes:?}");
        // SAFETY: every node of the list is mapped.
        node = unsafe { *ptr::with_exposed_provenance::<usize>(node & !1) };
    }
    nodes
}

#[test]
fn the_list_holds_what_is_held_in_any_order_of_release() {
    let words = [word(), word(), word()];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        words.iter().for_each(take);
        let nodes: Vec<_> = words.iter().rev().map(RobustWord::node).collect();
        assert_eq!(walk()[1..4], nodes);
        for (released, index) in order.into_iter().enumerate() {
            release(&words[index]);
            assert_eq!(walk().len(), 2 + 2 - released);
        }
    }
    assert!(!words[0].unlink(), "what is not held cannot be unlinked");
}

#[test]
fn a_thread_that_ends_holding_words_marks_all_of_them() {
    let words = [word(), word(), word()];
    std::thread::scope(|scope| scope.spawn(|| words.iter().for_each(take)).join().unwrap());
    for word in &words {
        assert_eq!(word.word.load(Acquire), OWNER_DIED);
    }
}

/// The address of the word and how many bytes it has.
fn memory(word: &RobustWord) -> (*const u8, usize) {
    (ptr::from_ref(word).cast(), size_of::<RobustWord>())
}

#[test]
fn the_process_knows_what_its_threads_hold() {
    let words: [RobustWord; 40] = std::array::from_fn(|_| word());
    let held = |word| {
        let (first, length) = memory(word);
        super::super::holds_within(first, length)
    };
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            // More than there are slots at first, let go in an order that leaves gaps.
            for pair in words.windows(2) {
                if !held(&pair[0]) {
                    take(&pair[0]);
                }
                take(&pair[1]);
                release(&pair[0]);
                assert!(!held(&pair[0]) && held(&pair[1]));
            }
            words[..30].iter().for_each(take);
            for (index, word) in words.iter().enumerate() {
                assert_eq!(held(word), index < 30 || index == 39, "{index}");
            }
            assert_eq!(walk().len(), 2 + 31);
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(held(&words[3]) && held(&words[39]), "seen by another"));
            });
            for word in &words[..29] {
                release(word);
            }
        });
        // The scope waits for what the thread does, not for its end.
        holder.join().unwrap();
    });
    // The thread has ended with two, which the kernel has marked by now.
    assert!(words.iter().all(|word| !held(word)));
    assert_eq!(words[29].word.load(Acquire), OWNER_DIED);
}

#[test]
fn what_the_process_holds_is_anothers_when_its_thread_ends() {
    let words: &'static [RobustWord; 3] = Box::leak(Box::new([word(), word(), word()]));
    let hold = |word: &RobustWord, until| {
        word.announce();
        word.word.store(thread_id() | WAITERS, SeqCst);
        // SAFETY: leaked.
        unsafe { word.link(until) };
    };
    let thread = std::thread::spawn(move || {
        hold(&words[0], Until::ProcessEnds);
        hold(&words[1], Until::ThreadEnds);
        hold(&words[2], Until::ProcessEnds);
        thread_id()
    });
    let ended = thread.join().unwrap();
    assert_eq!(words[1].word.load(Acquire) & THREAD_ID, 0);
    for word in [&words[0], &words[2]] {
        let now = word.word.load(Acquire);
        assert_ne!(now & THREAD_ID, ended);
        assert!(now & WAITERS != 0 && is_thread_of_this_process(now & THREAD_ID));
        let (first, length) = memory(word);
        assert!(super::super::holds_within(first, length));
    }
}

/// Has the kernel forget the calling thread's list.
fn lose_the_list() {
    #[repr(C)]
    struct Empty(Cell<usize>, libc::c_long, usize);
    let empty = Box::leak(Box::new(Empty(Cell::new(0), FUTEX_OFFSET, 0)));
    empty.0.set(ptr::from_ref(&empty.0).addr());
    // SAFETY: an empty list, leaked.
    let result = unsafe {
        libc::syscall(
            libc::SYS_set_robust_list,
            ptr::from_ref(empty),
            size_of::<Empty>(),
        )
    };
    assert_eq!(result, 0);
}

#[test]
fn what_the_list_does_not_reach_is_marked_by_who_looks() {
    let word = word();
    std::thread::scope(|scope| {
        let holder = || {
            take(&word);
            word.word.fetch_or(WAITERS, SeqCst);
            assert!(!word.mark_if_gone(), "its thread lives");
            lose_the_list();
        };
        scope.spawn(holder).join().unwrap();
    });
    // Until the thread is gone, which is a little later than it can be joined.
    let limit = Deadline::after(std::time::Duration::from_secs(60));
    while !word.mark_if_gone() {
        assert_ne!(
            word.word.load(Acquire) & THREAD_ID,
            0,
            "the list was not lost"
        );
        assert!(!limit.has_passed());
        std::thread::yield_now();
    }
    assert_eq!(word.word.load(Acquire), OWNER_DIED | WAITERS);
    assert!(!word.mark_if_gone(), "it is marked already");
}

#[test]
fn a_thread_holds_so_many_and_no_more() {
    let words: Vec<_> = (0..=MAX_HELD).map(|_| word()).collect();
    std::thread::scope(|scope| {
        let all = scope.spawn(|| {
            words[..MAX_HELD].iter().for_each(take);
            let more = std::panic::catch_unwind(|| words[MAX_HELD].announce());
            assert!(more.unwrap_err().is::<String>());
        });
        all.join().unwrap();
    });
    let marked = |word: &RobustWord| word.word.load(Acquire) == OWNER_DIED;
    assert!(
        words[..MAX_HELD].iter().all(marked),
        "the kernel reaches all of them"
    );
}

#[test]
fn a_death_word_wakes_its_waiter() {
    let word = word();
    std::thread::scope(|scope| {
        // SAFETY: the word outlives the scope's threads.
        scope.spawn(|| unsafe { word.hold_until_death() });
        let limit = Deadline::after(std::time::Duration::from_secs(60));
        loop {
            match word.word.load(Acquire) {
                0 => std::thread::yield_now(),
                now if now & OWNER_DIED != 0 => break,
                alive => assert_eq!(futex::wait(&word.word, alive, limit), futex::Woken::Look),
            }
        }
    });
    assert_eq!(word.word.load(Acquire) & THREAD_ID, 0);
}

/// A robust, process-shared mutex of the C library.
struct LibraryMutex(Box<std::cell::UnsafeCell<libc::pthread_mutex_t>>);

impl LibraryMutex {
    fn new() -> LibraryMutex {
        let mutex = LibraryMutex(Box::new(std::cell::UnsafeCell::new(
            libc::PTHREAD_MUTEX_INITIALIZER,
        )));
        // SAFETY: a plain C structure that `init` fills.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        // SAFETY: live, and not in use.
        unsafe { libc::pthread_mutexattr_init(&raw mut attributes) };
        // SAFETY: initialised above.
        unsafe {
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST)
        };
        // SAFETY: initialised above.
        unsafe {
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED)
        };
        // SAFETY: both live; the mutex is boxed and does not move.
        let made = unsafe { libc::pthread_mutex_init(mutex.0.get(), &raw const attributes) };
        assert_eq!(made, 0);
        mutex
    }

    fn lock(&self) {
        // SAFETY: initialised in `new`.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
    }

    fn unlock(&self) {
        // SAFETY: initialised in `new`, locked by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }
}

#[test]
fn our_words_and_the_librarys_mutexes_share_the_list() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (before, after) = (LibraryMutex::new(), LibraryMutex::new());
            let words = [word(), word()];
            before.lock();
            take(&words[0]);
            after.lock();
            take(&words[1]);
            assert_eq!(walk().len(), 6);
            before.unlock();
            assert_eq!(walk().len(), 5);
            release(&words[0]);
            before.lock();
            after.unlock();
            release(&words[1]);
            assert_eq!(walk().len(), 3);
            before.unlock();
            assert_eq!(walk().len(), 2);
        });
    });
}

#[test]
fn a_thread_that_holds_nothing_leaves_the_list_as_it_was() {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kept = LibraryMutex::new();
            kept.lock();
            let word = word();
            take(&word);
            release(&word);
            assert_eq!(walk().len(), 3);
            // What the end of the thread does.
            OWNED.with(|owned| drop(owned.take()));
            assert_eq!(walk().len(), 1);
            kept.unlock();
            assert_eq!(walk().len(), 0);
        });
        thread.join().unwrap();
    });
}
