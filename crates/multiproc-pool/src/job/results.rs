//! What has become of each item of a call.
//!
//! Results lie encoded in one buffer, in whatever order they came, each behind its length: one byte, or [`LONG`] and then
//! eight. Of an item there is one word:
//!
//! | word | meaning |
//! |---|---|
//! | 0 | not settled |
//! | a place in the buffer | where it begins, behind the first byte of its length |
//! | [`FAILED`] and a number | that error |

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;

use multiproc_shm::bulk::LENDER_BY_DESCRIPTOR;
use multiproc_sys::map;
use multiproc_wire::Decoder;
use serde::de::DeserializeOwned;

use super::Handles;
use super::spare::MOST;
use super::{MANY, USUAL};
use crate::error::TaskError;
use crate::protocol::LONG;

const FAILED: u64 = 1 << 63;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Results {
    words: Vec<u64>,
    bytes: Vec<u8>,
    handles: BTreeMap<usize, Handles>,
    errors: Vec<TaskError>,
    open: usize,
}

impl Results {
    /// There are so many items, none of which is settled; before, there were none.
    pub(super) fn begin(&mut self, items: usize) {
        if self.words.capacity() < items {
            self.words = map::zeroes(items);
        } else {
            self.words.resize(items, 0);
        }
        // Of many, results of a few bytes each find room without being moved; what they do not fill is not there.
        if items >= MANY {
            map::reserve(&mut self.bytes, items * USUAL);
        }
        self.open = items;
    }

    /// Forgets all. Whether what is left takes little enough memory to be kept.
    pub(super) fn clear(&mut self) -> bool {
        self.words.clear();
        self.bytes.clear();
        self.handles.clear();
        self.errors.clear();
        self.open = 0;
        self.bytes.capacity() <= MOST && self.words.capacity() * size_of::<u64>() <= MOST
    }

    pub(super) fn items(&self) -> usize {
        self.words.len()
    }

    /// How many are not settled.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// In the order in which they came.
    pub(super) fn errors(&self) -> &[TaskError] {
        &self.errors
    }

    pub(super) fn is_settled(&self, item: usize) -> bool {
        self.words[item] != 0
    }

    pub(super) fn failed(&mut self, item: usize, error: TaskError) {
        self.settle(item, FAILED | self.errors.len() as u64);
        self.errors.push(error);
    }

    pub(super) fn returned(&mut self, item: usize, handles: Handles, result: &[u8]) {
        if !handles.is_empty() {
            self.handles.insert(item, handles);
        }
        let place = self.bytes.len() as u64;
        match u8::try_from(result.len()) {
            Ok(short) if short < LONG => self.bytes.push(short),
            _ => {
                self.bytes.push(LONG);
                self.bytes
                    .extend_from_slice(&(result.len() as u64).to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(result);
        self.settle(item, place + 1);
    }

    /// See [`Job::returned_some`](super::Job::returned_some).
    pub(super) fn returned_some<E>(
        &mut self,
        items: Range<usize>,
        take: impl FnOnce(&mut Vec<u8>, &mut [u64]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let words = &mut self.words[items];
        let settled = words.iter().take_while(|word| **word != 0).count();
        if settled > 0 {
            return take(&mut Vec::new(), &mut vec![0; settled]);
        }
        let open = words.iter().take_while(|word| **word == 0).count();
        // Where an item begins is behind its length, and so no place is 0.
        let taken = take(&mut self.bytes, &mut words[..open])?;
        self.open -= taken;
        Ok(taken)
    }

    fn settle(&mut self, item: usize, word: u64) {
        debug_assert!(!self.is_settled(item), "a task is settled once");
        self.words[item] = word;
        self.open -= 1;
    }

    /// All of them, in the order of the items, once. What is not settled was cancelled.
    pub(super) fn decoded<R: DeserializeOwned>(
        &mut self,
    ) -> impl ExactSizeIterator<Item = Result<R, TaskError>> {
        let Results {
            words,
            bytes,
            handles,
            errors,
            ..
        } = self;
        words.iter().enumerate().map(move |(item, &word)| {
            if word == 0 {
                return Err(TaskError::Cancelled);
            }
            if word & FAILED != 0 {
                let error = usize::try_from(word & !FAILED)
                    .ok()
                    .and_then(|number| errors.get_mut(number));
                return Err(error.map_or(TaskError::Cancelled, |error| {
                    mem::replace(error, TaskError::Cancelled)
                }));
            }
            let handles = match handles.is_empty() {
                true => Handles::new(),
                false => handles.remove(&item).unwrap_or_default(),
            };
            let result = result(bytes, word - 1).ok_or_else(|| {
                TaskError::ResultLost("the worker has changed it afterwards".to_string())
            })?;
            let decoder = Decoder::new(result, handles).lending(&LENDER_BY_DESCRIPTOR);
            decoder.only().map_err(TaskError::Decode)
        })
    }
}

/// The result at that place. The length of a short one was read twice, out of memory that the worker can write to, and
/// need not be what it was at first.
#[inline]
fn result(bytes: &[u8], place: u64) -> Option<&[u8]> {
    let (length, rest) = bytes.get(usize::try_from(place).ok()?..)?.split_first()?;
    if *length < LONG {
        return rest.get(..usize::from(*length));
    }
    let (length, rest) = rest.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
}
