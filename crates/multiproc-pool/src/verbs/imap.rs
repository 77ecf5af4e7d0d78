//! Maps that take their input as they need it.

use std::collections::VecDeque;
use std::fmt;
use std::iter::Fuse;
use std::marker::PhantomData;
use std::time::Duration;

use multiproc_process::function::Function;
use multiproc_sys::clock::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::error::TaskError;
use crate::pool::Pool;
use crate::task::Task;

/// The results of [`Pool::imap`](crate::Pool::imap) or [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// The input is taken on the thread that asks for results, and no further ahead than the
/// [window](Imap::window): an endless iterator is as good as any other, and a slow consumer bounds what is
/// kept. Dropped half-way, what was not started never is.
#[must_use = "nothing is taken from the input before results are asked for"]
pub struct Imap<A, R, I: Iterator> {
    pool: Pool,
    function: fn(A) -> R,
    items: Fuse<I>,
    window: usize,
    ordered: bool,
    /// In the order of their items.
    pending: VecDeque<Pending<R>>,
    /// Results are waited for until then; then it is over.
    deadline: Deadline,
    over: bool,
    argument: PhantomData<fn(A)>,
}

enum Pending<R> {
    Sent(Task<R>),
    /// It could not be sent.
    Failed(TaskError),
}

/// Tasks under way for each worker where nothing else is asked: enough for workers to go on while the
/// consumer does something with a result.
const WINDOW: usize = 8;

impl Pool {
    /// Runs `function` on items as they are taken from an iterator, and gives the results in the order of the
    /// items, each as soon as it and those before it are there.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let first = pool.imap(|n: u64| n * n, 1..).find(|square| matches!(square, Ok(n) if *n > 50));
    /// assert_eq!(first, Some(Ok(64)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Differences from Python
    /// The input is taken lazily, so it may be endless. An item's error is that item's alone; the iteration
    /// goes on.
    #[doc(alias = "multiprocessing.pool.Pool.imap")]
    pub fn imap<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        Imap::new(
            self.with(|policy| policy),
            function,
            items.into_iter(),
            true,
        )
    }

    /// As [`imap`](Self::imap), giving results as they come, in whatever order.
    #[doc(alias = "multiprocessing.pool.Pool.imap_unordered")]
    pub fn imap_unordered<A, R, I>(&self, function: fn(A) -> R, items: I) -> Imap<A, R, I::IntoIter>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        Imap::new(
            self.with(|policy| policy),
            function,
            items.into_iter(),
            false,
        )
    }
}

impl<A, R, I: Iterator> Imap<A, R, I> {
    fn new(pool: Pool, function: fn(A) -> R, items: I, ordered: bool) -> Imap<A, R, I> {
        let window = pool.workers().saturating_mul(WINDOW);
        let (pending, argument) = (VecDeque::new(), PhantomData);
        Imap {
            pool,
            function,
            items: items.fuse(),
            window,
            ordered,
            pending,
            deadline: Deadline::NEVER,
            over: false,
            argument,
        }
    }

    /// How many items are taken ahead of the result that is asked for; at least 1, and 8 for each worker where
    /// nothing else is asked.
    pub fn window(mut self, items: usize) -> Imap<A, R, I> {
        self.window = items.max(1);
        self
    }

    /// Gives results for no longer than this from now. The next after that is [`TaskError::NotReady`] and the last, and what
    /// was not started never is once this is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc_pool::{Pool, TaskError};
    ///
    /// let pool = Pool::new(1)?;
    /// let mut endless = pool.imap(|n: u64| n, 0..).timeout(Duration::from_millis(50));
    /// let last = endless.by_ref().find(Result::is_err);
    /// assert_eq!(last, Some(Err(TaskError::NotReady)));
    /// assert_eq!(endless.next(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Imap<A, R, I> {
        self.deadline = Deadline::after(timeout);
        self
    }
}

impl<A, R, I> Imap<A, R, I>
where
    A: DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator,
    I::Item: Argument<A>,
{
    /// Takes items and sends them, as many as the window allows, before results are asked for.
    pub(crate) fn begun(mut self) -> Imap<A, R, I> {
        self.fill();
        self
    }

    fn fill(&mut self) {
        while self.pending.len() < self.window {
            let Some(item) = self.items.next() else {
                return;
            };
            let function = Function::new(self.function);
            self.pending.push_back(
                match self.pool.driver().send(function, [item], self.pool.call()) {
                    Ok(task) => Pending::Sent(Task::new(task)),
                    Err(error) => Pending::Failed(error),
                },
            );
        }
    }

    /// The place of a pending item that has a result; `None` once the time is over.
    fn ready(&self) -> Option<usize> {
        let count = if self.ordered { 1 } else { self.pending.len() };
        let ids: Vec<_> = self
            .pending
            .iter()
            .take(count)
            .map(|pending| match pending {
                Pending::Sent(task) => task.id(),
                Pending::Failed(_) => None,
            })
            .collect();
        if self.deadline.has_passed() {
            return None;
        }
        let mut found = None;
        let waited = self.pool.driver().wait(self.deadline, |core| {
            found = ids
                .iter()
                .position(|id| id.is_none_or(|id| core.is_done(id)));
            found.is_some()
        });
        drop(waited);
        found
    }
}

impl<A, R, I> Iterator for Imap<A, R, I>
where
    A: DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator,
    I::Item: Argument<A>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if let Err(forked) = self.pool.driver().refuse_fork() {
            self.over = true;
            return Some(Err(forked));
        }
        self.fill();
        if self.pending.is_empty() {
            return None;
        }
        let Some(ready) = self.ready() else {
            self.over = true;
            return Some(Err(TaskError::NotReady));
        };
        Some(match self.pending.remove(ready)? {
            Pending::Sent(task) => task.get(),
            Pending::Failed(error) => Err(error),
        })
    }
}

impl<A, R, I: Iterator> Drop for Imap<A, R, I> {
    fn drop(&mut self) {
        for pending in &self.pending {
            if let Pending::Sent(task) = pending {
                task.cancel_if_not_started();
            }
        }
    }
}

impl<A, R, I: Iterator> fmt::Debug for Imap<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("window", &self.window)
            .field("ordered", &self.ordered)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
