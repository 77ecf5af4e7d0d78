//! Receiving as futures and streams, on any executor: one thread of the process sleeps for all of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use multiproc_sys::handle::AsHandle;
use multiproc_sys::wait::{Source, Watch};
use serde::de::DeserializeOwned;

use crate::channel::Receiver;
use crate::error::{ChannelError, RecvError, TryRecvError};
use crate::queue::Queue;
use crate::reactor::{self, Entry};

/// The next message, once there is one. See [`Receiver::recv_async`] and [`Queue::recv_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct RecvFuture<'a, S>(Waiting<&'a S>);

/// Message after message, until the end. See [`Receiver::into_stream`] and [`Queue::into_stream`].
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct RecvStream<S> {
    waiting: Waiting<S>,
    ended: bool,
}

/// Something to receive from, and what wakes who waits for it.
#[derive(Debug)]
struct Waiting<S> {
    from: S,
    entry: Option<Entry>,
}

/// What futures receive from.
trait Take {
    type Item;
    fn source(&self) -> &dyn Source;
    fn take(&self) -> Result<Self::Item, TryRecvError>;
}

impl<T: DeserializeOwned> Receiver<T> {
    /// The next message, as a future. Dropped before it is ready, it has taken none.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_async(&self) -> RecvFuture<'_, Receiver<T>> {
        RecvFuture(Waiting::on(self))
    }

    /// Message after message, as a stream that ends as [`iter`](Self::iter) does.
    pub fn into_stream(self) -> RecvStream<Receiver<T>> {
        RecvStream::on(self)
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// The oldest message, as a future. Dropped before it is ready, it has taken none.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_async(&self) -> RecvFuture<'_, Queue<T>> {
        RecvFuture(Waiting::on(self))
    }

    /// Message after message, as a stream that ends as [`iter`](Self::iter) does.
    pub fn into_stream(self) -> RecvStream<Queue<T>> {
        RecvStream::on(self)
    }
}

impl<S> RecvStream<S> {
    fn on(from: S) -> RecvStream<S> {
        RecvStream {
            waiting: Waiting::on(from),
            ended: false,
        }
    }
}

impl<S> Waiting<S> {
    fn on(from: S) -> Waiting<S> {
        Waiting { from, entry: None }
    }
}

impl<S: Take> Waiting<S> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<S::Item, RecvError>> {
        let source = self.from.source();
        if self.entry.take().is_some() {
            source.unwatch();
        }
        if let Some(answer) = answer(&self.from) {
            return Poll::Ready(answer);
        }
        match enter(source, context) {
            Ok(entry) => self.entry = Some(entry),
            Err(error) => return Poll::Ready(Err(RecvError::Failed(error.into()))),
        }
        // What came before it was watched wakes nobody.
        match answer(&self.from) {
            Some(answer) => {
                self.leave();
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }
}

impl<S: Take> Waiting<S> {
    // A future that is dropped does not: what it watched is told of once for nothing.
    fn leave(&mut self) {
        if self.entry.take().is_some() {
            self.from.source().unwatch();
        }
    }
}

fn answer<S: Take>(from: &S) -> Option<Result<S::Item, RecvError>> {
    match from.take() {
        Ok(message) => Some(Ok(message)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected(peer)) => Some(Err(RecvError::Disconnected(peer))),
        Err(TryRecvError::Failed(error)) => Some(Err(RecvError::Failed(error))),
    }
}

fn enter(source: &dyn Source, context: &Context<'_>) -> io::Result<Entry> {
    let handle = match source.watch()? {
        Watch::Owned(handle) => handle,
        Watch::Handle(handle) => handle.try_clone_to_owned()?,
        // A transport that can only be looked at: at the next turn of the executor.
        Watch::Until(_) | Watch::Word(..) | Watch::Look => {
            let (always, _) = multiproc_sys::socket::Socket::pair()?;
            always.as_handle().try_clone_to_owned()?
        }
    };
    reactor::enter(handle, context.waker())
}

impl<T: DeserializeOwned> Take for Receiver<T> {
    type Item = T;

    fn source(&self) -> &dyn Source {
        self
    }

    fn take(&self) -> Result<T, TryRecvError> {
        self.try_recv()
    }
}

impl<T: DeserializeOwned> Take for Queue<T> {
    type Item = T;

    fn source(&self) -> &dyn Source {
        self
    }

    fn take(&self) -> Result<T, TryRecvError> {
        self.try_recv()
    }
}

impl<S: Take> Take for &S {
    type Item = S::Item;

    fn source(&self) -> &dyn Source {
        (**self).source()
    }

    fn take(&self) -> Result<S::Item, TryRecvError> {
        (**self).take()
    }
}

impl<S: Take> Waiting<S> {
    fn poll_next(
        &mut self,
        ended: &mut bool,
        context: &Context<'_>,
    ) -> Poll<Option<Result<S::Item, ChannelError>>> {
        if *ended {
            return Poll::Ready(None);
        }
        self.poll(context).map(|answer| match answer {
            Ok(message) => Some(Ok(message)),
            Err(RecvError::Disconnected(_)) => {
                *ended = true;
                None
            }
            Err(RecvError::Failed(error)) => {
                *ended = error.is_moved() || error.is_corrupt();
                Some(Err(error))
            }
        })
    }
}

macro_rules! futures_of {
    ($Source:ident) => {
        impl<T: DeserializeOwned> Future for RecvFuture<'_, $Source<T>> {
            type Output = Result<T, RecvError>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                self.0.poll(context)
            }
        }

        impl<T: DeserializeOwned> Stream for RecvStream<$Source<T>> {
            type Item = Result<T, ChannelError>;

            fn poll_next(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                let RecvStream { waiting, ended } = &mut *self;
                waiting.poll_next(ended, context)
            }
        }
    };
}

futures_of!(Receiver);
futures_of!(Queue);
