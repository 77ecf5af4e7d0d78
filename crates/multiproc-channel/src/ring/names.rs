//! What a sender knows of what the receiver keeps: memory that was sent before is named, and its descriptor stays where it is.
//!
//! The channel has [`PLACES`] places. What the receiver keeps at a place it was sent by the last message that *introduced*
//! something there; which sender that was, the number at that place in the channel's memory says, which only that sender
//! knows. All messages of all senders are received in the order in which they were sent, and the numbers change with the
//! turn, so that nobody needs to be asked.
//!
//! # What goes before such a message
//!
//! The prefix, how many handles it has (1 byte), and of each (1 byte): a place, where it is kept; that and [`INTRODUCED`],
//! where it comes and is to be kept; [`UNNAMED`], where it comes for this message. Those that come are in the parcel that the
//! prefix names, in their order; where none does there is no parcel.
//!
//! # Invariants
//!
//! 1. A number stands at a place before the end of the message that introduces something there is published, and stands
//!    there for nothing else: it was never used before. So who finds its own number there knows that the
//!    receiver has, when it comes to the next message, what was introduced by it. Killed in between, a sender leaves a number
//!    that nobody knows.
//! 2. A message that is not sent changes nothing: neither a number nor what is remembered here.
//! 3. A number is taken away when what it stands for is gone in this process, or this process is through: behind each
//!    message that names the place. The receiver lets go what it keeps at a place without a number when it has
//!    received everything. It takes a number away itself, where what came for that place was lost.
//! 4. What is sent for the first time is not introduced: most of what is sent once is not sent again, and is let go
//!    by the receiver as soon as that is done with it. At most [`MOST`] are remembered.
//! 5. Nobody waits for the list, which a forked child might find taken for ever, and which is taken while something is
//!    found to be gone. A forked child knows what its parent did, and takes no number away.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use multiproc_sync::primitive::Ordering;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::process::own_id;
use multiproc_wire::Handoff;
use multiproc_wire::handoff::{Gone, Identity, Known};

use super::shared::{PLACES, Shared};

/// The handles of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handles<'a> {
    pub(super) all: &'a [Arc<OwnedHandle>],
    /// What those are known by that the receiver may keep, by their indices.
    pub(super) known: &'a [(u32, Known)],
}

impl<'a> From<&'a Handoff> for Handles<'a> {
    fn from(handoff: &'a Handoff) -> Handles<'a> {
        Handles {
            all: handoff.handles(),
            known: handoff.known(),
        }
    }
}

/// With a place: what comes is to be kept there.
pub(super) const INTRODUCED: u8 = 0x80;
/// It comes, and is not kept.
pub(super) const UNNAMED: u8 = u8::MAX;

/// So many are remembered to have been sent.
const MOST: usize = 2 * PLACES;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Names {
    owner: u32,
    shared: Shared,
    /// The one that was sent longest ago first.
    entries: Mutex<Vec<Entry>>,
}

/// Something that was sent.
#[derive(Debug)]
struct Entry {
    known: Known,
    kept: Option<Kept>,
}

/// By what it is known that the receiver keeps something.
#[derive(Clone, Copy, Debug)]
struct Kept {
    place: u8,
    number: u64,
}

/// How the handles of a message go, and what is to be remembered of them when they have.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Of each handle its byte; empty where all come and none is to be kept.
    table: Vec<u8>,
    introduced: Vec<(Known, u8)>,
    first: Vec<Known>,
    /// Nothing that is named is gone before the message is sent.
    held: Vec<Identity>,
}

impl Plan {
    /// Whether the message goes behind a table.
    pub(super) fn is_named(&self) -> bool {
        !self.table.is_empty()
    }

    /// Those of the message's handles that come.
    pub(super) fn coming<'a>(&self, all: &'a [Arc<OwnedHandle>]) -> Cow<'a, [Arc<OwnedHandle>]> {
        if !self.is_named() {
            return all.into();
        }
        let coming = all.iter().zip(&self.table);
        let coming = coming.filter(|(_, byte)| **byte & INTRODUCED != 0);
        coming.map(|(handle, _)| Arc::clone(handle)).collect()
    }

    /// What goes before the message.
    pub(super) fn head(&self, prefix: &[u8]) -> Vec<u8> {
        // At most as many as there are places.
        let count = u8::try_from(self.table.len()).unwrap_or(u8::MAX);
        [prefix, &[count], &self.table].concat()
    }
}

impl Names {
    pub(super) fn new(shared: Shared) -> Arc<Names> {
        Arc::new(Names {
            owner: own_id(),
            shared,
            entries: Mutex::default(),
        })
    }

    fn entries(&self) -> Option<MutexGuard<'_, Vec<Entry>>> {
        match self.entries.try_lock() {
            Ok(entries) => Some(entries),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// How the handles of the next message go, by who has the turn.
    pub(super) fn plan(&self, handles: Handles<'_>) -> Plan {
        let mut plan = Plan::default();
        if handles.known.is_empty() || handles.all.len() > PLACES {
            return plan;
        }
        let Some(mut entries) = self.entries() else {
            return plan;
        };
        self.forget_gone(&mut entries);
        let mut table = vec![UNNAMED; handles.all.len()];
        let mut again = Vec::new();
        for (index, known) in handles.known {
            let (Ok(index), Some(held)) = (usize::try_from(*index), known.hold()) else {
                continue;
            };
            plan.held.push(held);
            let Some(at) = entries.iter().position(|entry| entry.known.is(known)) else {
                plan.first.push(known.clone());
                continue;
            };
            // To the end of the list.
            let entry = entries.remove(at);
            match entry.kept.filter(|kept| self.has(*kept)) {
                Some(kept) => table[index] = kept.place,
                None => again.push((index, known)),
            }
            entries.push(entry);
        }
        drop(entries);
        for (index, known) in again {
            if let Some(place) = self.oldest_place(&table) {
                table[index] = place | INTRODUCED;
                plan.introduced.push((known.clone(), place));
            }
        }
        if table.iter().any(|byte| *byte != UNNAMED) {
            plan.table = table;
        }
        plan
    }

    /// The place at which something was introduced longest ago, or nothing is; none of those in the table.
    fn oldest_place(&self, table: &[u8]) -> Option<u8> {
        let taken = |place: &u8| table.iter().any(|byte| byte & !INTRODUCED == *place);
        let places = (0..).take(PLACES).filter(|place| !taken(place));
        places.min_by_key(|place| self.shared.number_at(*place).load(Ordering::Relaxed))
    }

    fn has(&self, kept: Kept) -> bool {
        // Relaxed: only who has the turn puts numbers there.
        self.shared.number_at(kept.place).load(Ordering::Relaxed) == kept.number
    }

    /// The message of this plan is about to be published, whatever happens. By who has the turn.
    pub(super) fn commit(self: &Arc<Names>, plan: &Plan) {
        if plan.introduced.is_empty() && plan.first.is_empty() {
            return;
        }
        let who: Weak<dyn Gone> = Arc::<Names>::downgrade(self);
        let mut sent: Vec<Entry> = Vec::new();
        for (known, place) in &plan.introduced {
            // Before it stands there: killed in between, it is not used again.
            let last = self.shared.last_number();
            let number = last.load(Ordering::Relaxed).wrapping_add(1);
            last.store(number, Ordering::Relaxed);
            let place = *place;
            self.shared
                .number_at(place)
                .store(number, Ordering::Relaxed);
            let kept = known.tell(&who).then_some(Kept { place, number });
            sent.push(Entry {
                known: known.clone(),
                kept,
            });
        }
        sent.extend(plan.first.iter().map(|known| Entry {
            known: known.clone(),
            kept: None,
        }));
        let Some(mut entries) = self.entries() else {
            // Sent for the first time, as far as is remembered.
            return;
        };
        entries.retain(|entry| !sent.iter().any(|it| it.known.is(&entry.known)));
        entries.extend(sent);
        let too_many = entries.len().saturating_sub(MOST);
        let forgotten = entries.drain(..too_many);
        forgotten.for_each(|entry| self.take_away(&entry));
    }

    fn forget_gone(&self, entries: &mut Vec<Entry>) {
        let gone = entries.extract_if(.., |entry| entry.known.is_gone());
        gone.for_each(|entry| self.take_away(&entry));
    }

    /// By Invariant 3.
    fn take_away(&self, entry: &Entry) {
        if let Some(Kept { place, number }) = entry.kept
            && self.owner == own_id()
        {
            // Release: behind what was sent; pairs with Acquire in the receiver's `let_go`. Not where another has its own.
            let _others: Result<u64, u64> = self.shared.number_at(place).compare_exchange(
                number,
                0,
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }
}

impl Gone for Names {
    fn gone(&self) {
        if let Some(mut entries) = self.entries() {
            self.forget_gone(&mut entries);
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let entries = self.entries.get_mut();
        let entries = std::mem::take(entries.unwrap_or_else(PoisonError::into_inner));
        entries.iter().for_each(|entry| self.take_away(entry));
    }
}
