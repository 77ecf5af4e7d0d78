//! The handles inside values.
//!
//! A value that stands for something shared (an array, a sender, a file) cannot travel as bytes alone.
//! Its `Serialize` implementation calls [`put`] with its handle and encodes the index it gets; its
//! `Deserialize` implementation decodes the index and calls [`take`]. Both work only inside the scope
//! that an [`Encoder`](crate::Encoder) or [`Decoder`](crate::Decoder) opens on the current thread;
//! anywhere else (JSON, say) they are an error that says so.
//!
//! # Invariants
//!
//! 1. A scope ends with the call that opened it, also by an error or a panic: no handle is left behind
//!    for the thread's next message.
//! 2. Scopes nest: a `Serialize` implementation that itself sends something opens an inner one.
//! 3. A handle that is put twice is sent once; both values get the same one.
//! 4. What one value alone may have ([`take_out`]) no other value of the message gets, whatever the message says.
//!
//! What can outlast its message is in `lasting.rs`; long runs of bytes that do not go with the others, in `loan.rs`.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;

mod lasting;
pub(crate) mod loan;

pub use lasting::{Gone, Identity, Keepsake, Known, Offer, Offers};
pub use loan::{Lender, Lent, Loan, Placed, lent};

/// What a value hands over besides its bytes.
#[derive(Default)]
pub struct Handoff(Option<Box<Filled>>);

/// What most values do not have, so that it is apart.
#[derive(Default)]
struct Filled {
    handles: Vec<Arc<OwnedHandle>>,
    /// What the handles of these indices are known by.
    known: Vec<(u32, Known)>,
    loans: Vec<Arc<dyn Loan>>,
    on_sent: Vec<Box<dyn FnOnce()>>,
}

impl Handoff {
    /// The handles to send along, in the order of their indices.
    #[must_use]
    #[inline]
    pub fn handles(&self) -> &[Arc<OwnedHandle>] {
        self.0.as_ref().map_or(&[], |filled| &filled.handles)
    }

    /// What handles are known by that may be kept by the receiver, by their indices.
    #[must_use]
    pub fn known(&self) -> &[(u32, Known)] {
        self.0.as_ref().map_or(&[], |filled| &filled.known)
    }

    /// What is lent to the receiver. Whoever has an encoder lend takes it, and says when it is sent.
    #[must_use]
    pub fn take_loans(&mut self) -> Vec<Arc<dyn Loan>> {
        let filled = self.0.as_mut();
        filled.map_or_else(Vec::new, |filled| std::mem::take(&mut filled.loans))
    }

    /// Whether something is given up here once it is sent, so that [`sent`](Self::sent) is to be called.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|filled| !filled.on_sent.is_empty())
    }

    /// Whether nothing is handed over.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// To be called once the message is the receiver's: what can have one owner only is given up here.
    /// Dropped instead, it stays where it was.
    #[inline]
    pub fn sent(self) {
        if let Some(filled) = self.0 {
            filled.on_sent.into_iter().for_each(|run| run());
        }
    }
}

impl fmt::Debug for Handoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handoff")
            .field("handles", &self.handles())
            .field("known", &self.known())
            .field(
                "loans",
                &self.0.as_ref().map_or(0, |filled| filled.loans.len()),
            )
            .field(
                "on_sent",
                &self.0.as_ref().map_or(0, |filled| filled.on_sent.len()),
            )
            .finish()
    }
}

/// A handle was put or taken where none can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandoffError {
    /// No message to another process is being encoded or decoded on this thread.
    NotInMessage,
    /// The message has no handle of that index.
    Missing(u32),
    /// The message names a handle twice that one value alone may have.
    NotShared(u32),
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandoffError::NotInMessage => f.write_str(
                "a shared object can only travel in a message to another process, \
                 as an argument, a result or an item of a channel; not in another format",
            ),
            HandoffError::Missing(index) => {
                write!(
                    f,
                    "the message refers to handle {index}, which did not come with it"
                )
            }
            HandoffError::NotShared(index) => {
                write!(
                    f,
                    "the message refers to handle {index} twice, which one value alone may have"
                )
            }
        }
    }
}

impl std::error::Error for HandoffError {}

/// What the innermost scope is for, and whether there is anything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Outside,
    Encoding { filled: bool },
    Decoding { filled: bool },
}

impl Mode {
    #[inline]
    fn is_filled(self) -> bool {
        matches!(
            self,
            Mode::Encoding { filled: true } | Mode::Decoding { filled: true }
        )
    }
}

/// What is in a scope. Most have nothing.
enum Contents {
    Collected(Handoff),
    Offered(Offers),
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Outside) };
    /// Something exactly if the mode says filled. Apart from it, since values with no handle in them
    /// are the rule, and opening a scope for one is to cost nothing.
    static CONTENTS: Cell<Option<Box<Contents>>> = const { Cell::new(None) };
}

/// Hands `handle` over with the message being encoded and says under which index.
///
/// # Errors
/// [`HandoffError::NotInMessage`] where no message is being encoded on this thread.
pub fn put(handle: &Arc<OwnedHandle>) -> Result<u32, HandoffError> {
    with_handoff(|handoff| handoff.put(handle))
}

/// As [`put`], of a handle that the receiver may keep, and which is known by that.
///
/// # Errors
/// As [`put`].
pub fn put_lasting(handle: &Arc<OwnedHandle>, identity: &Identity) -> Result<u32, HandoffError> {
    with_handoff(|handoff| {
        let index = handoff.put(handle)?;
        handoff.note(index, &identity.known());
        Ok(index)
    })
}

impl Filled {
    /// What the handle of that index is known by.
    fn note(&mut self, index: u32, known: &Known) {
        if !self.known.iter().any(|(noted, _)| *noted == index) {
            self.known.push((index, known.clone()));
        }
    }

    fn put(&mut self, handle: &Arc<OwnedHandle>) -> Result<u32, HandoffError> {
        let handles = &mut self.handles;
        let index = handles
            .iter()
            .position(|known| Arc::ptr_eq(known, handle))
            .unwrap_or_else(|| {
                handles.push(Arc::clone(handle));
                handles.len() - 1
            });
        u32::try_from(index).map_err(|_| HandoffError::NotInMessage)
    }
}

/// Has `run` called once the message being encoded was sent: for a value that moves.
///
/// # Errors
/// [`HandoffError::NotInMessage`] where no message is being encoded on this thread.
pub fn when_sent(run: impl FnOnce() + 'static) -> Result<(), HandoffError> {
    with_handoff(|handoff| {
        handoff.on_sent.push(Box::new(run));
        Ok(())
    })
}

/// The handle with that index of the message being decoded.
///
/// # Errors
/// [`HandoffError::NotInMessage`] where no message is being decoded on this thread,
/// [`HandoffError::Missing`] where it has no such handle, [`HandoffError::NotShared`] where another value has taken it
/// out.
pub fn take(index: u32) -> Result<Arc<OwnedHandle>, HandoffError> {
    with_offers(|offers| offers.take(index))
}

/// As [`take`], of a handle that nobody else who is in the message may have, neither before nor after.
///
/// # Errors
/// As [`take`]; [`HandoffError::NotShared`] also where another value has it.
pub fn take_out(index: u32) -> Result<Offer, HandoffError> {
    with_offers(|offers| offers.take_out(index))
}

/// What the handle with that index was opened as in an earlier message of the same sender, if it was kept
/// and it was that.
#[must_use]
pub fn opened<T: Any + Send + Sync>(index: u32) -> Option<Arc<T>> {
    let opened = with_offers(|offers| Ok(offers.look(index)?.opened()));
    opened.ok().flatten()
}

/// Has what the handle with that index was opened as kept for as long as the handle is; says whether it is.
pub fn keep(index: u32, opened: &Arc<impl Any + Send + Sync>) -> bool {
    with_offers(|offers| Ok(offers.look(index)?.keep(opened))).unwrap_or(false)
}

fn with_offers<R>(
    look: impl FnOnce(&mut Offers) -> Result<R, HandoffError>,
) -> Result<R, HandoffError> {
    match MODE.get() {
        Mode::Decoding { filled: true } => {}
        Mode::Decoding { filled: false } => return look(&mut Offers::default()),
        _ => return Err(HandoffError::NotInMessage),
    }
    let mut contents = CONTENTS.take();
    let found = match contents.as_deref_mut() {
        Some(Contents::Offered(offers)) => look(offers),
        _ => look(&mut Offers::default()),
    };
    CONTENTS.set(contents);
    found
}

fn with_handoff<R>(
    run: impl FnOnce(&mut Filled) -> Result<R, HandoffError>,
) -> Result<R, HandoffError> {
    if !matches!(MODE.get(), Mode::Encoding { .. }) {
        return Err(HandoffError::NotInMessage);
    }
    let mut handoff = match CONTENTS.take().map(|contents| *contents) {
        Some(Contents::Collected(handoff)) => handoff,
        _ => Handoff::default(),
    };
    let result = run(handoff.0.get_or_insert_default());
    CONTENTS.set(Some(Box::new(Contents::Collected(handoff))));
    MODE.set(Mode::Encoding { filled: true });
    result
}

/// Runs `encode` inside a scope that collects into `handoff`.
#[inline(always)]
pub(crate) fn encoding<R>(handoff: &mut Handoff, encode: impl FnOnce() -> R) -> R {
    let filled = !handoff.is_empty();
    let collected = || Contents::Collected(std::mem::take(handoff));
    let scope = Open::new(Mode::Encoding { filled }, collected);
    let result = encode();
    if let Some(contents) = scope.close() {
        *handoff = contents.collected();
    }
    result
}

/// Runs `decode` inside a scope that offers these handles.
#[inline(always)]
pub(crate) fn decoding<R>(offers: &mut Offers, decode: impl FnOnce() -> R) -> R {
    let filled = !offers.is_empty();
    let offered = || Contents::Offered(std::mem::take(offers));
    let scope = Open::new(Mode::Decoding { filled }, offered);
    let result = decode();
    if let Some(contents) = scope.close() {
        *offers = contents.offered();
    }
    result
}

impl Contents {
    #[cold]
    fn collected(self) -> Handoff {
        match self {
            Contents::Collected(collected) => collected,
            Contents::Offered(_) => Handoff::default(),
        }
    }

    #[cold]
    fn offered(self) -> Offers {
        match self {
            Contents::Offered(offered) => offered,
            Contents::Collected(_) => Offers::default(),
        }
    }
}

/// The innermost scope. Ends when dropped, be it by a panic; the one around it is then as it was.
struct Open {
    mode_before: Mode,
    contents_before: Option<Box<Contents>>,
}

/// As [`exchange`], of a scope that is entered.
#[cold]
fn enter(filled: bool, contents: impl FnOnce() -> Contents) -> Option<Box<Contents>> {
    exchange(filled.then(|| Box::new(contents())))
}

/// What there was before.
#[cold]
fn exchange(contents: Option<Box<Contents>>) -> Option<Box<Contents>> {
    CONTENTS.replace(contents)
}

impl Open {
    #[inline]
    fn new(mode: Mode, contents: impl FnOnce() -> Contents) -> Open {
        let mode_before = MODE.replace(mode);
        let mut contents_before = None;
        if mode.is_filled() || mode_before.is_filled() {
            contents_before = enter(mode.is_filled(), contents);
        }
        Open {
            mode_before,
            contents_before,
        }
    }

    #[inline]
    fn close(self) -> Option<Box<Contents>> {
        ManuallyDrop::new(self).end()
    }

    #[inline]
    fn end(&mut self) -> Option<Box<Contents>> {
        let mode = MODE.replace(self.mode_before);
        if mode.is_filled() || self.mode_before.is_filled() {
            return exchange(self.contents_before.take());
        }
        None
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle() -> Arc<OwnedHandle> {
        Arc::new(std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn outside_a_message_nothing_can_be_handed_over() {
        assert_eq!(put(&handle()), Err(HandoffError::NotInMessage));
        assert_eq!(when_sent(|| ()), Err(HandoffError::NotInMessage));
        assert_eq!(take(0).unwrap_err(), HandoffError::NotInMessage);
        decoding(&mut Offers::default(), || {
            assert_eq!(put(&handle()), Err(HandoffError::NotInMessage))
        });
        encoding(&mut Handoff::default(), || {
            assert_eq!(take(0).unwrap_err(), HandoffError::NotInMessage);
        });
    }

    #[test]
    fn a_handle_put_twice_goes_once() {
        let (one, two) = (handle(), handle());
        let mut handoff = Handoff::default();
        let indices = encoding(&mut handoff, || [&one, &two, &one].map(|h| put(h).unwrap()));
        assert_eq!(indices, [0, 1, 0]);
        assert_eq!(handoff.handles().len(), 2);
    }

    #[test]
    fn a_missing_handle_is_named() {
        let mut offers = Offers::from(vec![handle()]);
        decoding(&mut offers, || {
            assert!(take(0).is_ok());
            assert!(take(0).is_ok());
            assert_eq!(take(1).unwrap_err(), HandoffError::Missing(1));
        });
    }

    #[test]
    fn what_one_value_alone_may_have_no_other_gets() {
        let mut offers = Offers::from(vec![handle(), handle(), handle()]);
        let refused = |index| HandoffError::NotShared(index);
        decoding(&mut offers, || {
            assert!(take_out(0).is_ok());
            assert_eq!(take_out(0).unwrap_err(), refused(0));
            assert_eq!(take(0).unwrap_err(), refused(0));
            assert!(opened::<u64>(0).is_none() && !keep(0, &Arc::new(7_u64)));
            assert!(take(1).is_ok());
            assert_eq!(take_out(1).unwrap_err(), refused(1));
            assert!(take(1).is_ok());
            assert_eq!(take_out(3).unwrap_err(), HandoffError::Missing(3));
        });
        // Nor does one that is decoded later from the same message.
        decoding(&mut offers, || {
            assert_eq!(take(0).unwrap_err(), refused(0));
            assert_eq!(take_out(1).unwrap_err(), refused(1));
            assert!(take_out(2).is_ok());
        });
        assert_eq!(take_out(2).unwrap_err(), HandoffError::NotInMessage);
    }

    #[test]
    fn what_is_kept_is_found_as_what_it_was_opened_as() {
        let keepsake = Arc::new(Keepsake::new(handle()));
        let opened_as = Arc::new(7_u64);
        for time in 0..2 {
            let offers = [Offer::Once(handle()), Offer::Kept(Arc::clone(&keepsake))];
            let mut offers = Offers::from_iter(offers);
            decoding(&mut offers, || {
                assert_eq!(opened::<u64>(0), None);
                assert_eq!(opened::<u64>(1).is_some(), time == 1);
                assert_eq!(opened::<u32>(1), None, "it is no such thing");
                assert!(Arc::ptr_eq(&take(1).unwrap(), keepsake.handle()));
                assert_eq!(
                    [0, 1, 2].map(|index| keep(index, &opened_as)),
                    [false, true, false]
                );
            });
        }
        assert_eq!(opened::<u64>(1), None, "no message is decoded");
        assert!(!keep(1, &opened_as));
        assert_eq!(Arc::strong_count(&opened_as), 2, "it is kept once");
    }

    #[test]
    fn a_handle_says_what_it_is_known_by_once() {
        let (one, two) = (handle(), handle());
        let identity = Identity::default();
        let mut handoff = Handoff::default();
        encoding(&mut handoff, || {
            assert_eq!(put(&one), Ok(0));
            assert_eq!(put_lasting(&two, &identity), Ok(1));
            assert_eq!(put_lasting(&two, &identity), Ok(1));
        });
        let [(1, known)] = handoff.known() else {
            panic!("{handoff:?}");
        };
        assert!(known.is(&identity.known()));
    }

    #[test]
    fn scopes_nest_and_end_with_a_panic() {
        let (outer, inner) = (handle(), handle());
        let (mut outer_handoff, mut inner_handoff) = (Handoff::default(), Handoff::default());
        encoding(&mut outer_handoff, || {
            encoding(&mut inner_handoff, || put(&inner).unwrap());
            put(&outer).unwrap();
            let panicked = std::panic::catch_unwind(|| {
                encoding(&mut Handoff::default(), || panic!("while encoding"));
            });
            assert!(panicked.is_err());
            put(&inner).unwrap();
        });
        assert_eq!(inner_handoff.handles().len(), 1);
        assert_eq!(outer_handoff.handles().len(), 2);
        assert!(MODE.get() == Mode::Outside && CONTENTS.take().is_none());
    }

    #[test]
    fn what_moves_is_given_up_only_when_sent() {
        let moved = std::rc::Rc::new(Cell::new(0));
        let encode = || {
            let mut handoff = Handoff::default();
            let moved = moved.clone();
            encoding(&mut handoff, || {
                when_sent(move || moved.set(moved.get() + 1)).unwrap()
            });
            handoff
        };
        drop(encode());
        assert_eq!(moved.get(), 0);
        encode().sent();
        assert_eq!(moved.get(), 1);
    }
}
