//! The primitives as loom can follow them, and deaths at any step.
//!
//! Every operation is a *step* of its thread. [`mortal`] runs a thread that dies when it comes to a
//! given step: the kernel's work on a death is done there and then, and the thread goes no further.
//! A test that runs its model for every step of a thread has killed it at every instruction that
//! another thread could tell apart.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{OWNER_DIED, Ordering, THREAD_ID, Until, WAITERS};

pub use loom::hint::spin_loop;

struct Thread {
    id: u32,
    /// How many steps are left to it; `None` is a thread that does not die.
    steps_left: Cell<Option<u32>>,
    pending: Cell<Option<*const RobustWord>>,
    held: RefCell<Vec<*const RobustWord>>,
    dear: Cell<u32>,
}

loom::thread_local! {
    static THREAD: Thread = Thread {
        id: fresh_id(),
        steps_left: Cell::new(None),
        pending: Cell::new(None),
        held: RefCell::new(Vec::new()),
        dear: Cell::new(0),
    };
}

/// Ids differ within an execution; nothing else depends on them, so the counter is not modelled.
fn fresh_id() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    1 + NEXT.fetch_add(1, Ordering::Relaxed) % 0x003f_ffff
}

/// What a thread that dies unwinds with.
struct Died;

/// Runs `thread` and lets the calling thread die when it comes to the step after the first `steps`.
/// `None` says that it did.
pub fn mortal<R>(steps: u32, thread: impl FnOnce() -> R) -> Option<R> {
    THREAD.with(|this| this.steps_left.set(Some(steps)));
    let outcome = catch_unwind(AssertUnwindSafe(thread));
    THREAD.with(|this| this.steps_left.set(None));
    match outcome {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// The kernel's work on the calling thread's death. The thread must touch no primitive after it.
pub fn die() {
    let (id, pending, held) = THREAD.with(|this| {
        this.steps_left.set(None);
        (this.id, this.pending.take(), this.held.take())
    });
    // Newest first, and what is announced last and once, as `exit_robust_list` does.
    for word in held.into_iter().rev().filter(|word| Some(*word) != pending) {
        // SAFETY: who linked the word vouched for its life until the thread has ended.
        handle_death(unsafe { &*word }, id, false);
    }
    if let Some(word) = pending {
        // SAFETY: the thread was inside an operation on the word, which borrows it.
        handle_death(unsafe { &*word }, id, true);
    }
}

/// `handle_futex_death` of Linux 5.17 and later.
fn handle_death(word: &RobustWord, id: u32, pending: bool) {
    let word = &word.word;
    let mut old = word.0.load(Ordering::SeqCst);
    loop {
        if pending && old & THREAD_ID == 0 {
            futex::wake(word, 1);
            return;
        }
        if old & THREAD_ID != id {
            return;
        }
        let marked = old & WAITERS | OWNER_DIED;
        match word
            .0
            .compare_exchange(old, marked, Ordering::SeqCst, Ordering::SeqCst)
        {
            Ok(_) => break,
            Err(now) => old = now,
        }
    }
    if old & WAITERS != 0 {
        futex::wake(word, 1);
    }
}

/// One step that does nothing: where a test lets a thread die between two accesses of its own.
pub fn step() {
    let now = THREAD.with(|this| match this.steps_left.get() {
        Some(0) => true,
        Some(left) => {
            this.steps_left.set(Some(left - 1));
            false
        }
        None => false,
    });
    if now {
        die();
        let died: Box<dyn Any + Send> = Box::new(Died);
        resume_unwind(died);
    }
}

/// How many operations the calling thread has made that cost more than others: read-modify-writes, fences and
/// system calls.
#[must_use]
pub fn dear_operations() -> u32 {
    THREAD.with(|this| this.dear.get())
}

fn dear_step() {
    step();
    THREAD.with(|this| this.dear.set(this.dear.get() + 1));
}

/// loom's.
pub fn fence(order: Ordering) {
    dear_step();
    loom::sync::atomic::fence(order);
}

/// Which process it was: each modelled thread is one of its own, which is over when the thread is dead, unless
/// others of it [live on](live_on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64);

#[expect(missing_docs, reason = "as in multiproc_sys::identity")]
impl Identity {
    #[must_use]
    pub fn own() -> Identity {
        Identity(thread_id().into())
    }

    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Identity> {
        (bits != 0).then_some(Identity(bits))
    }

    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn pid(self) -> u32 {
        u32::try_from(self.0).expect("a thread's id")
    }

    #[must_use]
    pub fn is_over(self) -> bool {
        step();
        !lock_living().contains(&self.0)
    }

    /// Without a deadline: what lives on comes to an end.
    #[must_use]
    pub fn wait_until_over(self, _deadline: super::Deadline) -> bool {
        step();
        let mut living = lock_living();
        while living.contains(&self.0) {
            living = LIVING.1.wait(living).unwrap();
        }
        true
    }
}

loom::lazy_static! {
    /// Processes of which a thread lives on.
    static ref LIVING: (loom::sync::Mutex<Vec<u64>>, loom::sync::Condvar) =
        (loom::sync::Mutex::new(Vec::new()), loom::sync::Condvar::new());
}

fn lock_living() -> loom::sync::MutexGuard<'static, Vec<u64>> {
    LIVING
        .0
        .lock()
        .expect("no thread unwinds while it has the list")
}

/// Runs `rest` with the calling thread's process not over until it returns, though the thread may die in it, if it is
/// [mortal].
pub fn live_on<R>(rest: impl FnOnce() -> R) -> R {
    let own = Identity::own().0;
    lock_living().push(own);
    let result = rest();
    lock_living().retain(|other| *other != own);
    LIVING.1.notify_all();
    result
}

/// The calling thread's id, as it stands in a word that it holds.
#[must_use]
pub fn thread_id() -> u32 {
    THREAD.with(|this| this.id)
}

/// The calling process's id: each modelled thread is a process of its own.
#[must_use]
pub fn process_id() -> u32 {
    thread_id()
}

macro_rules! atomic {
    ($Name:ident, $value:ty) => {
        /// loom's atomic of this name; each operation is a step.
        #[derive(Debug, Default)]
        pub struct $Name(loom::sync::atomic::$Name);

        #[expect(missing_docs, reason = "as in std::sync::atomic")]
        impl $Name {
            #[must_use]
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$Name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order);
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                dear_step();
                self.0.swap(value, order)
            }

            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                dear_step();
                self.0.fetch_add(value, order)
            }

            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                dear_step();
                self.0.fetch_sub(value, order)
            }

            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                dear_step();
                self.0.fetch_and(value, order)
            }

            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                dear_step();
                self.0.fetch_or(value, order)
            }

            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                dear_step();
                self.0.fetch_max(value, order)
            }

            #[expect(clippy::missing_errors_doc, reason = "as in std::sync::atomic")]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                dear_step();
                self.0.compare_exchange(current, new, success, failure)
            }

            /// Never fails spuriously here.
            #[expect(clippy::missing_errors_doc, reason = "as in std::sync::atomic")]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);

/// The modelled robust word: what the kernel would find in the thread's list is kept beside it.
#[derive(Debug)]
pub struct RobustWord {
    /// Bits of [`THREAD_ID`], [`OWNER_DIED`] and [`WAITERS`].
    pub word: AtomicU32,
    /// Free for the users of the word.
    pub notes: [AtomicU32; 5],
}

impl RobustWord {
    pub(super) fn new() -> RobustWord {
        RobustWord {
            word: AtomicU32::new(0),
            notes: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Announces that the calling thread is about to take, wait for, or release the word. Gives the thread's id.
    pub fn announce(&self) -> u32 {
        step();
        THREAD.with(|this| {
            this.pending.set(Some(self));
            this.id
        })
    }

    /// Ends what [`announce`](Self::announce) began.
    pub fn retract(&self) {
        step();
        THREAD.with(|this| this.pending.set(None));
    }

    /// Enters the word into the calling thread's list, and retracts the announcement.
    ///
    /// # Safety
    /// The word stays where it is until it is [unlinked](Self::unlink) by this thread, or the thread
    /// has ended; and it is not in the list. Each modelled thread is a process of its own.
    pub unsafe fn link(&self, _until: Until) {
        step();
        THREAD.with(|this| {
            this.held.borrow_mut().push(self);
            this.pending.set(None);
        });
    }

    /// Takes the word out of the list and announces it. Says whether the calling thread had it there.
    #[must_use]
    pub fn unlink(&self) -> bool {
        step();
        THREAD.with(|this| {
            let mut held = this.held.borrow_mut();
            let Some(at) = held.iter().rposition(|word| std::ptr::eq(*word, self)) else {
                return false;
            };
            held.remove(at);
            this.pending.set(Some(self));
            true
        })
    }

    /// The modelled kernel reaches every word: there is none left to be marked.
    pub fn mark_if_gone(&self) -> bool {
        false
    }

    /// Takes the word for the calling thread until the thread ends; returns what a waiter sleeps on.
    ///
    /// # Safety
    /// The word stays where it is until the calling thread has ended, and it is nobody's.
    pub unsafe fn hold_until_death(&self) -> u32 {
        let alive = thread_id() | WAITERS;
        self.announce();
        self.word.store(alive, Ordering::Release);
        // SAFETY: the caller vouches for the word, which was nobody's and so is in no list.
        unsafe { self.link(Until::ThreadEnds) };
        alive
    }
}

/// Waiting on words: one queue, first come first served, under one lock as in a kernel's bucket.
pub mod futex {
    use std::sync::Arc;

    use loom::sync::{Condvar, Mutex, MutexGuard};

    use super::{AtomicU32, Ordering, dear_step, step};
    use crate::primitive::{Deadline, Woken};

    struct Sleeper {
        words: Vec<usize>,
        can_time_out: bool,
        bell: Arc<Condvar>,
        /// Entries are told apart by this.
        ticket: u64,
    }

    #[derive(Default)]
    struct Bucket {
        asleep: Vec<Sleeper>,
        timed_out: Vec<u64>,
        next_ticket: u64,
        deadlines_passed: bool,
    }

    loom::lazy_static! {
        static ref BUCKET: Mutex<Bucket> = Mutex::new(Bucket::default());
    }

    fn bucket() -> MutexGuard<'static, Bucket> {
        BUCKET
            .lock()
            .expect("no thread unwinds while it has the bucket")
    }

    fn key(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    /// Sleeps while `word` holds `expected`, until [`wake`] or [`pass_deadlines`].
    pub fn wait(word: &AtomicU32, expected: u32, deadline: Deadline) -> Woken {
        wait_any(&[(word, expected)], deadline)
    }

    /// Sleeps while every word holds the value beside it, until one of them is woken or
    /// [`pass_deadlines`].
    pub fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
        dear_step();
        let woken = sleep(words, deadline);
        // A thread killed in its sleep and one killed right after it are told apart by the kernel's
        // queue only: the second has used up a wake.
        step();
        woken
    }

    fn sleep(words: &[(&AtomicU32, u32)], deadline: Deadline) -> Woken {
        let mut bucket = bucket();
        if words
            .iter()
            .any(|(word, expected)| word.0.load(Ordering::SeqCst) != *expected)
        {
            return Woken::Look;
        }
        let can_time_out = deadline != Deadline::NEVER;
        if can_time_out && bucket.deadlines_passed {
            return Woken::TimedOut;
        }
        let ticket = bucket.next_ticket;
        bucket.next_ticket += 1;
        let bell = Arc::new(Condvar::new());
        let words = words.iter().map(|(word, _)| key(word)).collect();
        bucket.asleep.push(Sleeper {
            words,
            can_time_out,
            bell: Arc::clone(&bell),
            ticket,
        });
        while bucket.asleep.iter().any(|sleeper| sleeper.ticket == ticket) {
            bucket = bell.wait(bucket).unwrap();
        }
        if bucket.timed_out.contains(&ticket) {
            Woken::TimedOut
        } else {
            Woken::Look
        }
    }

    /// Wakes at most `count` waiters of `word` and says how many there were.
    pub fn wake(word: &AtomicU32, count: u32) -> usize {
        dear_step();
        let mut bucket = bucket();
        let mut woken = 0;
        while woken < count as usize {
            let Some(at) = bucket
                .asleep
                .iter()
                .position(|sleeper| sleeper.words.contains(&key(word)))
            else {
                break;
            };
            bucket.asleep.remove(at).bell.notify_one();
            woken += 1;
        }
        woken
    }

    /// Lets every deadline pass that is not [`Deadline::NEVER`], of waits under way and to come.
    pub fn pass_deadlines() {
        let mut bucket = bucket();
        bucket.deadlines_passed = true;
        while let Some(at) = bucket
            .asleep
            .iter()
            .position(|sleeper| sleeper.can_time_out)
        {
            let sleeper = bucket.asleep.remove(at);
            bucket.timed_out.push(sleeper.ticket);
            sleeper.bell.notify_one();
        }
    }
}
