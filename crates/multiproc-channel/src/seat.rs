//! Where a receiving end is: here, in a message that was not sent yet, or elsewhere for good.
//!
//! Looking whether it is here costs a load: the lock is for an end that is on its way.
//!
//! # State
//!
//! | here | on its way | meaning |
//! |---|---|---|
//! | the end | nothing | it receives here |
//! | nothing | `Packed` | in a message that was not sent yet: it receives nowhere |
//! | nothing | `Back` | the message was given up; the next look finds it here |
//! | nothing | `Gone` | the message was sent |

use std::cell::RefCell;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::ChannelError;

/// What sits here until it leaves.
pub(crate) trait Leave {
    /// It works elsewhere now. What is dropped here is not its end.
    fn has_moved(&mut self);
}

/// The place of an end that can leave once.
#[derive(Debug)]
pub(crate) struct Seat<E> {
    here: RefCell<Option<E>>,
    away: Arc<Mutex<Away<E>>>,
}

#[derive(Debug)]
enum Away<E> {
    Nothing,
    Packed(E),
    Back(E),
    Gone,
}

impl<E> Seat<E> {
    pub(crate) fn new(end: E) -> Seat<E> {
        Seat {
            here: RefCell::new(Some(end)),
            away: Arc::new(Mutex::new(Away::Nothing)),
        }
    }

    /// Has `look` look at the end.
    ///
    /// # Errors
    /// [`ChannelError::MOVED`] where it is not here.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut E) -> R) -> Result<R, ChannelError> {
        let mut here = self.here.borrow_mut();
        match &mut *here {
            Some(end) => Ok(look(end)),
            nobody => {
                *nobody = come_back(&self.away);
                nobody.as_mut().map(look).ok_or(ChannelError::MOVED)
            }
        }
    }
}

impl<E: Leave> Seat<E> {
    /// Puts the end into a message, as `put` says, and gives what must be told when the message was sent.
    ///
    /// # Errors
    /// [`ChannelError::MOVED`] where it is in a message already, or elsewhere.
    pub(crate) fn pack<R>(
        &self,
        put: impl FnOnce(&mut E) -> R,
    ) -> Result<(R, Departure<E>), ChannelError> {
        let result = self.with(put)?;
        if let Some(end) = self.here.take() {
            *lock(&self.away) = Away::Packed(end);
        }
        Ok((result, Departure(Arc::clone(&self.away))))
    }
}

#[cold]
fn come_back<E>(away: &Mutex<Away<E>>) -> Option<E> {
    let mut away = lock(away);
    match mem::replace(&mut *away, Away::Nothing) {
        Away::Back(end) => Some(end),
        elsewhere => {
            *away = elsewhere;
            None
        }
    }
}

fn lock<E>(away: &Mutex<Away<E>>) -> MutexGuard<'_, Away<E>> {
    away.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An end in a message. It comes back if this is dropped.
#[derive(Debug)]
pub(crate) struct Departure<E: Leave>(Arc<Mutex<Away<E>>>);

impl<E: Leave> Departure<E> {
    /// The message was sent. What the end had open here is closed.
    pub(crate) fn complete(self) {
        let left = mem::replace(&mut *lock(&self.0), Away::Gone);
        if let Away::Packed(mut end) = left {
            end.has_moved();
        }
    }
}

impl<E: Leave> Drop for Departure<E> {
    fn drop(&mut self) {
        let mut away = lock(&self.0);
        *away = match mem::replace(&mut *away, Away::Gone) {
            Away::Packed(end) => Away::Back(end),
            completed => completed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct End(u8);

    impl Leave for End {
        fn has_moved(&mut self) {}
    }

    #[test]
    fn an_end_comes_back_from_a_message_that_was_given_up_and_never_from_one_that_was_sent() {
        let seat = Seat::new(End(7));
        let (told, departure) = seat.pack(|end| end.0).unwrap();
        assert_eq!(told, 7);
        assert!(seat.with(|_| ()).unwrap_err().is_moved());
        assert!(seat.pack(|_| ()).unwrap_err().is_moved());
        drop(departure);
        assert_eq!(seat.with(|end| end.0).unwrap(), 7);
        let ((), departure) = seat.pack(|_| ()).unwrap();
        departure.complete();
        assert!(seat.with(|_| ()).unwrap_err().is_moved());
        assert!(seat.pack(|_| ()).unwrap_err().is_moved());
    }
}
