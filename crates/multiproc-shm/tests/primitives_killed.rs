//! Processes killed with SIGKILL at random instants while they use a lock, a semaphore or an event that
//! others use too: every other goes on, nobody is let in beside another, and no permit is lost.
//!
//! `MULTIPROC_KILL_ROUNDS` sets the number of rounds of each test, of two deaths each.

#![cfg(not(loom))]
#![expect(clippy::print_stdout, reason = "a test program tells what it has done")]

use std::sync::atomic::{AtomicU32, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::{Duration, Instant};

use multiproc_process::Process;
use multiproc_shm::{
    Barrier, Block, Condition, Event, Lock, LockTimeoutError, Mutex, PoisonError, RwLock, Semaphore,
};
use multiproc_testkit::{Percentiles, within};
use serde::{Serialize, de::DeserializeOwned};

const LIMIT: Duration = Duration::from_secs(60);
/// No round starts after this, unless a number was asked for.
const ENOUGH: Duration = Duration::from_millis(2_500);
const ROUNDS: u32 = 150;

/// Has two victims at a time do `work` for ever, kills them at a random instant, and has `go_on` look, in
/// a thread of its own meanwhile and once after. Gives the number of rounds.
fn kill_by_twos<A: Serialize + DeserializeOwned + Clone + Send + 'static>(
    work: fn(A),
    shared: &A,
    go_on: impl Fn() + Sync,
) -> u32 {
    let asked = std::env::var("MULTIPROC_KILL_ROUNDS").ok();
    let asked: Option<u32> = asked.map(|rounds| rounds.parse().unwrap());
    let begun = Instant::now();
    let mut random = u64::from(std::process::id()) | 1;
    let mut done = 0;
    while done < asked.unwrap_or(ROUNDS) && (asked.is_some() || begun.elapsed() < ENOUGH) {
        let victims = [(); 2].map(|()| Process::spawn(work, shared.clone()).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(&go_on);
            for victim in &victims {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let instant = Instant::now() + Duration::from_micros(random % 3_000);
                while Instant::now() < instant {
                    std::thread::yield_now();
                }
                victim.kill().unwrap();
            }
        });
        for victim in victims {
            let error = within(LIMIT, move || victim.join().unwrap_err());
            assert!(
                error.panic().is_none(),
                "a victim found something wrong: {error}"
            );
        }
        go_on();
        done += 1;
    }
    done
}

/// A word in shared memory.
#[expect(clippy::cast_ptr_alignment, reason = "a block begins at a page")]
fn word(block: &Block) -> &AtomicU32 {
    // SAFETY: a block is at least four bytes long, aligned to a page; any bytes are an atomic's.
    unsafe { &*block.as_ptr().cast::<AtomicU32>() }
}

fn turns_at_a_lock((lock, inside): (Lock, Block)) {
    loop {
        turn(&lock, &inside);
    }
}

fn turn(lock: &Lock, inside: &Block) {
    let guard = match lock.lock_timeout(LIMIT) {
        Ok(guard) => {
            assert_eq!(
                word(inside).swap(std::process::id(), AcqRel),
                0,
                "two are inside"
            );
            guard
        }
        Err(error) => {
            let error = match error {
                LockTimeoutError::Poisoned(error) => error,
                LockTimeoutError::TimedOut => panic!("the lock does not come"),
            };
            let owner = error.owner().expect("the slot has the name");
            let found = word(inside).swap(std::process::id(), AcqRel);
            assert!(
                found == 0 || found == owner,
                "{found} is inside, {owner} died"
            );
            error.into_inner()
        }
    };
    let found = word(inside).swap(0, AcqRel);
    assert_eq!(found, std::process::id(), "another came inside");
    drop(guard);
}

#[test]
fn a_lock_goes_on() {
    let (lock, inside) = (Lock::new().unwrap(), Block::create(4).unwrap());
    let shared = (lock.clone(), inside.clone());
    let rounds = kill_by_twos(turns_at_a_lock, &shared, || {
        (0..50).for_each(|_| turn(&lock, &inside));
    });
    println!("a lock: {rounds} rounds of two deaths");
}

fn turns_at_a_semaphore(slots: Semaphore) {
    loop {
        let one = slots.acquire();
        let two = slots.try_acquire();
        drop((one, two));
    }
}

#[test]
fn no_permit_of_a_semaphore_is_lost() {
    let slots = Semaphore::new(2).unwrap();
    let rounds = kill_by_twos(turns_at_a_semaphore, &slots, || {
        for _ in 0..50 {
            assert!(
                slots.acquire_timeout(LIMIT).is_some(),
                "the permit does not come"
            );
        }
    });
    assert_eq!(slots.available(), 2);
    println!("a semaphore: {rounds} rounds of two deaths");
}

fn sets_and_waits(event: Event) {
    loop {
        event.set();
        event.wait();
        event.clear();
        let _set: bool = event.wait_timeout(Duration::from_micros(50));
    }
}

#[test]
fn a_set_reaches_who_waits() {
    let (event, answered) = (Event::new().unwrap(), Block::create(4).unwrap());
    let rounds = kill_by_twos(sets_and_waits, &event, || {
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                word(&answered).store(1, Release);
                assert!(event.wait_timeout(LIMIT), "a set was lost");
            });
            while word(&answered).load(Acquire) == 0 {
                std::thread::yield_now();
            }
            event.set();
            // Whether it had begun to wait or not, the victims clear what they find set.
            while !waiter.is_finished() {
                event.set();
                std::thread::yield_now();
            }
        });
    });
    println!("an event: {rounds} rounds of two deaths");
}

/// Waits for a notice and passes it on, for ever.
fn passes_on((condition, lock): (Condition, Mutex<u32>)) {
    loop {
        let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let held = condition.wait(held).unwrap_or_else(PoisonError::into_inner);
        condition.notify_one();
        drop(held);
    }
}

#[test]
fn a_notice_reaches_a_waiter() {
    let (condition, ready) = (Condition::new().unwrap(), Mutex::new(0_u32).unwrap());
    let lock = || ready.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = (condition.clone(), ready.clone());
    let rounds = kill_by_twos(passes_on, &shared, || {
        let waits = AtomicU32::new(0);
        *lock() = 0;
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut held = lock();
                waits.store(1, Release);
                while *held == 0 {
                    let waited = condition.wait_timeout(held, LIMIT);
                    let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
                    assert!(!result.timed_out(), "a notice was lost");
                    held = guard;
                }
            });
            while waits.load(Acquire) == 0 {
                std::thread::yield_now();
            }
            let mut held = lock();
            ready.clear_poison();
            *held = 1;
            drop(held);
            condition.notify_one();
            while !waiter.is_finished() {
                // One that had been told died with the lock, before it passed it on.
                if ready.is_poisoned() {
                    let _held = lock();
                    ready.clear_poison();
                    condition.notify_one();
                }
                std::thread::yield_now();
            }
        });
    });
    println!("a condition: {rounds} rounds of two deaths");
}

fn passes_and_repairs(barrier: Barrier) {
    loop {
        pass(&barrier);
    }
}

/// Waits once; where the barrier is broken, resets it.
fn pass(barrier: &Barrier) {
    let _member = barrier.join().expect("there is room");
    if barrier.wait_timeout(LIMIT).is_err_and(|error| {
        assert_ne!(
            error,
            multiproc_shm::BarrierError::TimedOut,
            "a death was not noticed"
        );
        true
    }) {
        barrier.reset();
    }
}

#[test]
fn a_barrier_breaks_rather_than_hang() {
    let barrier = Barrier::new(2).unwrap();
    let rounds = kill_by_twos(passes_and_repairs, &barrier, || {
        // With one another or with the victims, whose deaths break it.
        let ended = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        pass(&barrier);
                    }
                    // A victim that was no member when it died leaves the other alone.
                    ended.fetch_add(1, AcqRel);
                    while ended.load(Acquire) < 2 {
                        barrier.abort();
                        std::thread::yield_now();
                    }
                });
            }
        });
        barrier.reset();
    });
    println!("a barrier: {rounds} rounds of two deaths");
}

fn reads_and_writes((lock, inside): (RwLock<u64>, Block)) {
    loop {
        read(&lock, &inside);
        write(&lock, &inside);
    }
}

fn taken<G>(result: Result<G, LockTimeoutError<G>>) -> (G, bool) {
    match result {
        Ok(guard) => (guard, false),
        Err(LockTimeoutError::Poisoned(error)) => (error.into_inner(), true),
        Err(LockTimeoutError::TimedOut) => panic!("the lock does not come"),
    }
}

fn read(lock: &RwLock<u64>, inside: &Block) {
    let (guard, poisoned) = taken(lock.read_timeout(LIMIT));
    let writer = word(inside).load(Acquire);
    assert!(writer == 0 || poisoned, "{writer} writes");
    drop(guard);
}

fn write(lock: &RwLock<u64>, inside: &Block) {
    let (guard, poisoned) = taken(lock.write_timeout(LIMIT));
    let other = word(inside).swap(std::process::id(), AcqRel);
    assert!(other == 0 || poisoned, "{other} writes too");
    lock.clear_poison();
    let other = word(inside).swap(0, AcqRel);
    assert_eq!(other, std::process::id(), "another came inside");
    drop(guard);
}

#[test]
fn a_reader_writer_lock_goes_on() {
    let (lock, inside) = (RwLock::new(5_u64).unwrap(), Block::create(4).unwrap());
    let shared = (lock.clone(), inside.clone());
    let rounds = kill_by_twos(reads_and_writes, &shared, || {
        for _ in 0..50 {
            read(&lock, &inside);
            write(&lock, &inside);
        }
    });
    println!("a reader-writer lock: {rounds} rounds of two deaths");
}

fn hold((lock, held): (Lock, Event)) {
    let _kept = lock.lock().map_err(PoisonError::into_inner);
    held.set();
    multiproc_testkit::forever();
}

#[test]
fn a_waiter_goes_on_soon_after_a_holders_death() {
    let (lock, held) = (Lock::new().unwrap(), Event::new().unwrap());
    let mut times = Percentiles::new("kill of a lock's holder to the next has it");
    for _ in 0..60 {
        held.clear();
        let holder = Process::spawn(hold, (lock.clone(), held.clone())).unwrap();
        assert!(held.wait_timeout(LIMIT), "it does not get the lock");
        let killed = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                assert!(lock.lock_timeout(LIMIT).is_err());
                Instant::now()
            });
            // Until it sleeps, or nearly so.
            let instant = Instant::now() + Duration::from_micros(500);
            while Instant::now() < instant {
                std::thread::yield_now();
            }
            let killed = Instant::now();
            holder.kill().unwrap();
            waiter.join().unwrap() - killed
        });
        times.add(killed);
        within(LIMIT, move || drop(holder.join()));
    }
    times.report();
}
