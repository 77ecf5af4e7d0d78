//! A process that is awaited.
//!
//! The thread that reaps children wakes whoever awaits them, so any executor will do and no thread waits for
//! one child alone. The waker is put in place before the child is looked at, and the child is marked as ended
//! before the waker is taken: one of the two sees the other.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;

use crate::registry::Key;
use crate::{Error, Process};

/// The future of a process's [`join`](Process::join). Made by `.await` on a [`Process`], or on a reference to
/// one.
///
/// Dropped before it is ready it changes nothing: a process that was awaited by reference can be awaited or
/// joined again.
#[derive(Debug)]
#[must_use = "nothing is waited for before it is awaited"]
pub struct Joining<P: Borrow<Process<R>>, R> {
    process: P,
    awaited: Option<(Key, Arc<Slot>)>,
    result: PhantomData<fn() -> R>,
}

/// Whom to wake.
#[derive(Debug)]
struct Slot(Mutex<Option<Waker>>);

impl Slot {
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, waker)
    }
}

impl<P: Borrow<Process<R>>, R> Joining<P, R> {
    fn new(process: P) -> Joining<P, R> {
        Joining {
            process,
            awaited: None,
            result: PhantomData,
        }
    }
}

impl<P: Borrow<Process<R>> + Unpin, R: DeserializeOwned> Future for Joining<P, R> {
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let process = this.process.borrow();
        let waker = Some(context.waker().clone());
        if let Some((_, slot)) = &this.awaited {
            drop(slot.replace(waker));
        } else {
            process.free_the_child()?;
            let slot = Arc::new(Slot(Mutex::new(waker)));
            let told = Arc::clone(&slot);
            let wake = move || {
                if let Some(waker) = told.replace(None) {
                    waker.wake();
                }
            };
            this.awaited = Some((process.handle().at_end(wake)?, slot));
        }
        match process.exit_status()? {
            Some(_) => Poll::Ready(process.join_ended()),
            None => Poll::Pending,
        }
    }
}

impl<P: Borrow<Process<R>>, R> Drop for Joining<P, R> {
    fn drop(&mut self) {
        // The child may live on for long, and would keep the waker.
        if let Some((key, _)) = self.awaited.take() {
            self.process.borrow().handle().forget(key);
        }
    }
}

/// `.await` gives what [`join`](Process::join) does, and leaves the executor's thread free meanwhile.
///
/// ```
/// # use std::task::{Context, Poll, Wake, Waker};
/// # struct Unpark(std::thread::Thread);
/// # impl Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let waker = Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
/// #     let mut future = std::pin::pin!(future);
/// #     loop {
/// #         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
/// #             Poll::Ready(output) => return output,
/// #             Poll::Pending => std::thread::park(),
/// #         }
/// #     }
/// # }
/// use multiproc_process::Process;
///
/// block_on(async {
///     let children = [Process::spawn(|n: u64| n * n, 3)?, Process::spawn(|n: u64| n + n, 4)?];
///     let mut sum = 0;
///     for child in children {
///         sum += child.await?;
///     }
///     assert_eq!(sum, 17);
/// # Ok::<(), multiproc_process::Error>(())
/// })
/// # .unwrap();
/// ```
impl<R: DeserializeOwned> IntoFuture for Process<R> {
    type Output = Result<R, Error>;
    type IntoFuture = Joining<Process<R>, R>;

    fn into_future(self) -> Self::IntoFuture {
        Joining::new(self)
    }
}

/// As on the process itself, which stays to be terminated, say, when another future is ready first.
impl<'a, R: DeserializeOwned> IntoFuture for &'a Process<R> {
    type Output = Result<R, Error>;
    type IntoFuture = Joining<&'a Process<R>, R>;

    fn into_future(self) -> Self::IntoFuture {
        Joining::new(self)
    }
}
