//! Tasks that came in one record, claimed one by one.
//!
//! The record itself is claimed and taken back as any other (`README.md`). Once it is the consumer's, what becomes of each
//! task in it is decided in one word that lies apart from all records: the consumer takes the next, the producer takes
//! back from the end. The word is on a line that stays with the consumer, since the producer comes to it
//! only to take something back or to look.
//!
//! # State
//!
//! | bits | meaning |
//! |---|---|
//! | 0..16 | how many are claimed |
//! | 16..32 | how many there are, less those that were taken back |
//! | 32..64 | the number of the first: which record this is about |
//!
//! # Invariants
//!
//! 1. A task is claimed, or taken back, at most once, and never both: both are exchanges on the one word, and the
//!    first number never exceeds the second.
//! 2. When a record is found claimed, the word is about it or about a later one. The consumer sets the word before
//!    it claims the record; where the claim fails the word is about nothing that was claimed.
//! 3. The word goes on to the next record only when the one before has no task left to claim. So a plain store does, since the
//!    producer has nothing to exchange then; and of a record that the word is not about any more everything was claimed.
//!
//! # Death
//!
//! The consumer is killed between two steps: what is claimed and not answered is one task, that which it ran. Killed
//! after it has set the word and before the claim: the record is taken back as a whole.
//!
//! A consumer that writes something else here has tasks taken for claimed that were not, or the reverse; the
//! producer counts by what it has sent, so that none is lost or made up by it.

use multiproc_sync::primitive::{AtomicU64, Ordering};

/// See the module's documentation. Records are known by the number of their first task, of which no two that are in use
/// have the same.
#[derive(Debug)]
pub struct Claims<'a>(&'a AtomicU64);

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    first: u32,
    end: u16,
    claimed: u16,
}

impl State {
    fn of(word: u64) -> State {
        let [a, b, c, d, first @ ..] = word.to_le_bytes();
        State {
            first: u32::from_le_bytes(first),
            end: u16::from_le_bytes([c, d]),
            claimed: u16::from_le_bytes([a, b]),
        }
    }

    fn word(self) -> u64 {
        u64::from(self.first) << 32 | u64::from(self.end) << 16 | u64::from(self.claimed)
    }
}

impl<'a> Claims<'a> {
    /// Over that word, which is nothing else's.
    #[must_use]
    pub fn new(word: &'a AtomicU64) -> Claims<'a> {
        Claims(word)
    }

    /// For the consumer, before it claims the record whose first task has that number.
    pub fn begin(&self, first: u32, count: u16) {
        let state = State {
            first,
            end: count,
            claimed: 0,
        };
        // Relaxed: the claim of the record, which follows, releases it; Invariant 3 has why a store does.
        self.0.store(state.word(), Ordering::Relaxed);
    }

    /// For the consumer: takes the next task. `None` where there is none left.
    #[inline]
    pub fn claim(&self) -> Option<u16> {
        // Relaxed: who fails learns the word from the exchange.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let state = State::of(word);
            if state.claimed >= state.end {
                return None;
            }
            // Release: what was done before is seen by a producer that finds it claimed; pairs with Acquire in
            // `claimed` and `take_back`.
            let taken =
                self.0
                    .compare_exchange(word, word + 1, Ordering::Release, Ordering::Relaxed);
            match taken {
                Ok(_) => return Some(state.claimed),
                Err(changed) => word = changed,
            }
        }
    }

    /// For the producer, of a record that was found claimed: how many of its tasks are. `None` where the consumer
    /// has gone on to a later record, and so has claimed all of this one.
    #[must_use]
    pub fn claimed(&self, first: u32) -> Option<u16> {
        // Acquire: pairs with Release in `claim`.
        let state = State::of(self.0.load(Ordering::Acquire));
        (state.first == first).then_some(state.claimed)
    }

    /// For the producer, of a record that was found claimed: takes back at most so many of its tasks, the last of
    /// those that are left, and says how many.
    pub fn take_back(&self, first: u32, most: u16) -> u16 {
        // Acquire, here and on failure: as in `claimed`.
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let state = State::of(word);
            let taken = most.min(state.end.saturating_sub(state.claimed));
            if state.first != first || taken == 0 {
                return 0;
            }
            let less = State {
                end: state.end - taken,
                ..state
            };
            // Relaxed on success: the consumer needs nothing of this side to leave a task alone.
            let exchanged =
                self.0
                    .compare_exchange(word, less.word(), Ordering::Relaxed, Ordering::Acquire);
            match exchanged {
                Ok(_) => return taken,
                Err(changed) => word = changed,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_side_takes_from_the_front_and_the_other_from_the_end() {
        let word = AtomicU64::new(0);
        let claims = Claims::new(&word);
        claims.begin(u32::MAX, 5);
        assert_eq!((claims.claim(), claims.claim()), (Some(0), Some(1)));
        assert_eq!(claims.claimed(u32::MAX), Some(2));
        assert_eq!(claims.take_back(u32::MAX, 2), 2);
        assert_eq!((claims.claim(), claims.claim()), (Some(2), None));
        assert_eq!(claims.take_back(u32::MAX, 2), 0);
        claims.begin(4, 1);
        assert_eq!(
            (claims.claimed(u32::MAX), claims.take_back(u32::MAX, 1)),
            (None, 0)
        );
        assert_eq!(claims.take_back(4, 9), 1);
        assert_eq!(claims.claim(), None);
    }

    #[test]
    fn a_word_that_makes_no_sense_gives_nothing_out() {
        let word = AtomicU64::new(
            State {
                first: 3,
                end: 1,
                claimed: 9,
            }
            .word(),
        );
        let claims = Claims::new(&word);
        assert_eq!(
            (claims.claim(), claims.take_back(3, 5), claims.claimed(3)),
            (None, 0, Some(9))
        );
    }
}
