//! Handles that outlast the message they go with: what they are known by, and what a receiver keeps of them.
//!
//! Memory that is shared is often sent to the same process again. A sender who knows that the receiver still has it
//! names it instead of sending its descriptor once more. For that it needs to know what is the same, and when that
//! is gone ([`Identity`]); the receiver keeps what it has opened, too ([`Keepsake`]). Which of them are kept, and for
//! how long, the two agree on: the sender decides, and says so in the order of its messages.
//!
//! Only what may be kept open elsewhere has an identity: memory has, a pipe's end, whose closing means something,
//! has not.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use multiproc_sys::handle::OwnedHandle;

use super::HandoffError;

/// What something shared is known by in this process for as long as it is there. It belongs to whoever maps or holds it,
/// not to a message.
#[derive(Default)]
pub struct Identity(Arc<Life>);

/// The identity of something that may be gone.
#[derive(Clone)]
pub struct Known(Weak<Life>);

/// Who is told that something is gone. It is called wherever that is dropped, and is not to wait for anything.
pub trait Gone: Send + Sync {
    /// Something that it asked to be told of is gone.
    fn gone(&self);
}

#[derive(Default)]
struct Life {
    told: Mutex<Vec<Weak<dyn Gone>>>,
}

impl Identity {
    /// As others remember it.
    #[must_use]
    pub fn known(&self) -> Known {
        Known(Arc::downgrade(&self.0))
    }
}

impl Known {
    /// Whether it is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// The identity, which is not gone before this is; `None` where it is gone already.
    #[must_use]
    pub fn hold(&self) -> Option<Identity> {
        self.0.upgrade().map(Identity)
    }

    /// Whether both are of the same.
    #[must_use]
    #[inline]
    pub fn is(&self, other: &Known) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// Has `who` told when it is gone, once, however often this is called. `false` where it is gone already.
    #[must_use]
    pub fn tell(&self, who: &Weak<dyn Gone>) -> bool {
        let Some(life) = self.0.upgrade() else {
            return false;
        };
        let mut told = life.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.iter().any(|known| known.ptr_eq(who)) {
            told.retain(|known| known.strong_count() > 0);
            told.push(Weak::clone(who));
        }
        true
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        for who in told.drain(..) {
            if let Some(who) = who.upgrade() {
                who.gone();
            }
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("is_gone", &self.is_gone())
            .finish_non_exhaustive()
    }
}

/// A handle that a receiver keeps for later messages, with what it was opened as.
pub struct Keepsake {
    handle: Arc<OwnedHandle>,
    opened: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Keepsake {
    /// Of a handle that has come.
    #[must_use]
    pub fn new(handle: Arc<OwnedHandle>) -> Keepsake {
        Keepsake {
            handle,
            opened: OnceLock::new(),
        }
    }

    /// The handle.
    #[must_use]
    pub fn handle(&self) -> &Arc<OwnedHandle> {
        &self.handle
    }

    /// What it was opened as.
    pub(super) fn opened<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.opened.get()?).downcast().ok()
    }

    /// The first stays: what is opened again is found by that.
    pub(super) fn keep(&self, opened: Arc<dyn Any + Send + Sync>) {
        let _first = self.opened.set(opened);
    }
}

impl fmt::Debug for Keepsake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keepsake")
            .field("handle", &self.handle)
            .field("is_opened", &self.opened.get().is_some())
            .finish()
    }
}

/// One of the handles that come with a message.
#[derive(Clone, Debug)]
pub enum Offer {
    /// For this message.
    Once(Arc<OwnedHandle>),
    /// For this one and others.
    Kept(Arc<Keepsake>),
}

impl Offer {
    /// The handle.
    #[must_use]
    pub fn handle(&self) -> &Arc<OwnedHandle> {
        match self {
            Offer::Once(handle) => handle,
            Offer::Kept(keepsake) => keepsake.handle(),
        }
    }

    /// As [`handoff::opened`](super::opened).
    #[must_use]
    pub fn opened<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        match self {
            Offer::Once(_) => None,
            Offer::Kept(keepsake) => keepsake.opened(),
        }
    }

    /// As [`handoff::keep`](super::keep).
    pub fn keep(&self, opened: &Arc<impl Any + Send + Sync>) -> bool {
        match self {
            Offer::Once(_) => false,
            Offer::Kept(keepsake) => {
                keepsake.keep(Arc::clone(opened) as _);
                true
            }
        }
    }
}

/// The handles that come with a message, in the order of their indices.
#[derive(Clone, Debug, Default)]
pub struct Offers(Vec<Offered>);

#[derive(Clone, Debug)]
struct Offered {
    /// Nothing once one value has taken it out.
    offer: Option<Offer>,
    /// Values of the message have it.
    taken: bool,
}

impl Offers {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&mut self, index: u32) -> Result<&mut Offered, HandoffError> {
        let offered = usize::try_from(index).ok();
        let offered = offered.and_then(|at| self.0.get_mut(at));
        offered.ok_or(HandoffError::Missing(index))
    }

    pub(super) fn look(&mut self, index: u32) -> Result<&Offer, HandoffError> {
        let offer = self.at(index)?.offer.as_ref();
        offer.ok_or(HandoffError::NotShared(index))
    }

    pub(super) fn take(&mut self, index: u32) -> Result<Arc<OwnedHandle>, HandoffError> {
        let handle = Arc::clone(self.look(index)?.handle());
        self.at(index)?.taken = true;
        Ok(handle)
    }

    pub(super) fn take_out(&mut self, index: u32) -> Result<Offer, HandoffError> {
        let offered = self.at(index)?;
        let offer = match offered.taken {
            true => None,
            false => offered.offer.take(),
        };
        offer.ok_or(HandoffError::NotShared(index))
    }
}

impl FromIterator<Offer> for Offers {
    fn from_iter<I: IntoIterator<Item = Offer>>(offers: I) -> Offers {
        let offered = |offer| Offered {
            offer: Some(offer),
            taken: false,
        };
        Offers(offers.into_iter().map(offered).collect())
    }
}

impl From<Vec<Arc<OwnedHandle>>> for Offers {
    #[inline]
    fn from(handles: Vec<Arc<OwnedHandle>>) -> Offers {
        // The rule, and known to whoever inlines this.
        if handles.is_empty() {
            return Offers::default();
        }
        handles.into_iter().map(Offer::Once).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Gone for Counted {
        fn gone(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_asked_is_told_once_that_something_is_gone() {
        let (one, two) = (Identity::default(), Identity::default());
        let (first, second) = (one.known(), two.known());
        assert!(first.is(&one.known()) && !first.is(&second));
        let counted = Arc::new(Counted::default());
        let who: Arc<dyn Gone> = counted.clone();
        let who = Arc::downgrade(&who);
        assert!(first.tell(&who) && first.tell(&who));
        drop(two);
        assert!(second.is_gone() && !second.tell(&who));
        assert!(!first.is_gone());
        drop(one);
        assert!(first.is_gone());
        assert_eq!(counted.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_is_gone_is_not_kept_by_what_is_still_there() {
        let identity = Identity::default();
        for _ in 0..100 {
            let who: Arc<dyn Gone> = Arc::new(Counted::default());
            assert!(identity.known().tell(&Arc::downgrade(&who)));
        }
        assert_eq!(identity.0.told.lock().unwrap().len(), 1);
    }
}
