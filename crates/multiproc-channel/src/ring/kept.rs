//! What the receiver keeps of what it was sent: see `names.rs`, which has the protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use multiproc_sync::primitive::Ordering;
use multiproc_sys::handle::OwnedHandle;

use super::names::{INTRODUCED, UNNAMED};
use super::shared::{PLACES, Shared};
use crate::transport::PREFIX;

/// By their places. Descriptors alone: what they are opened as is gone with the last who uses it, so that two processes that
/// send each other the same do not keep it for each other.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<u8, Arc<OwnedHandle>>);

/// The table that a message begins with, behind its prefix.
pub(super) fn table(message: &[u8]) -> Option<&[u8]> {
    let (count, rest) = message.get(PREFIX..)?.split_first()?;
    rest.get(..usize::from(*count))
}

/// Where the message begins that has such a table.
pub(super) fn start(table: &[u8]) -> usize {
    PREFIX + 1 + table.len()
}

/// The longest that goes before a message.
pub(super) const LONGEST_HEAD: usize = PREFIX + 1 + PLACES;

/// Whether some of the handles come with the message.
pub(super) fn some_come(table: &[u8]) -> bool {
    table.iter().any(|byte| byte & INTRODUCED != 0)
}

impl Kept {
    /// The handles of a message with this table, of which these have come. `None` where some are neither here nor there.
    pub(super) fn resolve(
        &mut self,
        table: &[u8],
        came: Vec<Arc<OwnedHandle>>,
    ) -> Option<Vec<Arc<OwnedHandle>>> {
        let mut came = came.into_iter();
        let handles = table.iter().map(|byte| {
            if byte & INTRODUCED == 0 {
                return self.0.get(byte).cloned();
            }
            let handle = came.next()?;
            if *byte != UNNAMED {
                self.keep(byte & !INTRODUCED, Arc::clone(&handle))?;
            }
            Some(handle)
        });
        handles.collect()
    }

    /// `None` where there is no such place.
    pub(super) fn keep(&mut self, place: u8, handle: Arc<OwnedHandle>) -> Option<()> {
        (usize::from(place) < PLACES).then(|| {
            self.0.insert(place, handle);
        })
    }

    /// A message with this table could not be received: what it names, or was to introduce, is to be sent anew.
    #[cold]
    pub(super) fn lose(&mut self, table: &[u8], shared: &Shared) {
        for byte in table.iter().filter(|byte| **byte != UNNAMED) {
            let place = byte & !INTRODUCED;
            if usize::from(place) < PLACES {
                self.0.remove(&place);
                // Relaxed: nothing is concluded from it but that it is to be sent.
                shared.number_at(place).store(0, Ordering::Relaxed);
            }
        }
    }

    /// Lets go what is gone at its sender, if then nothing is left to be received that may name it.
    pub(super) fn let_go(&mut self, shared: &Shared, has_received_all: impl FnOnce() -> bool) {
        // Acquire: what was sent before is seen by the look that follows; pairs with Release in `take_away`.
        let is_gone = |place: &u8| shared.number_at(*place).load(Ordering::Acquire) == 0;
        let gone: Vec<u8> = self.0.keys().copied().filter(is_gone).collect();
        if !gone.is_empty() && has_received_all() {
            for place in gone {
                self.0.remove(&place);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &Arc<OwnedHandle>)> {
        self.0.iter().map(|(place, handle)| (*place, handle))
    }
}
