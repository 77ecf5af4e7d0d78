//! In whose hands messages are: for each process that takes from the queue, how many it has taken and how many it
//! is through with. For queues that are joined.
//!
//! # Invariants
//!
//! 1. A process counts what it takes in its own hand, around the commit that takes it: the total is noted before,
//!    with the message's number, and stored after. Whoever finds the lock abandoned stores it if the state says
//!    that the message was taken. So a message is in one hand or in the queue, and never in both or neither.
//! 2. What a process that is over had in hand is added to the state's `lost` in one commit with the number of that
//!    hand, which is cleared after; whoever finds a number there clears the hand and takes the number away.

use std::sync::atomic::Ordering::Relaxed;

use multiproc_sys::identity::Identity;

use super::memory::{MAX_HANDS, Memory, State};

const WHO: usize = 0;
const TAKEN: usize = 1;
const DONE: usize = 2;
const NEXT_TAKEN: usize = 3;
const MESSAGE: usize = 4;

/// In place of a process: one that lives and can say no more that it is through.
const LET_GO: u64 = u64::MAX;

/// Ends what others have begun that were killed.
pub(super) fn settle(memory: &Memory, state: &mut State) {
    for hand in 0..MAX_HANDS {
        let message = memory.hand(hand, MESSAGE);
        if message.load(Relaxed) == 0 {
            continue;
        }
        if message.load(Relaxed) == state.taken {
            let next = memory.hand(hand, NEXT_TAKEN).load(Relaxed);
            memory.hand(hand, TAKEN).store(next, Relaxed);
        }
        message.store(0, Relaxed);
    }
    clear_lost(memory, state);
}

/// This process's hand, a free one made its own; `None` where there is none.
pub(super) fn own(memory: &Memory, state: &mut State) -> Option<usize> {
    let me = Identity::own().to_bits();
    let is = |who: u64| move |hand: &usize| memory.hand(*hand, WHO).load(Relaxed) == who;
    if let Some(hand) = (0..MAX_HANDS).find(is(me)) {
        return Some(hand);
    }
    let free = (0..MAX_HANDS).find(is(0)).or_else(|| {
        write_off(memory, state);
        (0..MAX_HANDS).find(is(0))
    })?;
    memory.hand(free, WHO).store(me, Relaxed);
    Some(free)
}

/// Before the commit by which the message with this number is taken.
pub(super) fn before_taking(memory: &Memory, hand: usize, message: u64) {
    let next = memory.hand(hand, TAKEN).load(Relaxed).wrapping_add(1);
    memory.hand(hand, NEXT_TAKEN).store(next, Relaxed);
    memory.hand(hand, MESSAGE).store(message, Relaxed);
}

/// After that commit.
pub(super) fn after_taking(memory: &Memory, hand: usize) {
    let next = memory.hand(hand, NEXT_TAKEN).load(Relaxed);
    memory.hand(hand, TAKEN).store(next, Relaxed);
    memory.hand(hand, MESSAGE).store(0, Relaxed);
}

/// Counts one as done. `false` where nothing is in the hand.
pub(super) fn done(memory: &Memory, hand: usize) -> bool {
    if in_hand(memory, hand) == 0 {
        return false;
    }
    let done = memory.hand(hand, DONE);
    done.store(done.load(Relaxed).wrapping_add(1), Relaxed);
    true
}

/// The process says no more that it is through with what is in its hand.
pub(super) fn let_go(memory: &Memory, hand: usize) {
    let who = if in_hand(memory, hand) == 0 {
        0
    } else {
        LET_GO
    };
    memory.hand(hand, WHO).store(who, Relaxed);
}

/// How many messages are in all hands.
pub(super) fn held(memory: &Memory) -> u64 {
    let used = (0..MAX_HANDS).filter(|hand| memory.hand(*hand, WHO).load(Relaxed) != 0);
    used.fold(0, |sum: u64, hand| {
        sum.saturating_add(in_hand(memory, hand))
    })
}

/// Counts as lost what was in the hands of processes that are over.
pub(super) fn write_off(memory: &Memory, state: &mut State) {
    for hand in 0..MAX_HANDS {
        let who = memory.hand(hand, WHO).load(Relaxed);
        let over = who == LET_GO
            || who != 0 && Identity::from_bits(who).is_none_or(|process| process.is_over());
        if over {
            state.lost = state.lost.saturating_add(in_hand(memory, hand));
            state.losing = hand as u64 + 1;
            memory.commit(state);
            clear_lost(memory, state);
        }
    }
}

fn clear_lost(memory: &Memory, state: &mut State) {
    let Some(hand) = state.losing.checked_sub(1) else {
        return;
    };
    let hand = usize::try_from(hand)
        .unwrap_or(MAX_HANDS)
        .min(MAX_HANDS - 1);
    for number in [TAKEN, DONE, NEXT_TAKEN, MESSAGE, WHO] {
        memory.hand(hand, number).store(0, Relaxed);
    }
    state.losing = 0;
    memory.commit(state);
}

fn in_hand(memory: &Memory, hand: usize) -> u64 {
    let taken = memory.hand(hand, TAKEN).load(Relaxed);
    taken.wrapping_sub(memory.hand(hand, DONE).load(Relaxed))
}
