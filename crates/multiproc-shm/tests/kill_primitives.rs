//! Processes killed at random instants while they use a primitive that others use too: every other goes
//! on, nobody is let in beside another, no permit and no notice is lost.

#![cfg(not(loom))]

mod killing;

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use killing::{Actor, Board, Campaign, LIMIT};
use multiproc_shm::{
    Barrier, BarrierError, Block, Condition, Event, Lock, LockTimeoutError, Mutex, PoisonError,
    RLock, RwLock, Semaphore,
};
use multiproc_sync::{Deadline, Held, OnceWord};

const KILLS: u32 = 1_000;
const SOON: Duration = Duration::from_micros(100);

/// What was taken, and whether that came with word of a death.
fn taken<G>(actor: &Actor<'_>, result: Result<G, LockTimeoutError<G>>) -> (G, bool) {
    match result {
        Ok(guard) => (guard, false),
        Err(LockTimeoutError::Poisoned(error)) => {
            actor.board.tell();
            (error.into_inner(), true)
        }
        Err(LockTimeoutError::TimedOut) => panic!("{}: it does not come", actor.number),
    }
}

/// A turn inside what only one can be in. Who was killed there was told of.
fn alone(actor: &mut Actor<'_>, told: bool) {
    let place = &actor.board.words[..1];
    let before = place[0].load(Acquire);
    assert!(
        before == 0 || told,
        "{before} died inside, and nobody was told"
    );
    actor.inside(place, Actor::work);
}

fn eventually(what: &str, done: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_lock() {
    let lock = Lock::new().unwrap();
    let turn = |actor: &mut Actor<'_>| {
        let (held, told) = taken(actor, lock.lock_timeout(LIMIT));
        alone(actor, told);
        drop(held);
    };
    Campaign {
        name: "lock",
        kills: KILLS,
    }
    .run(turn, |_| (), |_| ());
    drop(lock.lock_timeout(LIMIT));
    drop(lock.try_lock().expect("a death is told of once"));
}

#[test]
fn a_reentrant_lock() {
    let lock = RLock::new().unwrap();
    let turn = |actor: &mut Actor<'_>| {
        let (outer, told) = taken(actor, lock.lock_timeout(LIMIT));
        lock.clear_poison();
        let inner = lock.lock().expect("cleared");
        assert_eq!(lock.depth(), 2);
        alone(actor, told);
        drop((outer, inner));
    };
    Campaign {
        name: "reentrant lock",
        kills: KILLS,
    }
    .run(turn, |_| (), |_| ());
}

#[test]
fn a_semaphore() {
    let slots = Semaphore::new(3).unwrap();
    let turn = |actor: &mut Actor<'_>| {
        let one = slots.acquire_timeout(LIMIT).expect("a permit was lost");
        let places = &actor.board.words[..3];
        actor.inside(places, |actor| match slots.try_acquire() {
            Some(two) => {
                actor.inside(places, Actor::work);
                drop(two);
            }
            None => actor.work(),
        });
        drop(one);
    };
    Campaign {
        name: "semaphore",
        kills: KILLS,
    }
    .run(turn, |_| (), |_| ());
    assert_eq!(slots.available(), 3);
}

/// Victims set one event after the other, the bystanders wait for each in turn, and nobody helps a set
/// whose maker has died.
#[test]
fn events() {
    const RING: u32 = 4;
    let events = [(); RING as usize].map(|()| Event::new().unwrap());
    let event = |number: u32| &events[(number % RING) as usize];
    fn next(board: &Board) -> &AtomicU32 {
        &board.words[0]
    }
    /// How far a bystander has come.
    fn passed(board: &Board, bystander: u32) -> &AtomicU32 {
        &board.words[bystander as usize]
    }
    let all_at = |board: &Board, number| {
        let mut bystanders = [1, 2].iter();
        bystanders.all(|it| passed(board, *it).load(Acquire) >= number)
    };
    // Waits for another bystander, which is not what is tested.
    let until = |board: &Board, bystander, number| {
        while passed(board, bystander).load(Acquire) < number && !board.over.load(Acquire) {
            std::thread::yield_now();
        }
    };
    let turn = |actor: &mut Actor<'_>| {
        let board = actor.board;
        if actor.number <= 2 {
            let number = passed(board, actor.number).load(Acquire);
            until(board, 1, number);
            assert!(event(number).wait_timeout(LIMIT), "a set was lost");
            if actor.number == 1 {
                until(board, 2, number + 1);
                event(number).clear();
            }
            passed(board, actor.number).store(number + 1, Release);
            return;
        }
        let number = next(board).load(Acquire);
        if [1, 2]
            .iter()
            .any(|it| passed(board, *it).load(Acquire) < number)
        {
            std::thread::yield_now();
        } else if actor.chance(4) {
            let _set_or_not: bool = event(number).wait_timeout(SOON);
        } else {
            // Until they sleep.
            actor.work();
            if !event(number).is_set() {
                event(number).set();
            }
            // Another may have come further meanwhile.
            let _done = next(board).compare_exchange(number, number + 1, AcqRel, Relaxed);
        }
    };
    let settle = |board: &Board| {
        let end = next(board).load(Acquire);
        eventually("a set that was made is not noticed", || all_at(board, end));
    };
    let release = |board: &Board| {
        let number = next(board).load(Acquire);
        if board.over.load(Acquire) {
            events.iter().for_each(Event::set);
        } else if all_at(board, number) {
            event(number).set();
            next(board).store(number + 1, Release);
        }
    };
    Campaign {
        name: "event",
        kills: KILLS,
    }
    .run(turn, settle, release);
}

/// Producers and consumers of a number. What was produced is consumed without anybody's help.
#[test]
fn a_condition() {
    let (number, more) = (Mutex::new(0_u64).unwrap(), Condition::new().unwrap());
    // Who died with the lock may have had a notice to give, or one that it was given.
    let told = || {
        number.clear_poison();
        more.notify_all();
    };
    let turn = |actor: &mut Actor<'_>| {
        if actor.number > 2 && actor.chance(2) {
            let (mut held, poisoned) = taken(actor, number.lock_timeout(LIMIT));
            if poisoned {
                told();
            }
            *held += 1;
            more.notify_one();
            return;
        }
        let (held, poisoned) = taken(actor, number.lock_timeout(LIMIT));
        if poisoned {
            told();
        }
        let limit = if actor.number > 2 { SOON } else { LIMIT };
        let waited = more.wait_timeout_while(held, limit, |number| *number == 0);
        let (mut held, result) = waited.unwrap_or_else(|error| {
            actor.board.tell();
            told();
            error.into_inner()
        });
        assert!(!result.timed_out() || *held == 0);
        *held = held.saturating_sub(1);
    };
    let settle = |board: &Board| {
        eventually("a notice was lost", || match number.lock() {
            Ok(held) => *held == 0,
            Err(error) => {
                board.tell();
                told();
                drop(error);
                false
            }
        });
    };
    let release = |_: &Board| {
        let mut held = number.lock().unwrap_or_else(PoisonError::into_inner);
        *held += 1;
        more.notify_all();
    };
    Campaign {
        name: "condition",
        kills: KILLS,
    }
    .run(turn, settle, release);
}

/// Whoever is left alone at the barrier by a death is told that it is broken.
#[test]
fn a_barrier() {
    let barrier = Barrier::new(2).unwrap();
    let turn = |actor: &mut Actor<'_>| {
        let _member = barrier.join().expect("there is room");
        let passed = &actor.board.numbers[..2];
        match barrier.wait_timeout(LIMIT) {
            Ok(result) => passed[usize::from(result.is_leader())].fetch_add(1, Relaxed),
            Err(BarrierError::Broken) => {
                barrier.reset();
                0
            }
            Err(BarrierError::TimedOut) => panic!("a death was not noticed"),
        };
    };
    // Of each round there is one that came last and one that did not, but for those who were killed before they
    // could say so.
    let settle = |board: &Board| {
        let passed = [0, 1].map(|which| board.numbers[which].load(Acquire));
        assert!(
            passed[0].abs_diff(passed[1]) <= u64::from(board.deaths()) + 2,
            "{passed:?}"
        );
    };
    Campaign {
        name: "barrier",
        kills: KILLS,
    }
    .run(turn, settle, |_| barrier.abort());
}

#[test]
fn a_reader_writer_lock() {
    let pair = RwLock::new([0_u64; 2]).unwrap();
    let turn = |actor: &mut Actor<'_>| {
        if actor.chance(3) {
            let (mut held, told) = taken(actor, pair.write_timeout(LIMIT));
            assert!(held[0] == held[1] || told, "nobody was told");
            held[1] = held[0];
            pair.clear_poison();
            held[0] += 1;
            alone(actor, told);
            held[1] += 1;
        } else {
            let read = pair.read_timeout(LIMIT);
            let told = read.is_err();
            let (held, _) = taken(actor, read);
            assert!(held[0] == held[1] || told, "nobody was told");
            let writer = actor.board.words[0].load(Acquire);
            assert!(writer == 0 || told, "{writer} writes");
            actor.work();
        }
    };
    Campaign {
        name: "reader-writer lock",
        kills: KILLS,
    }
    .run(turn, |_| (), |_| ());
}

/// Something to do once, and how far it has come: 0, begun, done.
#[repr(C)]
struct Task {
    once: OnceWord,
    state: AtomicU32,
}

const BEGUN: u32 = 1;
const DONE: u32 = 2;

/// One thing after the other is to be done once. Who died at it is told of, who waited goes on, and nothing is
/// done again of which somebody was told that it is done.
#[test]
fn things_to_do_once() {
    /// More than there are turns; who comes to the last finds it done.
    const TASKS: usize = 1 << 18;
    let block = Block::create(TASKS * size_of::<Task>()).unwrap();
    #[expect(clippy::cast_ptr_alignment, reason = "a block is aligned to 128 bytes")]
    let first = block.as_ptr().cast::<Task>();
    // SAFETY: as long as the tasks, and nobody else's; any bytes are a task, which is all atomics.
    let tasks = unsafe { std::slice::from_raw_parts(first, TASKS) };
    /// How many are known to be done.
    fn known(board: &Board) -> &AtomicU64 {
        &board.numbers[0]
    }
    let turn = |actor: &mut Actor<'_>| {
        let number = known(actor.board).load(Acquire);
        let task = &tasks[usize::try_from(number).unwrap().min(TASKS - 1)];
        let work = |held: Held| {
            let told = held != Held::Sound;
            if told {
                actor.board.tell();
            }
            let before = task.state.swap(BEGUN, AcqRel);
            assert!(
                before == 0 || told,
                "who began it died, and nobody was told"
            );
            assert!(
                known(actor.board).load(Acquire) <= number,
                "it was said to be done"
            );
            alone(actor, told);
            task.state.store(DONE, Release);
        };
        // SAFETY: the block outlives the children that the campaign makes.
        let done = unsafe { task.once.call_once_until(work, Deadline::after(LIMIT)) };
        assert!(done, "it is not left to anybody");
        assert_eq!(task.state.load(Acquire), DONE);
        known(actor.board).fetch_max(number + 1, AcqRel);
    };
    Campaign {
        name: "once",
        kills: KILLS,
    }
    .run(turn, |_| (), |_| ());
}
