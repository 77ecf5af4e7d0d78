//! The lock: one word that the kernel watches, held by one thread of any process that maps it.
//!
//! The robust mutex of the C libraries with two changes, which Invariants 2 to 4 are about:
//! [`WAITERS`] stays in the word when the lock is released, and is taken out only by a holder that
//! has made sure that nobody sleeps.
//!
//! # State
//!
//! | id in the word | bits | meaning |
//! |---|---|---|
//! | none | none | free; nobody sleeps |
//! | none | `WAITERS` | free; somebody may sleep |
//! | none | `OWNER_DIED`, perhaps `WAITERS` | free, and its last holder died; what it protects is suspect |
//! | a thread | none | held; nobody sleeps |
//! | a thread | `WAITERS` | held; somebody may sleep |
//! | a thread | `WAITERS`, `CLOSING` | held; the holder is finding out whether somebody sleeps |
//!
//! `CLOSING` is the bit of `OWNER_DIED`, which has no other use beside a thread's id. The kernel
//! replaces the one by the other if the holder dies there.
//!
//! # Invariants
//!
//! 1. A word that carries a thread's id is in that thread's robust list, or announced by it.
//! 2. While a thread sleeps on the word, the word has `WAITERS`: it is set before the sleep, every
//!    taker keeps it, and only a close takes it out.
//! 3. `CLOSING` is set by the holder only, and taken out by whoever is about to sleep. So a close
//!    that finds it still there, having found nobody asleep since it set it, knows that nobody is.
//! 4. While the word is free and a thread sleeps on it, another is on its way to wake it or to take
//!    the lock: the releaser up to its wake, or the woken one up to its next look. Both have the word
//!    announced, so that their death wakes the next sleeper.
//!
//! 2 and 4 are why no wake is lost. A woken thread that finds the lock taken by a newcomer may sleep
//! again, or die: the newcomer's word has `WAITERS` and its unlock wakes somebody. C libraries release
//! to 0, which the newcomer takes without `WAITERS`; if the woken thread is killed then, the other
//! sleepers are forgotten. (`tests/loom_lock.rs` shows the deadlock of their way.)
//!
//! An unlock wakes at most one thread, and needs no system call where the word has no `WAITERS`. One
//! case has a second wake: a close that found somebody who fell asleep just before it.
//!
//! # Orderings
//!
//! Taking is Acquire and pairs with the Release of the unlock, or with the kernel's mark, which it
//! makes on the dead thread's own behalf after all that the thread did. All changes in between are
//! read-modify-writes and so continue the release sequence. Setting `WAITERS` and `CLOSING` is
//! Relaxed: the word alone is at stake, and the futex calls compare it under the kernel's own lock.
//! Notes are Relaxed: they are written by the holder and published by its unlock, except [`QUIET`],
//! which is a hint, and a cleared [`POISON`], which says nothing about other memory.
//!
//! # Death
//!
//! At a thread's death the kernel looks at each word in its list and at the one it has announced.
//! **Marked**: a word with its id becomes `OWNER_DIED`, keeps `WAITERS`, and then one sleeper is woken.
//! **Passed on**: if the announced word has nobody's id, one sleeper is woken.
//!
//! | killed | the word | what happens |
//! |---|---|---|
//! | announced, looking or spinning | not ours | nothing, or a wake for nothing |
//! | taken, before it is in the list | ours, announced | marked; the note still names the one who died before, if one did |
//! | in a brief section, which is never in the list | ours, announced | marked |
//! | in the list, before its name is noted | ours | marked; the next taker is told of a death without a name |
//! | holding | ours | marked |
//! | `WAITERS` set, before or in its sleep | not ours | stays set for nobody; a later close takes it out |
//! | woken, before it looks | free: announced | passed on |
//! | | held by a newcomer | the newcomer's unlock wakes the next sleeper (Invariant 2) |
//! | deadline passed, before it retracts | not ours | nothing, or a wake for nothing |
//! | unlocking, before the release | ours, announced | marked |
//! | closing, at each step | ours, announced, `WAITERS` | marked |
//! | released, before its wake | free, announced | passed on |
//! | woken a sleeper, before it retracts | anything | nothing, or a wake for nothing |
//!
//! # Platform notes
//!
//! Linux passes a wake on for a word that is free but not 0 since 5.17. Before, a thread killed
//! between its release and its wake, or between being woken and taking, leaves the others asleep until
//! the next unlock; a holder's death is marked by every version. Thread ids are those of one pid
//! namespace; processes in different ones must not share a lock.
//!
//! # Differences from Python
//!
//! `multiprocessing.Lock` may be released by anybody and stays locked for ever if its holder is
//! killed. This lock belongs to the thread that took it, is released by it alone, and passes on with a
//! word of warning when that thread is gone.

#![expect(
    unsafe_code,
    reason = "to take a lock is to promise something about memory"
)]

use std::error::Error;
use std::fmt;

use crate::poison::PoisonError;
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::primitive::{
    AtomicU32, Deadline, OWNER_DIED, RobustWord, THREAD_ID, Until, WAITERS, Woken, futex,
    process_id, spin_loop, thread_id, unheld,
};

/// A lock for memory that processes share; all zeroes is an unlocked one that was never poisoned.
///
/// It is made of atomics only, so a reference to one is sound wherever the memory is mapped, whoever
/// writes to it. [`LockGuard`](crate::LockGuard) is the convenient way to it.
#[repr(C)]
#[derive(Debug)]
pub struct LockWord {
    robust: RobustWord,
}

const _: () = assert!(cfg!(loom) || (size_of::<LockWord>() == 40 && align_of::<LockWord>() == 8));

/// The note with the holder's process id, 0 where nobody has left it.
const OWNER: usize = 0;
/// The note with the process id of the holder that left the lock poisoned, or [`NAMELESS`]; 0 where
/// the lock is sound.
const POISON: usize = 1;
/// The note that is 1 after a wake that found nobody, until somebody goes to sleep: the next unlock
/// that sees `WAITERS` then tries a close. A hint; a wrong one costs a system call.
const QUIET: usize = 2;

/// In [`POISON`]: a process that did not get as far as leaving its id.
const NAMELESS: u32 = u32::MAX;

/// Beside a thread's id: the holder is finding out whether somebody sleeps.
const CLOSING: u32 = OWNER_DIED;

/// Looks at a held word before a thread sleeps: 4 µs on the x86 machine of the trials, about what one
/// sleep and wake cost. Tried on its two cores with two and four threads, sections of 0 to 120 µs:
/// none, up to four times slower below 1 µs; 20, half as slow again at 2 µs; 1,000, a sixth faster at
/// 20 µs, and 40 µs of a core burnt by each wait; a number adapted to the last waits, as C libraries
/// do, half as slow again at 0.5 µs and nowhere faster. Not looking while others sleep, as the
/// standard library does, had newcomers queue up behind sleepers: up to twice as slow.
const SPINS: u32 = if cfg!(loom) { 0 } else { 100 };

/// What is said to who takes a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Held {
    /// Nobody has left the lock poisoned.
    Sound,
    /// A holder died or panicked, and the poison has not been cleared since.
    Poisoned {
        /// The holder's process id; `None` where it died too early to leave it.
        owner: Option<u32>,
    },
}

impl Held {
    /// What was taken, in an error where it may have been left half changed.
    ///
    /// # Errors
    /// [`PoisonError`] where a holder died or panicked.
    #[inline]
    pub fn with<T>(self, taken: T) -> Result<T, PoisonError<T>> {
        match self {
            Held::Sound => Ok(taken),
            Held::Poisoned { owner } => Err(PoisonError::new(taken, owner)),
        }
    }
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The deadline passed while somebody else held the lock.
    TimedOut,
    /// The calling thread holds the lock itself, and would wait for ever.
    WouldDeadlock,
}

impl LockWord {
    /// Takes the lock, waiting for it until the deadline. An uncontended lock is taken whatever the
    /// deadline.
    ///
    /// # Errors
    /// [`NotTaken::TimedOut`] at the deadline; [`NotTaken::WouldDeadlock`], at once, where the calling
    /// thread holds the lock already.
    ///
    /// # Panics
    /// If the platform has no robust words ([`multiproc_sys::robust::available`]), or the thread holds
    /// [`multiproc_sys::robust::MAX_HELD`] of them.
    ///
    /// # Safety
    /// Once taken, the memory stays mapped at this address, and a lock, until [`unlock`](Self::unlock)
    /// has returned or the calling thread has ended. A value whose drop unlocks can be leaked: what
    /// keeps the memory mapped must be leaked with it.
    #[inline]
    pub unsafe fn lock(&self, deadline: Deadline) -> Result<Held, NotTaken> {
        // SAFETY: passed on to the caller.
        unsafe { self.lock_until(deadline, Until::ThreadEnds) }
    }

    /// As [`lock`](Self::lock). The lock is held until it is unlocked, or what `until` says has ended.
    ///
    /// # Safety
    /// As [`lock`](Self::lock), with that in place of the thread's end.
    #[inline]
    pub(crate) unsafe fn lock_until(
        &self,
        deadline: Deadline,
        until: Until,
    ) -> Result<Held, NotTaken> {
        let me = self.robust.announce();
        // Acquire: what the last holder changed; pairs with the Release in `unlock`.
        let taken = match self.word().compare_exchange(0, me, Acquire, Relaxed) {
            Ok(free) => Ok(free),
            Err(_) => self.wait_and_take(me, deadline),
        };
        match taken {
            // SAFETY: the caller vouches for the memory; the word was free and so in no list of ours.
            Ok(before) => Ok(unsafe { self.enter(before, until) }),
            Err(why) => {
                self.robust.retract();
                Err(why)
            }
        }
    }

    /// Has `section` run under the lock, if the lock is free, sound and wanted by nobody else at this moment; `None`
    /// where it is not, and nothing has run.
    ///
    /// For sections of some instructions: the lock is announced for as long as it is held, and not entered in the
    /// thread's list, which saves a third of what it costs. A death in the section is marked all the same, without
    /// the name of who died.
    ///
    /// # Panics
    /// As [`lock`](Self::lock). Where `section` panics, the lock is released and poisoned.
    ///
    /// # Safety
    /// The memory stays mapped at this address, and a lock, until this returns. `section` neither takes nor releases
    /// another lock that is shared by processes.
    #[inline]
    pub unsafe fn briefly<R>(&self, section: impl FnOnce() -> R) -> Option<R> {
        /// Releases a lock that is announced and held; poisoned unless the section came to its end.
        struct Held<'a>(&'a LockWord, u32, bool);

        impl Drop for Held<'_> {
            #[inline]
            fn drop(&mut self) {
                let Held(lock, me, ended) = *self;
                if !ended {
                    // Not that of a child that was forked in the section, nor a dead thread's of the model.
                    if !lock.is_mine() {
                        return;
                    }
                    lock.poison();
                }
                // Release: as in `unlock`. Acquire: of who has met the lock before, see `meet`.
                if lock
                    .word()
                    .compare_exchange(me, 0, AcqRel, Relaxed)
                    .is_err()
                {
                    lock.release_to_waiters(me);
                }
                lock.robust.retract();
            }
        }

        let me = self.robust.announce();
        // Acquire: as in `lock`.
        if self
            .word()
            .compare_exchange(0, me, Acquire, Relaxed)
            .is_err()
        {
            self.robust.retract();
            return None;
        }
        let mut held = Held(self, me, true);
        if self.note(POISON).load(Relaxed) != 0 {
            return None;
        }
        held.2 = false;
        let result = section();
        held.2 = true;
        Some(result)
    }

    /// Divides what the caller does from every [brief](Self::briefly) section: of what is done on both sides, either the
    /// section's end comes first, and the caller sees from here on what was done in it; or this does, and whoever had the
    /// section sees, after it, what the caller did before.
    ///
    /// So a section that ends in looking for a sleeper needs no fence of its own; the sleeper has it, in this.
    #[inline]
    pub fn meet(&self) {
        // Both orders: the word stays as it is, and its changes are one release sequence. SeqCst, since a compiler makes
        // nothing at all of an unused AcqRel one that changes nothing, and takes it for a fence of its own.
        self.word().fetch_or(0, SeqCst);
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Safety
    /// As [`lock`](Self::lock).
    #[inline]
    pub unsafe fn try_lock(&self) -> Option<Held> {
        // SAFETY: passed on to the caller.
        unsafe { self.try_lock_until(Until::ThreadEnds) }
    }

    /// # Safety
    /// As [`lock_until`](Self::lock_until).
    #[inline]
    pub(crate) unsafe fn try_lock_until(&self, until: Until) -> Option<Held> {
        let me = self.robust.announce();
        match self.take_if_free(me) {
            // SAFETY: the caller vouches for the memory; the word was free and so in no list of ours.
            Ok(before) => Some(unsafe { self.enter(before, until) }),
            Err(_) => {
                self.robust.retract();
                None
            }
        }
    }

    /// Releases the lock and wakes one of those who wait for it. Does nothing in a thread that does
    /// not hold the lock, such as that of a forked child of the holder.
    ///
    /// # Safety
    /// What the lock protects is no longer accessed on the strength of it.
    #[inline]
    pub unsafe fn unlock(&self) {
        if !self.robust.unlink() {
            return;
        }
        self.note(OWNER).store(0, Relaxed);
        let me = self.word().load(Relaxed) & THREAD_ID;
        // Release: what the lock protects; pairs with the Acquire of the next taker.
        if self
            .word()
            .compare_exchange(me, 0, Release, Relaxed)
            .is_err()
        {
            self.release_to_waiters(me);
        }
        self.robust.retract();
    }

    /// Marks what the lock protects as suspect, in this process's name unless another's stands there.
    /// For a holder that has to leave in the middle of a change.
    pub fn poison(&self) {
        self.poison_for(Some(process_id()));
    }

    /// As [`poison`](Self::poison), for a process that did not get to say so itself; `None` where it left
    /// no name.
    pub fn poison_for(&self, owner: Option<u32>) {
        if self.note(POISON).load(Relaxed) == 0 {
            self.note(POISON).store(owner.unwrap_or(NAMELESS), Relaxed);
        }
    }

    /// Whether the next taker is told of a holder that died or panicked.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        let word = self.word().load(Relaxed);
        self.note(POISON).load(Relaxed) != 0 || word & THREAD_ID == 0 && word & OWNER_DIED != 0
    }

    /// Declares what the lock protects sound again. Best done by who holds the lock and has repaired
    /// it; a death that nobody has been told of yet is not forgotten.
    pub fn clear_poison(&self) {
        self.note(POISON).store(0, Relaxed);
    }

    /// Whether the calling thread holds the lock.
    #[must_use]
    #[inline]
    pub fn is_mine(&self) -> bool {
        self.word().load(Relaxed) & THREAD_ID == thread_id()
    }

    /// Whether somebody holds the lock at this moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.word().load(Relaxed) & THREAD_ID != 0
    }

    /// Has the lock pass on if a thread of `process`, which has ended, holds it, and the kernel has not seen
    /// to that. Says whether it had. By one process at a time: the parent of the other.
    pub fn sweep(&self, process: u32) -> bool {
        self.note(OWNER).load(Relaxed) == process && self.robust.mark_if_gone()
    }

    /// Takes a free word, with such `WAITERS` as it has. The error is a held word.
    fn take_if_free(&self, me: u32) -> Result<u32, u32> {
        let mut now = self.word().load(Relaxed);
        while now & THREAD_ID == 0 {
            // Acquire: as in `lock`; or pairs with the kernel's mark of the last holder's death.
            match self
                .word()
                .compare_exchange(now, me | now & WAITERS, Acquire, Relaxed)
            {
                Ok(before) => return Ok(before),
                Err(changed) => now = changed,
            }
        }
        Err(now)
    }

    /// The announced word is held, or not plainly free. Says what it was when it was taken.
    #[cold]
    fn wait_and_take(&self, me: u32, deadline: Deadline) -> Result<u32, NotTaken> {
        loop {
            self.spin();
            let held = match self.take_if_free(me) {
                Ok(before) => return Ok(before),
                Err(held) => held,
            };
            if held & THREAD_ID == me {
                return Err(NotTaken::WouldDeadlock);
            }
            // Invariants 2 and 3: no sleep without `WAITERS`, nor beside `CLOSING`.
            let asleep = held & THREAD_ID | WAITERS;
            if held != asleep
                && self
                    .word()
                    .compare_exchange(held, asleep, Relaxed, Relaxed)
                    .is_err()
            {
                continue;
            }
            self.note(QUIET).store(0, Relaxed);
            // A wait that times out was not woken, so no wake is lost with it.
            if futex::wait(self.word(), asleep, deadline) == Woken::TimedOut {
                return Err(NotTaken::TimedOut);
            }
        }
    }

    fn spin(&self) {
        let mut left = SPINS;
        while left > 0 && self.word().load(Relaxed) & THREAD_ID != 0 {
            spin_loop();
            left -= 1;
        }
    }

    /// Everything between the take and the caller's first access.
    ///
    /// # Safety
    /// As [`lock_until`](Self::lock_until); and the word is in no list of this thread's.
    #[inline]
    unsafe fn enter(&self, before: u32, until: Until) -> Held {
        if before & OWNER_DIED != 0 {
            let owner = match self.note(OWNER).load(Relaxed) {
                0 => NAMELESS,
                pid => pid,
            };
            self.note(POISON).store(owner, Relaxed);
        }
        // SAFETY: passed on to the caller.
        unsafe { self.robust.link(until) };
        self.note(OWNER).store(process_id(), Relaxed);
        self.told()
    }

    /// What a holder is told; for one that asks again.
    #[inline]
    pub fn told(&self) -> Held {
        match self.note(POISON).load(Relaxed) {
            0 => Held::Sound,
            NAMELESS => Held::Poisoned { owner: None },
            pid => Held::Poisoned { owner: Some(pid) },
        }
    }

    /// Releases a word that has `WAITERS`.
    #[cold]
    fn release_to_waiters(&self, me: u32) {
        if self.note(QUIET).load(Relaxed) != 0 && self.close(me) {
            return;
        }
        // Release: as in `unlock`.
        self.word().swap(WAITERS, Release);
        if futex::wake(self.word(), 1) == 0 {
            self.note(QUIET).store(1, Relaxed);
        }
    }

    /// Releases a word that has `WAITERS` although nobody sleeps, to 0. Says whether that was so.
    fn close(&self, me: u32) -> bool {
        let (held, closing) = (me | WAITERS, me | WAITERS | CLOSING);
        self.word().compare_exchange(held, closing, Relaxed, Relaxed).is_ok()
            // Asks whether somebody sleeps; whom it wakes finds the lock held, and looks again.
            && futex::wake(self.word(), 1) == 0
            // Invariant 3. Release: as in `unlock`.
            && self.word().compare_exchange(closing, 0, Release, Relaxed).is_ok()
    }

    fn word(&self) -> &AtomicU32 {
        &self.robust.word
    }

    fn note(&self, which: usize) -> &AtomicU32 {
        &self.robust.notes[which]
    }
}

/// An unlocked one, for memory of this process: shared memory has them as zeroes.
impl Default for LockWord {
    fn default() -> LockWord {
        LockWord { robust: unheld() }
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotTaken::TimedOut => "the lock was held by somebody else until the deadline",
            NotTaken::WouldDeadlock => {
                "this thread holds the lock already and would wait for itself"
            }
        })
    }
}

impl Error for NotTaken {}

#[cfg(all(test, not(loom)))]
mod tests;
