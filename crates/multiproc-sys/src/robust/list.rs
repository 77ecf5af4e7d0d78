//! The thread's robust futex list, joined rather than replaced: glibc has its head, and its mutexes
//! share it with our words.
//!
//! glibc's links point at the `next` field of a node; `prev` lies one word before it and is kept for
//! glibc's own use; the futex word lies `futex_offset` bytes from the `next` field (−32 on every
//! 64-bit target, asked of the kernel and compared). The kernel follows at most 2048 nodes.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, compiler_fence};
use std::sync::{Once, OnceLock};

use super::held::{self, Held};
use super::keeper;
use crate::identity;
use crate::syscall::check;

/// The part of a word that is the holder's thread id; 0 when nobody holds it.
pub const THREAD_ID: u32 = libc::FUTEX_TID_MASK;
/// Set by the kernel when it takes the word from a holder that has died.
pub const OWNER_DIED: u32 = libc::FUTEX_OWNER_DIED;
/// Set while somebody sleeps on the word: the kernel then wakes one of them at a death.
pub const WAITERS: u32 = libc::FUTEX_WAITERS;

/// How many words one thread can hold at a time: the kernel follows 2048 nodes, two are anchors, and
/// a C library's mutexes stand in the same list.
pub const MAX_HELD: usize = 1024;

/// Until when a word that is not let go is its holder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The thread's end, by which the word is marked.
    ThreadEnds,
    /// The end of the process: another thread has the word when its own ends. For what gives access
    /// to memory, which a thread can leave to others.
    ProcessEnds,
}

/// A word that tells of its holder's death, with room beside it for what its users keep there.
///
/// Lives in shared memory; all zeroes is a word that nobody holds.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct RobustWord {
    /// Bits of [`THREAD_ID`], [`OWNER_DIED`] and [`WAITERS`].
    pub word: AtomicU32,
    /// Free for the users of the word; nothing here gives them a meaning.
    pub notes: [AtomicU32; 5],
    /// Where glibc keeps a back link. Ours are never read by anybody.
    prev: AtomicUsize,
    /// The kernel's link: the address of the next node's `next`, in the holder's address space.
    next: AtomicUsize,
}

const _: () = assert!(size_of::<RobustWord>() == 40);
const _: () = assert!(offset_of!(RobustWord, next) == 32 && offset_of!(RobustWord, word) == 0);
const FUTEX_OFFSET: libc::c_long = -32;

/// `struct robust_list_head` of the kernel's interface.
#[repr(C)]
struct Head {
    first: Cell<usize>,
    futex_offset: libc::c_long,
    pending: Cell<usize>,
}

/// This thread's list and what is known privately of our words in it.
struct ThreadList {
    head: &'static Head,
    thread_id: u32,
    process_id: u32,
    forks: u32,
    held: RefCell<Held>,
    /// Nearest to the head. Our newest word follows it.
    front: ptr::NonNull<RobustWord>,
    /// Behind our oldest word.
    back: ptr::NonNull<RobustWord>,
}

thread_local! {
    /// The thread's list; null before its first use and after its end.
    static CURRENT: Cell<*const ThreadList> = const { Cell::new(ptr::null()) };
    /// Ends it with the thread.
    static OWNED: Cell<Option<Owned>> = const { Cell::new(None) };
}

/// Points to a list from `Box::into_raw`, which is used through `CURRENT` while this value lives.
struct Owned(*mut ThreadList);

impl Drop for Owned {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
        // SAFETY: from `Box::into_raw`, and not reachable any more.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Counts the forks this process descends from. A forked child has a new thread id and an empty
/// list. Relaxed: only the thread that forks lives on in the child, and it did the counting.
static FORKS: AtomicU32 = AtomicU32::new(0);
static COUNT_FORKS: Once = Once::new();

fn forks() -> u32 {
    COUNT_FORKS.call_once(|| {
        extern "C" fn count() {
            count_fork();
        }
        // SAFETY: `count` does some atomic stores, which are async-signal-safe. A failure (no
        // memory) leaves the count at 0, as before the first fork.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
    FORKS.load(Ordering::Relaxed)
}

/// Counts a fork, in the child: of one that was made without the C library, by whoever made it.
/// Async-signal-safe.
pub(crate) fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    held::forget_after_fork();
    keeper::forget_after_fork();
    identity::forget_after_fork();
}

/// The calling thread's id, as it stands in a word that it holds.
///
/// # Panics
/// If [`available`] is an error.
#[must_use]
#[inline]
pub fn thread_id() -> u32 {
    with_list(|list| list.thread_id)
}

/// The calling thread's process, by its number. Kept per thread, because asking for it is a system call.
///
/// # Panics
/// If [`available`] is an error.
#[must_use]
#[inline]
pub fn process_id() -> u32 {
    with_list(|list| list.process_id)
}

/// Whether a thread of this id lives in this process.
#[must_use]
pub fn is_thread_of_this_process(id: u32) -> bool {
    let own = std::process::id();
    // SAFETY: no pointer is passed; signal 0 goes to nobody.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, own, id, 0) };
    result == 0
}

/// Whether the kernel tells of deaths for words laid out as ours are.
///
/// # Errors
/// `Unsupported`, saying what is missing: the thread has no robust list, or one for another layout.
pub fn available() -> io::Result<()> {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    if *ANSWER.get_or_init(|| head().is_some()) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the C library keeps no robust futex list that locks shared by processes could join",
        ))
    }
}

fn kernel_thread_id() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// The calling thread's list head, where it describes nodes laid out as ours.
fn head() -> Option<&'static Head> {
    let mut head: *const Head = ptr::null();
    let mut length: libc::size_t = 0;
    // SAFETY: both out-pointers are live; 0 names the calling thread.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length) };
    check(result).ok()?;
    if head.is_null() || length != size_of::<Head>() {
        return None;
    }
    // SAFETY: the kernel has just named it as this thread's head, which glibc keeps in the thread's
    // control block for as long as the thread lives. Only this thread uses the reference: `ThreadList`
    // is thread-local.
    let head = unsafe { &*head };
    (head.futex_offset == FUTEX_OFFSET && head.first.get() != 0).then_some(head)
}

impl RobustWord {
    /// Announces that the calling thread is about to take, wait for, or release the word. Gives the thread's id.
    ///
    /// # Panics
    /// If [`available`] is an error, or the thread holds [`MAX_HELD`] words.
    #[inline]
    pub fn announce(&self) -> u32 {
        let me = with_list(|list| {
            let held = list.held.borrow().count();
            assert!(
                held < MAX_HELD,
                "a thread can hold {MAX_HELD} locks shared by processes at a time"
            );
            list.head.pending.set(self.node());
            list.thread_id
        });
        // The kernel looks at this thread's memory as the thread itself would see it.
        compiler_fence(Ordering::SeqCst);
        me
    }

    /// Ends what [`announce`](Self::announce) began.
    #[inline]
    pub fn retract(&self) {
        compiler_fence(Ordering::SeqCst);
        with_list(|list| list.head.pending.set(0));
    }

    /// Enters the word, which carries the calling thread's id, into the list, and retracts the
    /// announcement.
    ///
    /// # Safety
    /// The word stays mapped at this address until it is [unlinked](Self::unlink) by this thread, or
    /// what [`Until`] says has ended; and it is not in the list.
    #[inline]
    pub unsafe fn link(&self, until: Until) {
        with_list(|list| {
            let mut held = list.held.borrow_mut();
            let next = held.newest().map_or(node_of(list.back.as_ptr()), node_of);
            // Relaxed, here and below: read by the kernel on this thread's behalf only.
            self.next.store(next, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            // SAFETY: the anchors are never freed while the list is in use.
            let front = unsafe { list.front.as_ref() };
            front.next.store(self.node(), Ordering::Relaxed);
            held.push(self, until == Until::ProcessEnds);
            compiler_fence(Ordering::SeqCst);
            list.head.pending.set(0);
        });
    }

    /// Takes the word out of the list and announces it, before its release. Says whether the calling
    /// thread had it there.
    #[must_use]
    #[inline]
    pub fn unlink(&self) -> bool {
        with_list(|list| list.unlink(self, || list.head.pending.set(self.node())))
    }

    /// Takes the word for the calling thread until the thread ends, and asks the kernel to wake a
    /// waiter then: a *death word*. A waiter sleeps while it holds what this returns.
    ///
    /// # Safety
    /// The word stays mapped at this address until the calling thread has ended, and it is nobody's.
    pub unsafe fn hold_until_death(&self) -> u32 {
        let alive = thread_id() | WAITERS;
        self.announce();
        // Release: what the thread did before it declared itself is seen by who reads the word.
        self.word.store(alive, Ordering::Release);
        // SAFETY: the caller vouches for the mapping; the word was nobody's, so it is in no list.
        unsafe { self.link(Until::ThreadEnds) };
        alive
    }

    fn node(&self) -> usize {
        node_of(self)
    }
}

fn node_of(word: *const RobustWord) -> usize {
    word.addr() + offset_of!(RobustWord, next)
}

#[inline]
fn with_list<R>(run: impl FnOnce(&ThreadList) -> R) -> R {
    // SAFETY: null, or a list that lives until the thread ends or forks.
    match unsafe { CURRENT.get().as_ref() } {
        // Relaxed: see `FORKS`.
        Some(list) if list.forks == FORKS.load(Ordering::Relaxed) => run(list),
        _ => run(join_list()),
    }
}

/// Gives the calling thread a list: at its first use, and at the first after a fork.
#[cold]
#[inline(never)]
fn join_list<'a>() -> &'a ThreadList {
    let list = ThreadList::join(forks()).expect("multiproc_sys::robust::available() was an error");
    let list = Box::into_raw(Box::new(list));
    // A thread that is past the end of its thread-local values keeps the list until it is gone.
    // A list of before a fork takes nothing out of the parent's, whose head is ours now and empty.
    let _kept = OWNED.try_with(|owned| drop(owned.replace(Some(Owned(list)))));
    CURRENT.set(list);
    // SAFETY: just made, and kept as long as `CURRENT` points to it.
    unsafe { &*list }
}

impl ThreadList {
    /// Puts the two anchors at the front of the calling thread's list.
    fn join(forks: u32) -> Option<ThreadList> {
        let head = head()?;
        let anchor = || ptr::NonNull::from(Box::leak(Box::new(RobustWord::anchor())));
        let (front, back) = (anchor(), anchor());
        let first = head.first.get();
        let list_itself = ptr::from_ref(&head.first).addr();
        // SAFETY: just made, and leaked.
        let front_word = unsafe { front.as_ref() };
        // SAFETY: as above.
        let back_word = unsafe { back.as_ref() };
        back_word.next.store(first, Ordering::Relaxed);
        back_word.prev.store(front_word.node(), Ordering::Relaxed);
        front_word.next.store(back_word.node(), Ordering::Relaxed);
        front_word.prev.store(list_itself, Ordering::Relaxed);
        set_prev(first, back_word.node(), list_itself);
        compiler_fence(Ordering::SeqCst);
        head.first.set(front_word.node());
        let thread_id = kernel_thread_id();
        let held = RefCell::new(Held::of(thread_id));
        Some(ThreadList {
            head,
            thread_id,
            process_id: std::process::id(),
            forks,
            held,
            front,
            back,
        })
    }

    /// Takes `word` out, if it is there, and says so; calls `announce` before.
    #[inline]
    fn unlink(&self, word: &RobustWord, announce: impl FnOnce()) -> bool {
        let Some(place) = self.held.borrow_mut().remove(word) else {
            return false;
        };
        announce();
        compiler_fence(Ordering::SeqCst);
        let older = place.older.map_or(node_of(self.back.as_ptr()), node_of);
        let newer = place.newer.unwrap_or(self.front.as_ptr());
        // SAFETY: the anchors live, and a held word is mapped (Invariant 3).
        let newer = unsafe { &*newer };
        newer.next.store(older, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// Hands over what the process holds beyond the thread's end.
    fn hand_over(&self) {
        let next = || self.held.borrow().of_the_process();
        while let Some(word) = next() {
            // SAFETY: a held word is mapped (Invariant 3), this one until the process has ended.
            let word = unsafe { &*word };
            // SAFETY: as above.
            unsafe { keeper::adopt(word, || _ = self.unlink(word, || ())) };
        }
    }
}

/// How many words the calling thread holds.
pub(super) fn held_by_this_thread() -> usize {
    with_list(|list| list.held.borrow().count())
}

/// Writes glibc's back link of the node after ours, as glibc would. Bit 0 of a link marks a
/// priority-inheriting mutex and is no part of the address. The list's own head has no back link.
fn set_prev(node: usize, prev: usize, list_itself: usize) {
    if node == list_itself {
        return;
    }
    let slot = ptr::with_exposed_provenance::<AtomicUsize>((node & !1) - size_of::<usize>());
    // SAFETY: `node` is the `next` field of a node that glibc keeps in this thread's list, and the
    // word before it is that node's back link, which only this thread's list operations touch.
    let slot = unsafe { &*slot };
    slot.store(prev, Ordering::Relaxed);
}

impl RobustWord {
    /// A node that the kernel passes over: its word carries nobody's id.
    const fn anchor() -> RobustWord {
        RobustWord {
            word: AtomicU32::new(0),
            notes: [const { AtomicU32::new(0) }; 5],
            prev: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }
}

impl Drop for ThreadList {
    /// At the thread's end: takes the anchors out, unless words are still held, which the kernel must
    /// then find between them. In a forked child: nothing, the list is the parent's.
    fn drop(&mut self) {
        if self.forks != forks() {
            return;
        }
        self.hand_over();
        if self.held.borrow().count() > 0 {
            return;
        }
        debug_assert_eq!(
            self.thread_id,
            kernel_thread_id(),
            "a list is dropped by its own thread"
        );
        // SAFETY: the anchors are freed only below.
        let front = unsafe { self.front.as_ref() };
        // SAFETY: as above.
        let back = unsafe { self.back.as_ref() };
        let list_itself = ptr::from_ref(&self.head.first).addr();
        let (newer, older) = (
            front.prev.load(Ordering::Relaxed),
            back.next.load(Ordering::Relaxed),
        );
        if newer == list_itself {
            self.head.first.set(older);
        } else {
            let slot = ptr::with_exposed_provenance::<AtomicUsize>(newer & !1);
            // SAFETY: glibc keeps the anchor's back link at the `next` field of the node before it.
            unsafe { &*slot }.store(older, Ordering::Relaxed);
        }
        set_prev(older, newer, list_itself);
        compiler_fence(Ordering::SeqCst);
        for anchor in [self.front, self.back] {
            // SAFETY: came from `Box::leak` in `join`, and nothing points at it any more.
            drop(unsafe { Box::from_raw(anchor.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests;
