//! Messages as iterators.

use serde::de::DeserializeOwned;

use crate::channel::Receiver;
use crate::error::{ChannelError, RecvError, TryRecvError};

/// Waits for message after message, until all senders are gone. See [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
    ended: bool,
}

/// Takes the messages that are there. See [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
    ended: bool,
}

/// Waits for message after message, until all senders are gone, and has the receiver.
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
    ended: bool,
}

impl<T> Receiver<T> {
    /// Waits for message after message, until all senders are gone.
    ///
    /// An item that is an error is a message that could not be received; the ones after it still are. Where
    /// the receiver has [moved](ChannelError::is_moved) or the channel is
    /// [of no use any more](ChannelError::is_corrupt), that error is the last item.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            receiver: self,
            ended: false,
        }
    }

    /// Takes the messages that are there, without waiting. Errors are as in [`iter`](Self::iter).
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter {
            receiver: self,
            ended: false,
        }
    }
}

/// The item for a failure, which may be the last.
fn failed<T>(error: ChannelError, ended: &mut bool) -> Option<Result<T, ChannelError>> {
    *ended = error.is_moved() || error.is_corrupt();
    Some(Err(error))
}

fn next<T: DeserializeOwned>(
    receiver: &Receiver<T>,
    ended: &mut bool,
) -> Option<Result<T, ChannelError>> {
    if *ended {
        return None;
    }
    match receiver.recv() {
        Ok(message) => Some(Ok(message)),
        Err(RecvError::Disconnected(_)) => None,
        Err(RecvError::Failed(error)) => failed(error, ended),
    }
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, ChannelError>;

    fn next(&mut self) -> Option<Self::Item> {
        next(self.receiver, &mut self.ended)
    }
}

impl<T: DeserializeOwned> Iterator for IntoIter<T> {
    type Item = Result<T, ChannelError>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&self.receiver, &mut self.ended)
    }
}

impl<T: DeserializeOwned> Iterator for TryIter<'_, T> {
    type Item = Result<T, ChannelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.receiver.try_recv() {
            Ok(message) => Some(Ok(message)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected(_)) => None,
            Err(TryRecvError::Failed(error)) => failed(error, &mut self.ended),
        }
    }
}

impl<T: DeserializeOwned> IntoIterator for Receiver<T> {
    type Item = Result<T, ChannelError>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter {
            receiver: self,
            ended: false,
        }
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, ChannelError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
