//! Sending as futures, receiving as futures and streams, on any executor: two threads of the process sleep for all of
//! them, one on descriptors and one on words in shared memory.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use multiproc_sys::handle::{AsHandle, Interest};
use multiproc_sys::wait::{Source, Watch};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{Receiver, Sender};
use crate::error::{ChannelError, RecvError, SendError, Stop, TryRecvError};
use crate::queue::Queue;
use crate::reactor::{self, Entry};
use crate::transport::{Outlet, Told};

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

/// A message that is sent once there is room for it. See [`Sender::send_async`] and [`Queue::send_async`].
#[must_use = "a future does nothing unless it is polled"]
pub struct SendFuture<'a, S, T>(Sending<'a, S, T>);

/// What is to be sent, and by what room for it is told of.
struct Sending<'a, S, T> {
    to: &'a S,
    /// Nothing once it was sent, or given back.
    message: Option<T>,
    told: Option<Told>,
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

/// What futures send to.
trait Put<T> {
    fn offer(&self, message: &T) -> Result<(), Stop>;
    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop>;
}

impl<T: Serialize> Sender<T> {
    /// Sends a message, as a future that waits for room, and for other senders, without a thread.
    ///
    /// Dropped before it is ready, it has sent nothing, and the message goes with it; [`SendFuture::into_inner`] and
    /// [`SendFuture::take`] give it back instead. Futures that wait are all told of room, and the first to be polled
    /// has it. A message that is longer than a quarter of the channel waits in memory of its own.
    ///
    /// # Errors
    /// As [`send`](Self::send). Over `Transport::Ipc`, a message is [too long](ChannelError::is_too_long) beyond 32 KiB.
    pub fn send_async(&self, message: T) -> SendFuture<'_, Sender<T>, T> {
        SendFuture::of(self, message)
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts a message, as a future that waits for room without a thread.
    ///
    /// Dropped before it is ready, it has put nothing, and the message goes with it; [`SendFuture::into_inner`] and
    /// [`SendFuture::take`] give it back instead. Futures that wait are all told of room, and the first to be polled
    /// has it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_async(&self, message: T) -> SendFuture<'_, Queue<T>, T> {
        SendFuture::of(self, message)
    }
}

impl<S, T> SendFuture<'_, S, T> {
    fn of(to: &S, message: T) -> SendFuture<'_, S, T> {
        SendFuture(Sending {
            to,
            message: Some(message),
            told: None,
        })
    }

    /// Gives up, and the message back; `None` where it was sent, or given back with an error.
    #[must_use]
    pub fn into_inner(self) -> Option<T> {
        self.0.message
    }

    /// As [`into_inner`](Self::into_inner), of a future that stays where it is, as in a `select!`. It is not to be polled
    /// any more.
    pub fn take(&mut self) -> Option<T> {
        self.0.told = None;
        self.0.message.take()
    }
}

impl<S: Put<T>, T> Sending<'_, S, T> {
    fn try_now(&mut self) -> Poll<Result<(), SendError<T>>> {
        let message = self.message.as_ref();
        let message =
            message.expect("a future that has sent its message, or given it back, was polled");
        match self.to.offer(message) {
            Err(Stop::NotNow) => Poll::Pending,
            answer => Poll::Ready(self.end(answer)),
        }
    }

    fn end(&mut self, answer: Result<(), Stop>) -> Result<(), SendError<T>> {
        self.told = None;
        match (answer, self.message.take()) {
            (Err(stop), Some(message)) => Err(SendError::new(message, stop)),
            _ => Ok(()),
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), SendError<T>>> {
        self.told = None;
        if let Poll::Ready(answer) = self.try_now() {
            return Poll::Ready(answer);
        }
        match self.to.watch_room(context.waker()) {
            Ok(told) => self.told = Some(told),
            // Somebody is in the middle of something: at the next turn of the executor.
            Err(Stop::NotNow) => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Err(stop) => return Poll::Ready(self.end(Err(stop))),
        }
        // Room that came before it was watched for wakes nobody.
        self.try_now()
    }
}

// The message is never pinned.
impl<S, T> Unpin for SendFuture<'_, S, T> {}

impl<S, T> fmt::Debug for SendFuture<'_, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture")
            .field("has_ended", &self.0.message.is_none())
            .finish_non_exhaustive()
    }
}

impl<T: Serialize> Put<T> for Sender<T> {
    fn offer(&self, message: &T) -> Result<(), Stop> {
        Sender::offer(self, message)
    }

    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop> {
        self.tx().watch_room(waker)
    }
}

impl<T: Serialize> Put<T> for Queue<T> {
    fn offer(&self, message: &T) -> Result<(), Stop> {
        self.put(message, None)
    }

    fn watch_room(&self, waker: &Waker) -> Result<Told, Stop> {
        Queue::watch_room(self, waker)
    }
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
    reactor::enter(handle, Interest::Read, context.waker())
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
    ($Sink:ident, $Source:ident) => {
        impl<T: Serialize> Future for SendFuture<'_, $Sink<T>, T> {
            type Output = Result<(), SendError<T>>;

            /// # Panics
            /// After it was ready, or its message taken.
            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                self.0.poll(context)
            }
        }

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

futures_of!(Sender, Receiver);
futures_of!(Queue, Queue);
