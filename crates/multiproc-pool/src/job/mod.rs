//! The tasks of one call, encoded, and what has become of each.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::policy::Policy;
use crate::view::recorder::Looks;
use crate::view::span::{self, Context};

/// So many handles an argument or a result can have: what goes in one packet, so that it goes wholly or not.
pub(crate) const MAX_HANDLES: usize = 253;
/// So many bytes an argument or a result can have: 1 GiB, less what is sent along.
pub(crate) const MAX_BYTES: usize = (1 << 30) - 64;

/// Handles that came or go with a task.
pub(crate) type Handles = Vec<Arc<OwnedHandle>>;

/// The arguments of some tasks, one after the other.
#[derive(Default)]
pub(crate) struct Arguments {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    handles: BTreeMap<usize, Handles>,
}

impl Arguments {
    /// With room for so many.
    pub(crate) fn with_capacity(items: usize) -> Arguments {
        Arguments {
            ends: Vec::with_capacity(items),
            ..Arguments::default()
        }
    }

    /// Adds one, and gives what it hands over as its encoder saw it: to be told once it is the pool's.
    pub(crate) fn add<T: Serialize + ?Sized>(
        &mut self,
        argument: &T,
    ) -> Result<Option<multiproc_wire::Handoff>, TaskError> {
        let handoff = encode(argument, &mut self.bytes).map_err(TaskError::Encode)?;
        let item = self.ends.len();
        let length = self.bytes.len() - self.ends.last().copied().unwrap_or_default();
        if length > MAX_BYTES {
            return Err(TaskError::TooLarge {
                length,
                limit: MAX_BYTES,
            });
        }
        self.ends.push(self.bytes.len());
        if handoff.is_empty() {
            return Ok(None);
        }
        let count = handoff.handles().len();
        if count > MAX_HANDLES {
            return Err(TaskError::TooManyHandles {
                count,
                limit: MAX_HANDLES,
            });
        }
        if count > 0 {
            self.handles.insert(item, handoff.handles().to_vec());
        }
        Ok(Some(handoff))
    }

    /// The only one, so many times.
    pub(crate) fn repeated(self, times: usize) -> Arguments {
        let ends = (1..=times).map(|time| time * self.bytes.len()).collect();
        let handles = self.handles.get(&0);
        Arguments {
            ends,
            handles: handles
                .map(|handles| (0..times).map(|item| (item, handles.clone())).collect())
                .unwrap_or_default(),
            bytes: self.bytes.repeat(times),
        }
    }

    fn forget_handles(&mut self, item: usize) {
        if !self.handles.is_empty() {
            self.handles.remove(&item);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn has_handles(&self) -> bool {
        !self.handles.is_empty()
    }

    fn start(&self, item: usize) -> usize {
        if item == 0 { 0 } else { self.ends[item - 1] }
    }

    /// The items of a task.
    fn get(&self, items: Range<usize>) -> &[u8] {
        &self.bytes[self.start(items.start)..self.start(items.end)]
    }
}

/// What is sent of a task.
pub(crate) struct Payload<'a> {
    /// Where each of several items ends; empty where there is one.
    pub(crate) ends: &'a [usize],
    /// Where the first of them begins.
    pub(crate) base: usize,
    pub(crate) bytes: &'a [u8],
    pub(crate) handles: Option<&'a Handles>,
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
pub(crate) type Callback = Box<dyn FnOnce(Job) + Send>;

/// What has become of a task.
#[derive(Debug)]
enum Settled {
    Not,
    /// Its encoded result lies there among the results.
    Returned {
        start: usize,
        end: usize,
    },
    /// Boxed, since it is rare and large, and there may be a million tasks.
    Failed(Box<TaskError>),
}

/// The tasks of one call: each an item, or some that follow each other.
pub(crate) struct Job {
    /// The number of their function in this pool.
    pub(crate) function: u32,
    pub(crate) policy: Policy,
    pub(crate) state: Option<State>,
    arguments: Arguments,
    /// Items of a task; the last may have fewer.
    chunk: usize,
    /// Of each item.
    settled: Vec<Settled>,
    results: Vec<u8>,
    handles: BTreeMap<usize, Handles>,
    /// Items that are not settled.
    open: usize,
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
    /// Items that have an error.
    errors: usize,
}

impl Job {
    /// A job whose tasks are `chunk` items each.
    pub(crate) fn new(function: u32, arguments: Arguments, policy: Policy, chunk: usize) -> Job {
        let open = arguments.len();
        let mut settled = Vec::with_capacity(open);
        settled.resize_with(open, || Settled::Not);
        let chunk = match policy.is_by_item() || arguments.has_handles() {
            true => 1,
            false => chunk,
        };
        Job {
            function,
            policy,
            state: None,
            arguments,
            chunk,
            settled,
            results: Vec::new(),
            handles: BTreeMap::new(),
            open,
            failed: BTreeMap::new(),
            final_try: false,
            abandoned: false,
            wakers: Vec::new(),
            callback: None,
            span: span::current(),
            call: 0,
            errors: 0,
        }
    }

    /// How many tasks there are.
    pub(crate) fn tasks(&self) -> usize {
        self.settled.len().div_ceil(self.chunk)
    }

    /// The items of a task.
    pub(crate) fn items_of(&self, task: usize) -> Range<usize> {
        let start = task * self.chunk;
        start..(start + self.chunk).min(self.settled.len())
    }

    pub(crate) fn is_settled(&self, task: usize) -> bool {
        !matches!(self.settled[task * self.chunk], Settled::Not)
    }

    /// Whether every task is settled.
    pub(crate) fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Whether some item has an error, and not that it was cancelled.
    pub(crate) fn has_error(&self) -> bool {
        self.settled.iter().any(
            |settled| matches!(settled, Settled::Failed(error) if **error != TaskError::Cancelled),
        )
    }

    /// Whether every item has a result.
    pub(crate) fn is_successful(&self) -> bool {
        self.settled
            .iter()
            .all(|settled| matches!(settled, Settled::Returned { .. }))
    }

    /// How many items are not settled.
    pub(crate) fn open(&self) -> usize {
        self.open
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
                _ => &arguments.ends[items.clone()],
            },
            base: arguments.start(items.start),
            bytes: arguments.get(items.clone()),
            handles: match self.chunk {
                1 => arguments.handles.get(&task),
                _ => None,
            },
        }
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
        self.settled.len()
    }

    /// How many items have a result, and how many an error.
    pub(crate) fn settled(&self) -> (usize, usize) {
        (self.settled.len() - self.open - self.errors, self.errors)
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

    /// An item returned: `append` appends its encoded result.
    pub(crate) fn returned(
        &mut self,
        item: usize,
        handles: Handles,
        append: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.results.len();
        append(&mut self.results);
        let end = self.results.len();
        if !handles.is_empty() {
            self.handles.insert(item, handles);
        }
        self.settle(item, Settled::Returned { start, end });
    }

    /// As [`returned`](Self::returned), where `append` may find that it is not so, and append nothing.
    #[inline]
    pub(crate) fn returned_if(
        &mut self,
        item: usize,
        append: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let start = self.results.len();
        if !append(&mut self.results) {
            return false;
        }
        let end = self.results.len();
        self.settle(item, Settled::Returned { start, end });
        true
    }

    /// Whether a task is one item.
    pub(crate) fn is_single(&self) -> bool {
        self.chunk == 1
    }

    pub(crate) fn failed(&mut self, item: usize, error: TaskError) {
        self.errors += 1;
        self.settle(item, Settled::Failed(Box::new(error)));
    }

    /// Settles every open item so, but those of some tasks.
    pub(crate) fn fail_open_but(&mut self, error: &TaskError, but: &[usize]) {
        for item in 0..self.settled.len() {
            if matches!(self.settled[item], Settled::Not) && !but.contains(&(item / self.chunk)) {
                self.failed(item, error.clone());
            }
        }
    }

    fn settle(&mut self, item: usize, how: Settled) {
        // Whoever waits for the last copy of a descriptor to be closed waits for this.
        self.arguments.forget_handles(item);
        let place = &mut self.settled[item];
        debug_assert!(matches!(place, Settled::Not), "a task is settled once");
        *place = how;
        self.open -= 1;
    }

    /// The results of all tasks, in order.
    pub(crate) fn into_results<R: DeserializeOwned>(
        mut self,
    ) -> impl ExactSizeIterator<Item = Result<R, TaskError>> {
        self.settled
            .into_iter()
            .enumerate()
            .map(move |(item, settled)| match settled {
                Settled::Returned { start, end } => {
                    let handles = match self.handles.is_empty() {
                        true => Handles::new(),
                        false => self.handles.remove(&item).unwrap_or_default(),
                    };
                    decode(&self.results[start..end], handles).map_err(TaskError::Decode)
                }
                Settled::Failed(error) => Err(*error),
                Settled::Not => Err(TaskError::Cancelled),
            })
    }
}
