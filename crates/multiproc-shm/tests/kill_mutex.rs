//! Processes killed at random instants while they take turns at a mutex and two counters in it. Alone in
//! its program, so that its figures are not those of other tests beside it.

#![cfg(not(loom))]

mod killing;

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use bytemuck::{Pod, Zeroable};
use killing::{Campaign, LIMIT};
use multiproc_shm::{LockTimeoutError, Mutex};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Counters {
    first: u64,
    second: u64,
}

/// Every waiter goes on, nobody is let in beside another, and the counters differ only where the taker was
/// told of a death.
#[test]
fn counters_in_a_mutex() {
    let counters = Mutex::new(Counters {
        first: 0,
        second: 0,
    })
    .unwrap();
    let campaign = Campaign {
        name: "mutex",
        kills: 10_000,
    };
    campaign.run(
        |actor| {
            let mut held = match counters.lock_timeout(LIMIT) {
                Ok(held) => held,
                Err(LockTimeoutError::Poisoned(error)) => {
                    actor.board.tell();
                    let owner = error.owner();
                    let mut held = error.into_inner();
                    let Counters { first, second } = *held;
                    assert!(first == second || first == second + 1, "{first}, {second}");
                    assert!(
                        owner.is_some() || first == second,
                        "who changed it has left its name"
                    );
                    held.second = first;
                    counters.clear_poison();
                    held
                }
                Err(LockTimeoutError::TimedOut) => panic!("the lock does not come"),
            };
            assert_eq!(held.first, held.second, "nobody was told");
            let board = actor.board;
            let taken = board.words[0].swap(actor.number, AcqRel);
            assert!(taken == 0 || board.is_killed(taken), "{taken} is inside");
            held.first += 1;
            board.numbers[0].fetch_add(1, Relaxed);
            actor.work();
            held.second += 1;
            let other = board.words[0].swap(0, AcqRel);
            assert_eq!(other, actor.number, "another has come inside");
            drop(held);
        },
        |board| {
            let held = match counters.lock_timeout(LIMIT) {
                Ok(held) => held,
                Err(LockTimeoutError::Poisoned(error)) => {
                    board.tell();
                    counters.clear_poison();
                    let mut held = error.into_inner();
                    held.second = held.first;
                    held
                }
                Err(LockTimeoutError::TimedOut) => panic!("the lock does not come"),
            };
            // No increment is lost. One is not counted where its maker was killed in between.
            let begun = board.numbers[0].load(Acquire);
            assert!(held.first >= begun && held.first - begun <= u64::from(board.told()));
        },
        |_| (),
    );
}
