//! Threads of the library itself, and how a fork meets them.
//!
//! A forked child has one thread, and whatever another one held stays held in it for ever. The library's own
//! threads (the reaper's and the one that reads streams) mostly wait, and hold nothing then. So they work only under a gate, of which any number of them can
//! hold a share, and a fork holds all of it.
//!
//! # Invariants
//! 1. A helper that is counted holds its share ([`Busy`]), or is in the one system call that it waits in, or on
//!    its way between the two, where it allocates nothing and takes no lock but the gate.
//! 2. Whoever holds the whole gate ([`quiesce`]) holds it across the fork, in both processes.

//! 3. The gate belongs to one process. A forked copy of it, however forked, finds it open, and no helper counted.

use std::cell::Cell;
use std::io;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;

/// Bit 0: held whole. Bits 1 to 15: how many shares are held. Bits 16 to 31: how many threads are helpers.
static GATE: AtomicU32 = AtomicU32::new(0);
const WHOLE: u32 = 1;
const SHARE: u32 = 2;
const SHARES: u32 = 0xfffe;
const HELPER: u32 = 1 << 16;

/// The process that the gate is of; `CHANGING` while a copy makes it its own.
static OWNER: AtomicU32 = AtomicU32::new(0);
const CHANGING: u32 = u32::MAX;

thread_local! {
    /// The process in which this thread is a helper.
    static HELPS: Cell<u32> = const { Cell::new(0) };
}

/// A share of the gate: while it is held, nothing forks.
#[derive(Debug)]
pub(crate) struct Busy {
    taken_in: u32,
}

/// The whole gate: while it is held, no helper works.
#[derive(Debug)]
pub(crate) struct Quiet {
    taken_in: u32,
}

/// This process's gate, and its number.
fn gate() -> (&'static AtomicU32, u32) {
    let own = process::id();
    loop {
        // Acquire: pairs with the Release below; whoever sees the owner sees the gate that it has made.
        let owner = OWNER.load(Ordering::Acquire);
        if owner == own {
            return (&GATE, own);
        }
        if owner == CHANGING {
            thread::yield_now();
            continue;
        }
        // Relaxed: nothing is read that another process has written.
        let mine = OWNER.compare_exchange(owner, CHANGING, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            GATE.store(0, Ordering::Relaxed);
            OWNER.store(own, Ordering::Release);
        }
    }
}

/// Waits for a fork that is under way, and keeps others from beginning.
pub(crate) fn busy() -> Busy {
    let (gate, taken_in) = gate();
    let mut seen = gate.load(Ordering::Relaxed);
    loop {
        if seen & WHOLE != 0 {
            let _look_again = futex::wait(gate, seen, Deadline::NEVER);
            seen = gate.load(Ordering::Relaxed);
            continue;
        }
        // Acquire: pairs with the Release of `Quiet`'s end. A fork makes nothing that helpers read, but its thread may.
        match gate.compare_exchange(seen, seen + SHARE, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Busy { taken_in },
            Err(now) => seen = now,
        }
    }
}

/// Waits until every helper waits. `None` on a helper, which would wait for itself.
pub(crate) fn quiesce() -> Option<Quiet> {
    let (gate, taken_in) = gate();
    if HELPS.get() == taken_in {
        return None;
    }
    let mut seen = gate.load(Ordering::Relaxed);
    loop {
        if seen & (WHOLE | SHARES) != 0 {
            let _look_again = futex::wait(gate, seen, Deadline::NEVER);
            seen = gate.load(Ordering::Relaxed);
            continue;
        }
        // Acquire: pairs with the Release of `Busy`'s end: what a helper did is whole.
        match gate.compare_exchange(seen, seen | WHOLE, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(Quiet { taken_in }),
            Err(now) => seen = now,
        }
    }
}

impl Quiet {
    /// How many threads of this process are helpers.
    pub(crate) fn count(&self) -> usize {
        (GATE.load(Ordering::Relaxed) / HELPER) as usize
    }
}

impl Busy {
    /// Makes this thread a helper, which waits from the end of this share on.
    pub(crate) fn count_this_thread(&self) {
        HELPS.set(self.taken_in);
        GATE.fetch_add(HELPER, Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        give_back(self.taken_in, SHARE);
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        give_back(self.taken_in, WHOLE);
    }
}

/// Nothing, in a copy of the process that took it.
fn give_back(taken_in: u32, part: u32) {
    let (gate, own) = gate();
    if own == taken_in {
        // Release: pairs with the Acquire of who takes it next.
        gate.fetch_sub(part, Ordering::Release);
        futex::wake(gate, u32::MAX);
    }
}

/// Starts a helper, which begins with a share of the gate.
pub(crate) fn start(name: &str, run: impl FnOnce(Busy) + Send + 'static) -> io::Result<()> {
    let (begin, begun) = sync_channel(1);
    thread::Builder::new()
        .name(name.to_string())
        .stack_size(64 << 10)
        .spawn(move || {
            let busy = busy();
            busy.count_this_thread();
            // Whoever started it waits for this, and forks only afterwards.
            let _heard = begin.send(());
            drop(begin);
            run(busy);
        })?;
    // It cannot end before it has sent.
    let _begun = begun.recv();
    Ok(())
}
