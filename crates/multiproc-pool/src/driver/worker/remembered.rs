//! What a worker still has of what it was sent before: memory that is named to it instead of being sent again.
//!
//! # Invariants
//!
//! 1. A number stands for one thing in the worker's life. It is introduced by the record of a task that the worker
//!    claims before it reads it; where that is taken back, it was never seen, and the number is not used again.
//! 2. What is named was introduced by a task that the worker has answered as one whose handles it has. Until then it is
//!    sent again, to a worker that has nothing else to do, as any handle is.
//! 3. The worker keeps at most [`MOST`]. What it is to forget it is told in the ring, behind the tasks that name it.
//! 4. What is gone here is forgotten there: the pool's own thread is told when it is, and pumps.

use std::sync::Weak;

use multiproc_wire::handoff::{Gone, Known};

use crate::job::{Given, Handles};
use crate::protocol::{INTRODUCED, UNNAMED};

/// So much each worker keeps, mapped and with an open descriptor.
const MOST: usize = 64;

/// See the module's documentation.
pub(super) struct Remembered {
    entries: Vec<Entry>,
    next: u32,
    /// Counts uses.
    now: u64,
    /// What the worker is to forget.
    pub(super) to_forget: Vec<u32>,
    /// Who is told of what is gone; nobody where nothing is to be remembered.
    who: Option<Weak<dyn Gone>>,
}

struct Entry {
    known: Known,
    number: u32,
    used: u64,
    /// By the task of this ticket, as long as that is not answered.
    introduced_by: Option<u32>,
}

/// How the handles of a task go.
pub(super) struct Named {
    /// As the worker reads it: how many there are, and of each its number.
    pub(super) table: Vec<u8>,
    /// Those that are sent.
    pub(super) sent: Handles,
}

impl Remembered {
    pub(super) fn new(who: Option<Weak<dyn Gone>>) -> Remembered {
        Remembered {
            entries: Vec::new(),
            next: 0,
            now: 0,
            to_forget: Vec::new(),
            who,
        }
    }

    fn find(&mut self, known: &Known) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.known.is(known))
    }

    /// Whether the worker has all that is given, so that none of it is sent.
    pub(super) fn has_all(&mut self, given: &Given) -> bool {
        given.known.len() == given.handles.len()
            && given.known.iter().all(|(_, known)| {
                let entry = self.find(known);
                entry.is_some_and(|entry| entry.introduced_by.is_none())
            })
    }

    /// How what is given goes with the task of this ticket. To be called once for each that goes.
    pub(super) fn name(&mut self, given: &Given, ticket: u32) -> Named {
        self.now += 1;
        let count = given.handles.len();
        let mut named = Named {
            table: Vec::with_capacity(1 + 4 * count),
            sent: Handles::new(),
        };
        // Not more than go in one packet, says `Arguments::add`.
        named.table.push(u8::try_from(count).unwrap_or(u8::MAX));
        for (index, handle) in (0..).zip(&given.handles) {
            let known = given.known.iter().find(|(known, _)| *known == index);
            let number = known.map_or(UNNAMED, |(_, known)| self.number(known, ticket));
            if number & INTRODUCED != 0 {
                named.sent.push(handle.clone());
            }
            named.table.extend_from_slice(&number.to_le_bytes());
        }
        named
    }

    fn number(&mut self, known: &Known, ticket: u32) -> u32 {
        let now = self.now;
        if let Some(entry) = self.find(known) {
            entry.used = now;
            return match entry.introduced_by {
                None => entry.number,
                Some(_) => UNNAMED,
            };
        }
        let Some(who) = &self.who else { return UNNAMED };
        // More than a worker is sent in its life.
        if self.next >= UNNAMED & !INTRODUCED || !known.tell(who) {
            return UNNAMED;
        }
        self.make_room();
        let number = self.next;
        self.next += 1;
        self.entries.push(Entry {
            known: known.clone(),
            number,
            used: now,
            introduced_by: Some(ticket),
        });
        number | INTRODUCED
    }

    /// The one that was not used for longest goes.
    fn make_room(&mut self) {
        if self.entries.len() < MOST {
            return;
        }
        let oldest = (0..self.entries.len()).min_by_key(|at| self.entries[*at].used);
        if let Some(oldest) = oldest {
            let entry = self.entries.swap_remove(oldest);
            self.to_forget.push(entry.number);
        }
    }

    /// The worker has answered a task: whether it had its handles.
    pub(super) fn answered(&mut self, ticket: u32, had_handles: bool) {
        if had_handles {
            for entry in &mut self.entries {
                if entry.introduced_by == Some(ticket) {
                    entry.introduced_by = None;
                }
            }
        } else {
            self.withdraw(ticket);
        }
    }

    /// The worker will not see the task of this ticket, or could not take in what came with it.
    pub(super) fn withdraw(&mut self, ticket: u32) {
        let to_forget = &mut self.to_forget;
        self.entries.retain(|entry| {
            let withdrawn = entry.introduced_by == Some(ticket);
            if withdrawn {
                // It may have got some of it.
                to_forget.push(entry.number);
            }
            !withdrawn
        });
    }

    /// What is gone here the worker is to let go, too.
    pub(super) fn forget_gone(&mut self) {
        let to_forget = &mut self.to_forget;
        self.entries.retain(|entry| {
            let gone = entry.known.is_gone();
            if gone {
                to_forget.push(entry.number);
            }
            !gone
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use multiproc_wire::handoff::Identity;

    use super::*;

    struct Nobody;

    impl Gone for Nobody {
        fn gone(&self) {}
    }

    fn given(identities: &[&Identity]) -> Given {
        let null = || std::fs::File::open("/dev/null").unwrap();
        Given {
            handles: identities.iter().map(|_| Arc::new(null().into())).collect(),
            known: (0..)
                .zip(identities)
                .map(|(index, identity)| (index, identity.known()))
                .collect(),
            loans: Vec::new(),
        }
    }

    fn remembered() -> (Remembered, Arc<dyn Gone>) {
        let who: Arc<dyn Gone> = Arc::new(Nobody);
        (Remembered::new(Some(Arc::downgrade(&who))), who)
    }

    fn numbers(named: &Named) -> Vec<u32> {
        let (count, rest) = named.table.split_first().unwrap();
        let numbers = rest.as_chunks::<4>().0;
        assert_eq!(numbers.len(), usize::from(*count));
        numbers.iter().copied().map(u32::from_le_bytes).collect()
    }

    #[test]
    fn what_was_answered_is_named_and_what_was_not_is_sent_again() {
        let (mut remembered, _who) = remembered();
        let (one, two) = (Identity::default(), Identity::default());
        let both = given(&[&one, &two]);
        assert!(!remembered.has_all(&both));
        let first = remembered.name(&both, 0);
        assert_eq!(numbers(&first), [INTRODUCED, INTRODUCED | 1]);
        assert_eq!(first.sent.len(), 2);
        assert!(!remembered.has_all(&both), "no answer has come");
        assert_eq!(numbers(&remembered.name(&both, 1)), [UNNAMED; 2]);
        remembered.answered(0, true);
        assert!(remembered.has_all(&both));
        let named = remembered.name(&both, 2);
        assert_eq!((numbers(&named), named.sent.len()), (vec![0, 1], 0));
    }

    #[test]
    fn a_number_that_the_worker_may_not_know_is_not_used_again() {
        let (mut remembered, _who) = remembered();
        let identity = Identity::default();
        let one = given(&[&identity]);
        assert_eq!(numbers(&remembered.name(&one, 5)), [INTRODUCED]);
        remembered.withdraw(5);
        assert_eq!(numbers(&remembered.name(&one, 5)), [INTRODUCED | 1]);
        remembered.answered(5, false);
        assert_eq!(numbers(&remembered.name(&one, 6)), [INTRODUCED | 2]);
        assert_eq!(remembered.to_forget, [0, 1]);
    }

    #[test]
    fn the_longest_unused_makes_room_and_what_is_gone_goes() {
        let (mut remembered, _who) = remembered();
        let identities: Vec<_> = (0..=MOST).map(|_| Identity::default()).collect();
        let mut name = |identity: &Identity, ticket| {
            let named = remembered.name(&given(&[identity]), ticket);
            remembered.answered(ticket, true);
            (
                numbers(&named)[0],
                std::mem::take(&mut remembered.to_forget),
            )
        };
        for (ticket, identity) in (0..).zip(&identities[..MOST]) {
            assert_eq!(name(identity, ticket), (ticket | INTRODUCED, vec![]));
        }
        assert_eq!(name(&identities[0], 900), (0, vec![]));
        let last = u32::try_from(MOST).unwrap() | INTRODUCED;
        assert_eq!(name(&identities[MOST], 901), (last, vec![1]));
        drop(identities);
        remembered.forget_gone();
        assert_eq!(remembered.to_forget.len(), MOST);
        assert!(remembered.entries.is_empty());
    }

    #[test]
    fn where_nothing_is_to_be_remembered_all_is_sent() {
        let mut remembered = Remembered::new(None);
        let one = given(&[&Identity::default()]);
        let named = remembered.name(&one, 0);
        assert_eq!((numbers(&named), named.sent.len()), (vec![UNNAMED], 1));
    }
}
