//! Permits: so many, of which some are held, and every one that is held is some thread's.
//!
//! Semaphores, locks that anybody may release, and reader-writer locks are made of them.
//!
//! # State
//!
//! | word | meaning |
//! |---|---|
//! | `total` | how many permits there are, held or not |
//! | a slot's `COUNT` | how many of them its thread holds; those of all slots are held, the others free |
//! | a slot's `TURN` | which taking of all permits, of its thread's, made it hold them; 0 where it does not hold all |
//! | a slot's `IDENTITY` | the process, where that holds them until it is over; 0 where the thread does |
//! | `poison` | the process that died or panicked while it held all; [`NAMELESS`] where it is not known |
//!
//! Who is alone with the permits takes some, or all, by one exchange of the first slot's word, and gives them back
//! by another: as a lock. That is possible while the first slot is *open*:
//!
//! | the first slot's word | meaning |
//! |---|---|
//! | none | open: nobody holds a permit, nobody waits |
//! | a thread's id | open: that thread holds one permit, and nobody another; nobody waits. `COUNT` says nothing |
//! | a thread's id, [`ALL`] | likewise, with all permits |
//! | `OWNER_DIED` | likewise, and the thread is gone: it held all where `TURN` is not 0, else one |
//! | the same with `WAITERS`, but without [`ALL`] | closed: a slot as others (`table.rs`) |
//!
//! # Invariants
//!
//! 1. `total` and `COUNT` change inside the gate, and one store of a `COUNT` or of `total` is the whole change, as
//!    is the exchange of an open first slot. The number of free permits is nowhere stored, so it cannot be wrong.
//! 2. A slot whose thread is gone is reaped by whoever comes next, before it counts: its permits are free. Where
//!    it has an `IDENTITY`, that is when the process is over, and until then it counts: what the permits gave access
//!    to may be in use by other threads of it, which outlive the dead one by some microseconds.
//! 3. Whoever sleeps holds the turnstile: there is one sleeper, and others wait for the turnstile, whose
//!    lock passes on.
//! 4. The sleeper watches the slots of all who held a permit when it found too few. It cannot go on before
//!    one of them gives back or dies, and either wakes it. So slots that are taken meanwhile need no
//!    watching: it looks again before these matter.
//! 5. Who enters the gate to look or to change closes the first slot before, with its `COUNT` as it must be. It is
//!    opened inside, when nobody holds a permit or the turnstile. So while somebody sleeps it is closed.
//! 6. `TURN` and `IDENTITY` are set before their thread makes use of the permits, and cleared after.
//!
//! # Orderings
//!
//! The gate orders what happens in it; the stores inside are Relaxed. What permits protect is published from one
//! holder to the next by the gate too: both were inside in between. Past the gate, the first slot is taken with
//! Acquire and given back with Release; it is closed with Acquire, for what who had it before did, and
//! Release, for the thread that finds its own `COUNT`; and opened with Release.
//!
//! # Death
//!
//! | killed | what happens |
//! |---|---|
//! | waiting for the turnstile or holding it, asleep or awake | its lock passes on |
//! | waiting for a process to be over | nothing |
//! | inside the gate | the gate passes on, see `gate.rs`; the sleeper watches the slot if it matters |
//! | closing, at each step | the slot is open still, and its `COUNT` says nothing; or it is closed |
//! | slot claimed, before `COUNT` | an empty slot is reaped |
//! | first slot taken past the gate, before it is in the list or after | marked; reaped by the next, without poison before `TURN` is set |
//! | holding | the slot is marked, the sleeper woken, the permits are free when Invariant 2 says so |
//! | giving back past the gate, before the exchange | as holding, but for the poison |
//! | giving back inside, before the store | as holding |
//! | giving back inside, after it | the alarm was announced: the sleeper is woken |
//! | taking a permit away, between `total` and `COUNT` | reaped: it is gone, as it was to be |
//! | taking a lock over, after it read the poison | `TURN` was set before: the next taker reads of this death |
//!
//! # Differences from Python
//!
//! `multiprocessing.Semaphore` knows a number only, which a process that is killed leaves too low.

#![expect(
    unsafe_code,
    reason = "to take a permit is to promise something about memory"
)]

use std::cell::Cell;

use crate::gate::{Gate, Inside};
use crate::lock::{Held, LockWord};
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::primitive::{
    AtomicU32, Deadline, Identity, OWNER_DIED, THREAD_ID, Until, WAITERS, Woken, process_id,
    thread_id,
};
use crate::table::{Slot, Table, is_dead};

/// A number of permits in memory that processes share; all zeroes has none, to which some can be
/// [added](Permits::give).
///
/// It is made of atomics only, so a reference to one is sound wherever the memory is mapped, whoever
/// writes to it.
#[repr(C)]
#[derive(Debug)]
pub struct Permits {
    turnstile: LockWord,
    gate: Gate,
    total: AtomicU32,
    poison: AtomicU32,
    table: Table,
}

/// Permits were taken.
///
/// One number, which is handed up in a register: the turn, and in the high half the poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken(u64);

const COUNT: usize = 0;
const TURN: usize = 1;
/// And the one after: the low half and the high one.
const IDENTITY: usize = 2;

/// Beside a thread's id in an open first slot: it holds all permits. Where there is no id, the kernel's mark.
const ALL: u32 = OWNER_DIED;

/// In `poison`: a process that is not known.
const NAMELESS: u32 = u32::MAX;

/// Why there are too few permits.
enum Missing {
    /// Others hold them.
    Held,
    /// A thread of this process held them, which is dead; others of it may live.
    Lingering(Identity),
}

impl Taken {
    #[inline]
    fn new(turn: u32, poison: u32) -> Taken {
        Taken(u64::from(poison) << 32 | u64::from(turn))
    }

    #[inline]
    fn turn(self) -> u32 {
        halves(self.0)[0]
    }

    /// Whether somebody who had all permits died or panicked.
    #[inline]
    pub fn held(self) -> Held {
        match halves(self.0)[1] {
            0 => Held::Sound,
            NAMELESS => Held::Poisoned { owner: None },
            pid => Held::Poisoned { owner: Some(pid) },
        }
    }
}

/// Tells the takings of all permits by one thread apart.
fn next_turn() -> u32 {
    thread_local! {
        static LAST: Cell<u32> = const { Cell::new(0) };
    }
    // 0 is no turn.
    let turn = LAST.get().wrapping_add(1).max(1);
    LAST.set(turn);
    turn
}

impl Permits {
    /// Takes `count` permits if nobody holds any and nobody waits; for one or all, with `all` as in
    /// [`take`](Self::take). This is what those cost who are alone: no more than a lock.
    ///
    /// # Panics
    /// As [`take`](Self::take).
    ///
    /// # Safety
    /// As [`take`](Self::take).
    #[inline]
    pub unsafe fn take_alone(&self, count: u32, all: bool, until: Until) -> Option<Taken> {
        let can = || match self.total.load(Relaxed) {
            total if all => count == total,
            total => count == 1 && total > 0,
        };
        let front = self.table.front();
        if !can() || front.robust().word.load(Relaxed) != 0 {
            return None;
        }
        let me = front.robust().announce();
        let mine = if all { me | ALL } else { me };
        // Acquire: what the last holder did; pairs with the Release in `give_back_alone`, or in `open`.
        let taken = front
            .robust()
            .word
            .compare_exchange(0, mine, Acquire, Relaxed);
        if taken.is_err() {
            front.robust().retract();
            return None;
        }
        // SAFETY: the caller vouches for the memory; the word was nobody's and so in no list.
        unsafe { front.robust().link(until) };
        front.sign();
        let turn = begin(front, all, until);
        let taken = Taken::new(turn, self.poison.load(Relaxed));
        if can() {
            return Some(taken);
        }
        // Another has changed the number in between.
        // SAFETY: nobody got access.
        unsafe { self.give_back(u32::MAX, all.then_some(taken)) };
        None
    }

    /// Takes `count` permits once they are free, or gives up at the deadline. With `all`, they are to be
    /// all there are, and a death or panic with them in hand is told to later takers. They are the thread's
    /// until they are given back, or what `until` says has ended.
    ///
    /// Who has to wait does so in a queue, first come, first served; who comes while somebody waits goes
    /// to its end. No more than 126 threads hold permits at a time: the next waits.
    ///
    /// # Panics
    /// If the platform has no robust words, or the thread holds too many locks.
    ///
    /// # Safety
    /// The memory stays mapped at this address until the permits were given back by the calling thread,
    /// or what `until` says has ended.
    #[inline]
    pub unsafe fn take(
        &self,
        count: u32,
        all: bool,
        until: Until,
        deadline: Deadline,
    ) -> Option<Taken> {
        // SAFETY: passed on to the caller.
        if let Some(taken) = unsafe { self.take_alone(count, all, until) } {
            return Some(taken);
        }
        // SAFETY: as above.
        unsafe { self.take_among_others(count, all, until, deadline) }
    }

    /// # Safety
    /// As [`take`](Self::take).
    #[cold]
    unsafe fn take_among_others(
        &self,
        count: u32,
        all: bool,
        until: Until,
        deadline: Deadline,
    ) -> Option<Taken> {
        let (mut turn, mut over) = (None, None);
        loop {
            if turn.is_some() || !self.turnstile.is_held() {
                // SAFETY: passed on to the caller, here and below.
                let inside = unsafe { self.enter(deadline) }?;
                // SAFETY: as above.
                match unsafe { self.take_inside(count, all, until, over) } {
                    Ok(taken) => return Some(taken),
                    Err(Missing::Lingering(process)) => {
                        drop(inside);
                        if !process.wait_until_over(deadline) {
                            return None;
                        }
                        over = Some(process);
                        continue;
                    }
                    Err(Missing::Held) if turn.is_some() => {
                        let seen = self.gate.alarm.now();
                        let watch = self.table.watch();
                        drop(inside);
                        if let Some(watch) = watch
                            && self.gate.alarm.sleep(seen, &watch, deadline) == Woken::TimedOut
                        {
                            return None;
                        }
                        continue;
                    }
                    Err(Missing::Held) => {}
                }
            }
            // SAFETY: as above.
            turn = Some(unsafe { Inside::of(&self.turnstile, deadline) }?);
        }
    }

    /// Takes `count` permits if they are free.
    ///
    /// # Panics
    /// As [`take`](Self::take).
    ///
    /// # Safety
    /// As [`take`](Self::take).
    #[inline]
    pub unsafe fn try_take(&self, count: u32, all: bool, until: Until) -> Option<Taken> {
        // SAFETY: passed on to the caller.
        if let Some(taken) = unsafe { self.take_alone(count, all, until) } {
            return Some(taken);
        }
        // SAFETY: as above.
        unsafe { self.try_take_among_others(count, all, until) }
    }

    /// # Safety
    /// As [`take`](Self::take).
    #[cold]
    unsafe fn try_take_among_others(&self, count: u32, all: bool, until: Until) -> Option<Taken> {
        let _inside = self.enter_reaped();
        // SAFETY: passed on to the caller.
        unsafe { self.take_inside(count, all, until, None) }.ok()
    }

    /// Gives back `count` of the permits that the calling thread holds, or, with what all were
    /// [taken](Self::take) by, those and no later ones. Says whether it had any.
    ///
    /// # Safety
    /// What the permits stand for is no longer accessed on the strength of them.
    #[inline]
    pub unsafe fn give_back(&self, count: u32, all: Option<Taken>) -> bool {
        if count > 0 && self.give_back_alone(thread_id(), all) {
            return true;
        }
        self.give_back_inside(count, all)
    }

    /// The calling thread's one permit or all, if it is alone with the permits. Says whether it was.
    #[inline]
    fn give_back_alone(&self, me: u32, all: Option<Taken>) -> bool {
        let front = self.table.front();
        let word = &front.robust().word;
        let now = word.load(Relaxed);
        let turn = front.note(TURN).load(Relaxed);
        let same = match all {
            Some(all) => now == me | ALL && turn == all.turn(),
            None => now == me,
        };
        if !same || !front.robust().unlink() {
            return false;
        }
        clear(front);
        // Release: what the permits protect; pairs with the Acquire in `take_alone`, or in `close`.
        if word.compare_exchange(now, 0, Release, Relaxed).is_ok() {
            front.robust().retract();
            return true;
        }
        // Closed meanwhile: it is to be given back as others are.
        front.note(TURN).store(turn, Relaxed);
        // SAFETY: it is taken out before this thread returns to who vouched for the memory.
        unsafe { front.robust().link(Until::ThreadEnds) };
        false
    }

    #[cold]
    fn give_back_inside(&self, count: u32, all: Option<Taken>) -> bool {
        let Some(slot) = self.table.mine() else {
            return false;
        };
        let inside = self.enter_now();
        let same = all.is_none_or(|all| all.turn() == slot.note(TURN).load(Relaxed));
        let had = slot.note(COUNT).load(Relaxed) != 0;
        if same || !had {
            self.lower(slot, count);
        }
        let lingering = self.lingering();
        drop(inside);
        if lingering.is_some() {
            let _inside = self.enter_reaped();
            self.open();
        }
        same && had
    }

    /// Has somebody who holds all permits, whichever thread it is, hold them no longer. Says whether there
    /// was one.
    pub fn take_back_all(&self) -> bool {
        let me = thread_id();
        if self.table.front().robust().word.load(Relaxed) == me | ALL {
            let turn = self.table.front().note(TURN).load(Relaxed);
            if self.give_back_alone(me, Some(Taken::new(turn, 0))) {
                return true;
            }
        }
        let _inside = self.enter_now();
        self.reap(None);
        let used = self.table.used().iter();
        let mut holders = used.filter(|slot| slot.note(COUNT).load(Relaxed) != 0);
        let Some(holder) = holders.next() else {
            return false;
        };
        match self.table.mine() {
            Some(mine) if std::ptr::eq(mine, holder) => self.lower(mine, u32::MAX),
            // The slot stays its thread's, with nothing in it, until that one comes again or ends.
            _ => {
                // `COUNT` first: a slot that holds something keeps its turn.
                self.gate.alarm.ring(|| {
                    holder.note(COUNT).store(0, Relaxed);
                    holder.note(TURN).store(0, Relaxed);
                });
            }
        }
        true
    }

    /// Adds `count` permits, unless there were more than `most` then. Says whether it did.
    pub fn give(&self, count: u32, most: u32) -> bool {
        let _inside = self.enter_now();
        let sum = self.total.load(Relaxed).checked_add(count);
        let Some(sum) = sum.filter(|sum| *sum <= most) else {
            return false;
        };
        self.gate.alarm.ring(|| self.total.store(sum, Relaxed));
        self.open();
        true
    }

    /// Takes `count` of the permits that the calling thread holds away for good. Says whether it had any.
    pub fn forget(&self, count: u32) -> bool {
        let _inside = self.enter_now();
        let Some(slot) = self.table.mine() else {
            return false;
        };
        let had = slot.note(COUNT).load(Relaxed);
        let gone = had.min(count);
        let total = self.total.load(Relaxed);
        self.total.store(total.saturating_sub(gone), Relaxed);
        slot.note(COUNT).store(had - gone, Relaxed);
        if had == gone {
            clear(slot);
            slot.leave();
        }
        self.open();
        gone != 0
    }

    /// How many permits there are, free and held.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total.load(Relaxed)
    }

    /// How many permits the calling thread holds.
    #[must_use]
    pub fn mine(&self) -> u32 {
        let Some(slot) = self.table.mine() else {
            return 0;
        };
        // Acquire: `COUNT`, where it was closed by another; pairs with the Release in `close`.
        let word = slot.robust().word.load(Acquire);
        let alone = self.held_alone(word);
        alone.unwrap_or_else(|| slot.note(COUNT).load(Relaxed))
    }

    /// How many permits are free at this moment.
    #[must_use]
    pub fn free(&self) -> u32 {
        let front = &self.table.front().robust().word;
        let word = front.load(Acquire);
        if let Some(held) = self.held_alone(word) {
            let total = self.total.load(Acquire);
            if front.load(Relaxed) == word {
                return total - held.min(total);
            }
        }
        let _inside = self.enter_reaped();
        self.count_free()
    }

    /// Marks what all permits protect as suspect, in this process's name, unless what was taken is not the
    /// calling thread's any more.
    pub fn poison(&self, all: Taken) {
        let _inside = self.enter_now();
        let mine = self.table.mine();
        if mine.is_some_and(|slot| slot.note(TURN).load(Relaxed) == all.turn()) {
            self.poison.store(process_id(), Relaxed);
        }
    }

    /// Whether somebody who had all permits died or panicked, and it was not cleared since.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        let word = self.table.front().robust().word.load(Acquire);
        if self.held_alone(word).is_none() {
            let _inside = self.enter_now();
            self.reap(None);
        }
        self.poison.load(Relaxed) != 0
    }

    /// Declares what all permits protect sound again.
    pub fn clear_poison(&self) {
        self.poison.store(0, Relaxed);
    }

    /// Sees to what `process`, which has ended, has left here and the kernel has not. By one process at a time:
    /// the parent of the other.
    pub fn sweep(&self, process: u32) {
        self.turnstile.sweep(process);
        self.gate.sweep(process);
        self.table.sweep(process);
    }

    /// Enters the gate to look or to change.
    ///
    /// # Safety
    /// As [`LockWord::lock`].
    unsafe fn enter(&self, deadline: Deadline) -> Option<Inside<'_>> {
        // SAFETY: passed on to the caller.
        let inside = unsafe { self.gate.enter(deadline) }?;
        self.close();
        Some(inside)
    }

    /// As [`enter`](Self::enter), for a function that leaves before it returns.
    fn enter_now(&self) -> Inside<'_> {
        // SAFETY: left before `self` can be gone.
        let inside = unsafe { self.enter(Deadline::NEVER) };
        inside.expect("a wait without end timed out")
    }

    /// As [`enter_now`](Self::enter_now), with all slots reaped that can be.
    fn enter_reaped(&self) -> Inside<'_> {
        let mut over = None;
        loop {
            let inside = self.enter_now();
            self.reap(over);
            let Some(process) = self.lingering() else {
                return inside;
            };
            drop(inside);
            // What takes system calls is not asked inside.
            if !process.is_over() {
                return self.enter_now();
            }
            over = Some(process);
        }
    }

    /// Closes the first slot, inside the gate.
    fn close(&self) {
        let front = self.table.front();
        let mut now = front.robust().word.load(Relaxed);
        while now & WAITERS == 0 {
            let held = self.held_alone(now).unwrap_or_else(|| {
                let had_all = front.note(TURN).load(Relaxed) != 0;
                if had_all { self.total() } else { 1 }
            });
            front.note(COUNT).store(held, Relaxed);
            let closed = if is_dead(now) { now } else { now & THREAD_ID } | WAITERS;
            // Release: `COUNT`. Acquire: what the last holder did; pairs with the Release in `give_back_alone`.
            match front
                .robust()
                .word
                .compare_exchange(now, closed, AcqRel, Relaxed)
            {
                Ok(_) => return,
                Err(changed) => now = changed,
            }
        }
    }

    /// Opens the first slot, inside the gate, if nobody holds a permit or waits.
    fn open(&self) {
        let word = &self.table.front().robust().word;
        let used = self.table.used();
        let held = |slot: &Slot| slot.note(COUNT).load(Relaxed) != 0;
        if word.load(Relaxed) == WAITERS && !used.iter().any(held) && !self.turnstile.is_held() {
            // Release: what was done inside; pairs with the Acquire in `take_alone`.
            word.store(0, Release);
        }
    }

    /// How many permits are held, by a first slot's word; `None` where that is closed, or a dead thread's.
    fn held_alone(&self, word: u32) -> Option<u32> {
        if word & WAITERS != 0 || is_dead(word) {
            return None;
        }
        Some(match word & THREAD_ID {
            0 => 0,
            _ if word & ALL != 0 => self.total(),
            _ => 1,
        })
    }

    /// # Safety
    /// As [`take`](Self::take).
    unsafe fn take_inside(
        &self,
        count: u32,
        all: bool,
        until: Until,
        over: Option<Identity>,
    ) -> Result<Taken, Missing> {
        self.reap(over);
        let claimed = (self.count_free() >= count).then(|| {
            // SAFETY: passed on to the caller.
            unsafe { self.table.claim(&self.gate.alarm, until) }
        });
        let Some(slot) = claimed.flatten() else {
            let lingering = self.lingering();
            return Err(lingering.map_or(Missing::Held, Missing::Lingering));
        };
        let had = slot.note(COUNT).load(Relaxed);
        let turn = begin(slot, all, until);
        slot.note(COUNT).store(had.saturating_add(count), Relaxed);
        Ok(Taken::new(turn, self.poison.load(Relaxed)))
    }

    /// Invariant 2. The process `over` is.
    fn reap(&self, over: Option<Identity>) {
        self.table.reap(|dead| {
            if dead.note(COUNT).load(Relaxed) == 0 {
                return true;
            }
            if dead.note(TURN).load(Relaxed) != 0 {
                let process = match dead.process() {
                    0 => NAMELESS,
                    process => process,
                };
                self.poison.store(process, Relaxed);
            }
            identity(dead).is_none_or(|process| Some(process) == over)
        });
    }

    /// A process that has a dead thread here, and may not be over.
    fn lingering(&self) -> Option<Identity> {
        let mut dead = self.table.used().iter().filter(|slot| slot.is_dead());
        dead.find_map(identity)
    }

    fn count_free(&self) -> u32 {
        let held = self.table.used().iter().fold(0_u32, |sum, slot| {
            sum.saturating_add(slot.note(COUNT).load(Relaxed))
        });
        self.total.load(Relaxed).saturating_sub(held)
    }

    /// Lowers what the calling thread's slot holds.
    fn lower(&self, slot: &Slot, count: u32) {
        let had = slot.note(COUNT).load(Relaxed);
        let left = had.saturating_sub(count);
        self.gate
            .alarm
            .ring(|| slot.note(COUNT).store(left, Relaxed));
        if left == 0 {
            clear(slot);
            slot.leave();
            self.open();
        }
    }
}

/// Notes what the slot's thread begins. Invariant 6.
#[inline]
fn begin(slot: &Slot, all: bool, until: Until) -> u32 {
    if until == Until::ProcessEnds {
        let [low, high] = halves(Identity::own().to_bits());
        slot.note(IDENTITY).store(low, Relaxed);
        slot.note(IDENTITY + 1).store(high, Relaxed);
    }
    let turn = if all { next_turn() } else { 0 };
    slot.note(TURN).store(turn, Relaxed);
    turn
}

/// The process that holds what is in the slot until it is over.
fn identity(slot: &Slot) -> Option<Identity> {
    let half = |which| u64::from(slot.note(IDENTITY + which).load(Relaxed));
    Identity::from_bits(half(1) << 32 | half(0))
}

/// The low half, and the high one.
#[inline]
fn halves(bits: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "it is cut in two")]
    [bits as u32, (bits >> 32) as u32]
}

/// Clears the notes of what the slot's thread has ended.
#[inline]
fn clear(slot: &Slot) {
    for note in [TURN, IDENTITY, IDENTITY + 1] {
        slot.note(note).store(0, Relaxed);
    }
}

/// None at all, for memory of this process: shared memory has them as zeroes.
impl Default for Permits {
    fn default() -> Permits {
        Permits {
            turnstile: LockWord::default(),
            gate: Gate::new(),
            total: AtomicU32::new(0),
            poison: AtomicU32::new(0),
            table: Table::new(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
