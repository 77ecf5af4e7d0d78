//! The tasks of one call, encoded, and what has become of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;

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

    fn forget_handles(&mut self, item: usize) {
        if !self.handles.is_empty() {
            self.handles.remove(&item);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, item: usize) -> (&[u8], Option<&Handles>) {
        let start = if item == 0 { 0 } else { self.ends[item - 1] };
        (&self.bytes[start..self.ends[item]], self.handles.get(&item))
    }
}

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

/// The tasks of one call.
pub(crate) struct Job {
    /// The number of their function in this pool.
    pub(crate) function: u32,
    arguments: Arguments,
    settled: Vec<Settled>,
    results: Vec<u8>,
    handles: BTreeMap<usize, Handles>,
    open: usize,
    /// Nobody will ask for the results.
    pub(crate) abandoned: bool,
    /// Who awaits them: none or one.
    pub(crate) wakers: Vec<Waker>,
}

impl Job {
    pub(crate) fn new(function: u32, arguments: Arguments) -> Job {
        let open = arguments.len();
        let mut settled = Vec::with_capacity(open);
        settled.resize_with(open, || Settled::Not);
        Job {
            function,
            arguments,
            settled,
            results: Vec::new(),
            handles: BTreeMap::new(),
            open,
            abandoned: false,
            wakers: Vec::new(),
        }
    }

    /// How many tasks there are.
    pub(crate) fn items(&self) -> usize {
        self.settled.len()
    }

    pub(crate) fn is_settled(&self, item: usize) -> bool {
        !matches!(self.settled[item], Settled::Not)
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

    pub(crate) fn argument(&self, item: usize) -> (&[u8], Option<&Handles>) {
        self.arguments.get(item)
    }

    /// A task returned: `append` appends its encoded result.
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

    pub(crate) fn failed(&mut self, item: usize, error: TaskError) {
        self.settle(item, Settled::Failed(Box::new(error)));
    }

    /// Settles every open task so, but those.
    pub(crate) fn fail_open_but(&mut self, error: &TaskError, but: &[usize]) {
        for item in 0..self.settled.len() {
            if matches!(self.settled[item], Settled::Not) && !but.contains(&item) {
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
