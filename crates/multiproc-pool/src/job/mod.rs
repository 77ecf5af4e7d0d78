//! The tasks of one call, encoded, and what has become of each.
//!
//! - `arguments`: what they are called with
//! - `results`: what became of them
//! - `spare`: what is kept of a job for the next

mod arguments;
mod results;
mod spare;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::Handoff;
use multiproc_wire::handoff::{Known, Lender, Loan};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::policy::Policy;
use crate::view::recorder::Looks;
use crate::view::span::{self, Context};
use arguments::Arguments;
use results::Results;

/// So many handles an argument or a result can have: what goes in one packet, so that it goes wholly or not.
pub(crate) const MAX_HANDLES: usize = 253;
/// Of so many items, buffers are made as long beforehand as they usually get.
const MANY: usize = 1 << 16;
/// So many bytes an argument and a result take where they are many.
const USUAL: usize = 8;
/// So many bytes an argument or a result can have: 1 GiB, less what is sent along.
pub(crate) const MAX_BYTES: usize = (1 << 30) - 64;

/// Handles that came or go with a task.
pub(crate) type Handles = Vec<Arc<OwnedHandle>>;

/// What is lent to the receiver of an argument or a result.
pub(crate) type Loans = Vec<Arc<dyn Loan>>;

/// The handles of an argument.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) handles: Handles,
    /// What those of these indices are known by, which the worker may keep.
    pub(crate) known: Vec<(u32, Known)>,
    pub(crate) loans: Loans,
}

impl Given {
    fn of(handoff: &mut Handoff) -> Given {
        Given {
            loans: handoff.take_loans(),
            handles: handoff.handles().to_vec(),
            known: handoff.known().to_vec(),
        }
    }
}

/// What is sent of a task.
pub(crate) struct Payload<'a> {
    /// Where each of several items ends; empty where there is one.
    pub(crate) ends: &'a [usize],
    /// Where the first of them begins.
    pub(crate) base: usize,
    pub(crate) bytes: &'a [u8],
    pub(crate) handles: Option<&'a Given>,
}

/// What all tasks of a job have in common, and each worker is given before the first.
pub(crate) struct State {
    /// By which its tasks name it.
    pub(crate) key: u32,
    /// How the function that is called with it is shown.
    pub(crate) looks: Looks,
    pub(crate) bytes: Vec<u8>,
    pub(crate) handles: Handles,
}

/// What is called, once, with the results of a job that is done.
pub(crate) type Callback = Box<dyn FnOnce(Box<Job>) + Send>;

/// The tasks of one call: each an item, or some that follow each other.
pub(crate) struct Job {
    /// The number of their function in this pool.
    pub(crate) function: u32,
    pub(crate) policy: Policy,
    pub(crate) state: Option<State>,
    arguments: Arguments,
    /// Items of a task; the last may have fewer.
    chunk: usize,
    results: Results,
    /// How often a task was begun in vain.
    failed: BTreeMap<usize, u32>,
    /// Nothing of it is to be begun again.
    pub(crate) final_try: bool,
    /// Nobody will ask for the results.
    pub(crate) abandoned: bool,
    /// Who awaits them: none or one.
    pub(crate) wakers: Vec<Waker>,
    /// What is to be done with them.
    pub(crate) callback: Option<Callback>,
    /// The span that it was made in, if there was one.
    pub(crate) span: Option<Context>,
    /// Which call of the pool's it is: the first is 1.
    pub(crate) call: u64,
}

impl Job {
    /// A job without items, to which some are to be [added](Self::add) before it is [complete](Self::complete).
    pub(crate) fn new(function: u32, policy: Policy) -> Box<Job> {
        let mut job = spare::take().unwrap_or_else(|| Box::new(Job::empty()));
        job.function = function;
        job.policy = policy;
        job.span = span::current();
        job
    }

    fn empty() -> Job {
        Job {
            function: 0,
            policy: Policy::DEFAULT,
            state: None,
            arguments: Arguments::default(),
            chunk: 1,
            results: Results::default(),
            failed: BTreeMap::new(),
            final_try: false,
            abandoned: false,
            wakers: Vec::new(),
            callback: None,
            span: None,
            call: 0,
        }
    }

    /// Long runs of bytes in its items are lent to the workers by that.
    pub(crate) fn lend(&mut self, lender: Option<&'static Lender>) {
        self.arguments.lend(lender);
    }

    /// Makes room for so many items.
    pub(crate) fn reserve(&mut self, items: usize) {
        self.arguments.reserve(items);
    }

    /// Adds an item, and gives what it hands over as its encoder saw it: to be told once it is the pool's.
    pub(crate) fn add<T: Serialize + ?Sized>(
        &mut self,
        item: &T,
    ) -> Result<Option<Handoff>, TaskError> {
        self.arguments.add(item)
    }

    /// How many items were added.
    pub(crate) fn added(&self) -> usize {
        self.arguments.len()
    }

    /// Its only item is there so many times.
    pub(crate) fn repeat(&mut self, times: usize) {
        self.arguments = self.arguments.repeated(times);
    }

    /// Every item was added; `chunk` of them each are its tasks.
    pub(crate) fn complete(&mut self, chunk: usize) {
        self.results.begin(self.arguments.len());
        self.chunk = match self.policy.is_by_item() || self.arguments.has_handles() {
            true => 1,
            false => chunk,
        };
    }

    /// Keeps its buffers for this thread's next, if there is nothing special about it.
    pub(crate) fn recycle(mut self: Box<Job>) {
        let special = self.final_try || self.abandoned || self.state.is_some() || self.is_awaited();
        if special || !self.failed.is_empty() {
            return;
        }
        if self.arguments.clear() && self.results.clear() {
            self.span = None;
            spare::keep(self);
        }
    }

    /// How many tasks there are.
    pub(crate) fn tasks(&self) -> usize {
        self.items().div_ceil(self.chunk)
    }

    /// The items of a task.
    pub(crate) fn items_of(&self, task: usize) -> Range<usize> {
        let start = task * self.chunk;
        start..(start + self.chunk).min(self.items())
    }

    pub(crate) fn is_settled(&self, task: usize) -> bool {
        self.results.is_settled(task * self.chunk)
    }

    /// Whether every task is settled.
    pub(crate) fn is_done(&self) -> bool {
        self.results.open() == 0
    }

    /// Whether some item has an error, and not that it was cancelled.
    pub(crate) fn has_error(&self) -> bool {
        self.results
            .errors()
            .iter()
            .any(|error| *error != TaskError::Cancelled)
    }

    /// Whether every item has a result.
    pub(crate) fn is_successful(&self) -> bool {
        self.is_done() && self.results.errors().is_empty()
    }

    /// How many items are not settled.
    pub(crate) fn open(&self) -> usize {
        self.results.open()
    }

    /// Whether somebody is to hear of its end who does not wait in a call.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.wakers.is_empty() || self.callback.is_some()
    }

    pub(crate) fn payload(&self, task: usize) -> Payload<'_> {
        let items = self.items_of(task);
        let arguments = &self.arguments;
        Payload {
            ends: match self.chunk {
                1 => &[],
                _ => arguments.ends(items.clone()),
            },
            base: arguments.start(items.start),
            bytes: match self.chunk {
                1 => &arguments.get(items)[1..],
                _ => arguments.get(items),
            },
            handles: match self.chunk {
                1 => arguments.handles_of(task),
                _ => None,
            },
        }
    }

    /// How many of those tasks, from the first on, can go in one record.
    pub(crate) fn plain(&self, tasks: Range<usize>) -> usize {
        match self.chunk {
            1 => self.arguments.plain(tasks),
            _ => 1,
        }
    }

    /// The items of such tasks, each behind its length.
    pub(crate) fn plain_items(&self, tasks: Range<usize>) -> &[u8] {
        self.arguments.get(tasks)
    }

    /// A task has failed. Whether it is to be begun again.
    pub(crate) fn may_retry(&mut self, task: usize) -> bool {
        if self.policy.retries == 0 || self.is_settled(task) {
            return false;
        }
        if self.final_try {
            self.failed.entry(task).and_modify(|failed| *failed += 1);
            return false;
        }
        let failed = self.failed.entry(task).or_default();
        *failed += 1;
        *failed <= self.policy.retries
    }

    /// How many items there are.
    pub(crate) fn items(&self) -> usize {
        self.results.items()
    }

    /// How many items have a result, and how many an error.
    pub(crate) fn settled(&self) -> (usize, usize) {
        (
            self.items() - self.open() - self.results.errors().len(),
            self.results.errors().len(),
        )
    }

    /// How often one of its tasks was begun again.
    pub(crate) fn retried(&self) -> u64 {
        let again = |failed: &u32| u64::from((*failed).min(self.policy.retries));
        self.failed.values().map(again).sum()
    }

    /// How often a task was begun that has failed and is not begun again.
    pub(crate) fn attempts(&self, task: usize) -> u32 {
        self.failed.get(&task).copied().unwrap_or(1)
    }

    /// An item returned: its encoded result.
    pub(crate) fn returned(&mut self, item: usize, handles: Handles, result: &[u8]) {
        // Whoever waits for the last copy of a descriptor to be closed waits for this.
        self.arguments.forget_handles(item);
        self.results.returned(item, handles, result);
    }

    /// Some items returned, the first of those, or more: `take` appends their results to a buffer, each behind its length,
    /// sets places to where in it they begin, and says how many they are. What is settled already stays so.
    ///
    /// # Errors
    /// That of `take`.
    pub(crate) fn returned_some<E>(
        &mut self,
        items: Range<usize>,
        take: impl FnOnce(&mut Vec<u8>, &mut [u64]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let first = items.start;
        let taken = self.results.returned_some(items, take)?;
        if self.arguments.has_handles() {
            (first..first + taken).for_each(|item| self.arguments.forget_handles(item));
        }
        Ok(taken)
    }

    /// Whether a task is one item.
    pub(crate) fn is_single(&self) -> bool {
        self.chunk == 1
    }

    pub(crate) fn failed(&mut self, item: usize, error: TaskError) {
        self.arguments.forget_handles(item);
        self.results.failed(item, error);
    }

    /// Settles every open item so, but those of some tasks.
    pub(crate) fn fail_open_but(&mut self, error: &TaskError, but: &[usize]) {
        for item in 0..self.items() {
            if !self.results.is_settled(item) && !but.contains(&(item / self.chunk)) {
                self.failed(item, error.clone());
            }
        }
    }

    /// The results of all tasks, in order, once.
    pub(crate) fn results<R: DeserializeOwned>(
        &mut self,
    ) -> impl ExactSizeIterator<Item = Result<R, TaskError>> {
        self.results.decoded()
    }
}
