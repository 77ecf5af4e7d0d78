//! Long runs of bytes that do not go with a message's other bytes: they lie in memory that the receiver sees too.
//!
//! Who encodes for a receiver that can see such memory names a [`Lender`]. It copies a run there, once; what is encoded is
//! the index of the memory's handle, and where in it the run lies. The receiver's decoder has a lender too, which shows it
//! the run: to be copied out, or, by whoever asks with [`lent`], to be kept as it is.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;

use super::{HandoffError, Known, with_handoff};

/// Where long runs of bytes are put, and found again.
#[derive(Debug)]
pub struct Lender {
    /// A run is put there if it is no shorter.
    pub least: usize,
    /// Copies a run to where the receiver sees it. `None` where it is to go with the message.
    pub lend: fn(&[u8]) -> Option<Placed>,
    /// What lies there: in the memory whose handle has that index in the message being decoded, from that byte on, so many
    /// bytes. Nobody changes it until it is dropped.
    pub find: fn(u32, u64, u64) -> Result<Lent, String>,
}

/// A run of bytes in memory that the receiver sees.
pub struct Placed {
    /// The memory.
    pub handle: Arc<OwnedHandle>,
    /// What it is known by.
    pub known: Known,
    /// Where in it the run begins.
    pub offset: u64,
    /// Keeps it there until it is sent, and then for the receiver.
    pub loan: Arc<dyn Loan>,
}

/// What is lent to the receiver of a message. Dropped before it is sent, it is nobody's again; sent, it is the receiver's to
/// give back.
pub trait Loan: Send + Sync {
    /// The message is sent: once for each receiver, before that can look.
    fn sent(&self);
    /// The receiver of one sending will never look.
    fn taken_back(&self);
}

/// A run of bytes that somebody else has lent.
pub type Lent = Arc<dyn AsRef<[u8]> + Send + Sync>;

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed")
            .field("handle", &self.handle)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loan")
    }
}

thread_local! {
    /// What is being visited.
    static VISITED: RefCell<Option<Lent>> = const { RefCell::new(None) };
}

/// For a visitor of bytes: what they lie in, if they are lent, to be kept beyond the visit.
#[must_use]
pub fn lent(bytes: &[u8]) -> Option<Lent> {
    VISITED.with_borrow(|visited| {
        let visited = visited.as_ref()?;
        let run = (**visited).as_ref();
        (std::ptr::eq(run, bytes)).then(|| Arc::clone(visited))
    })
}

/// Has `visit` see what is lent.
pub(crate) fn visiting<R>(run: Lent, visit: impl FnOnce(&[u8]) -> R) -> R {
    /// Ends the visit, also by a panic.
    struct Visit(Option<Lent>);

    impl Drop for Visit {
        fn drop(&mut self) {
            let visited = VISITED.replace(self.0.take());
            drop(visited);
        }
    }

    let _visit = Visit(VISITED.replace(Some(Arc::clone(&run))));
    visit((*run).as_ref())
}

/// Puts a run with the message being encoded: the index of its memory's handle.
pub(crate) fn put(placed: &Placed) -> Result<u32, HandoffError> {
    with_handoff(|handoff| {
        let index = handoff.put(&placed.handle)?;
        handoff.note(index, &placed.known);
        handoff.loans.push(Arc::clone(&placed.loan));
        Ok(index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_visits_what_is_lent_can_keep_it() {
        let run: Lent = Arc::new(vec![7_u8; 10]);
        assert!(lent(&[7; 10]).is_none());
        visiting(Arc::clone(&run), |bytes| {
            let copy = bytes.to_vec();
            assert!(lent(&copy).is_none(), "a copy is not lent");
            assert!(lent(&bytes[1..]).is_none() && lent(bytes).is_some());
            let inner: Lent = Arc::new(vec![1_u8]);
            visiting(inner, |inner| {
                assert!(lent(bytes).is_none() && lent(inner).is_some())
            });
            assert!(lent(bytes).is_some());
        });
        let visit = std::panic::AssertUnwindSafe(|| {
            visiting(Arc::clone(&run), |_| panic!("in a visit"));
        });
        let panicked = std::panic::catch_unwind(visit);
        assert!(panicked.is_err() && lent((*run).as_ref()).is_none());
        assert_eq!(Arc::strong_count(&run), 1);
    }
}
