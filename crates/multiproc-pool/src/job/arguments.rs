//! What the tasks of a call are called with, encoded.

use std::collections::BTreeMap;
use std::ops::Range;

use multiproc_sys::map;
use multiproc_wire::handoff::Lender;
use multiproc_wire::{Encoder, Handoff};
use serde::Serialize;

use super::spare::MOST;
use super::{Given, MANY, MAX_BYTES, MAX_HANDLES, USUAL};
use crate::error::TaskError;
use crate::protocol::LONG;

/// The arguments of some tasks, one after the other.
#[derive(Default)]
pub(super) struct Arguments {
    /// Each behind its length, or [`LONG`].
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// Whether one is long.
    long: bool,
    handles: BTreeMap<usize, Given>,
    lender: Option<&'static Lender>,
}

impl Arguments {
    /// Makes room for so many.
    pub(super) fn reserve(&mut self, items: usize) {
        map::reserve(&mut self.ends, items);
        if items >= MANY {
            map::reserve(&mut self.bytes, items * USUAL);
        }
    }

    /// See [`Job::lend`](super::Job::lend).
    pub(super) fn lend(&mut self, lender: Option<&'static Lender>) {
        self.lender = lender;
    }

    /// Forgets all. Whether what is left takes little enough memory to be kept.
    pub(super) fn clear(&mut self) -> bool {
        self.bytes.clear();
        self.ends.clear();
        self.long = false;
        self.handles.clear();
        self.bytes.capacity() <= MOST && self.ends.capacity() * size_of::<usize>() <= MOST
    }

    /// See [`Job::add`](super::Job::add).
    pub(super) fn add<T: Serialize + ?Sized>(
        &mut self,
        argument: &T,
    ) -> Result<Option<Handoff>, TaskError> {
        let start = self.bytes.len();
        self.bytes.push(LONG);
        let mut handoff = self.encode(argument, self.lender)?;
        if handoff.handles().len() > MAX_HANDLES && self.lender.is_some() {
            // Some of them may be of what is lent. What moves is here again, to be encoded anew.
            drop(handoff);
            self.bytes.truncate(start + 1);
            handoff = self.encode(argument, None)?;
        }
        let item = self.ends.len();
        let length = self.bytes.len() - start - 1;
        match u8::try_from(length) {
            Ok(short) if short < LONG => self.bytes[start] = short,
            _ => self.long = true,
        }
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
            self.handles.insert(item, Given::of(&mut handoff));
        }
        // What moves nothing is to be told nothing.
        Ok(handoff.moves().then_some(handoff))
    }

    #[inline]
    fn encode<T: Serialize + ?Sized>(
        &mut self,
        argument: &T,
        lender: Option<&'static Lender>,
    ) -> Result<Handoff, TaskError> {
        let mut encoder = Encoder::new(&mut self.bytes).lending(lender);
        encoder.encode(argument).map_err(TaskError::Encode)?;
        Ok(encoder.finish())
    }

    /// The only one, so many times.
    pub(super) fn repeated(&self, times: usize) -> Arguments {
        let ends = (1..=times).map(|time| time * self.bytes.len()).collect();
        let handles = self.handles.get(&0);
        Arguments {
            ends,
            handles: handles
                .map(|given| (0..times).map(|item| (item, given.clone())).collect())
                .unwrap_or_default(),
            bytes: self.bytes.repeat(times),
            long: self.long,
            lender: self.lender,
        }
    }

    #[inline]
    pub(super) fn forget_handles(&mut self, item: usize) {
        if !self.handles.is_empty() {
            self.handles.remove(&item);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn has_handles(&self) -> bool {
        !self.handles.is_empty()
    }

    pub(super) fn start(&self, item: usize) -> usize {
        if item == 0 { 0 } else { self.ends[item - 1] }
    }

    /// Some items, each behind its length or [`LONG`].
    pub(super) fn get(&self, items: Range<usize>) -> &[u8] {
        &self.bytes[self.start(items.start)..self.start(items.end)]
    }

    /// Where some items end.
    pub(super) fn ends(&self, items: Range<usize>) -> &[usize] {
        &self.ends[items]
    }

    pub(super) fn handles_of(&self, item: usize) -> Option<&Given> {
        match self.handles.is_empty() {
            true => None,
            false => self.handles.get(&item),
        }
    }

    /// Whether an item is short and has no handles.
    fn is_plain(&self, item: usize) -> bool {
        self.bytes[self.start(item)] < LONG && self.handles_of(item).is_none()
    }

    /// How many of those items, from the first on, are short and have no handles.
    pub(super) fn plain(&self, mut items: Range<usize>) -> usize {
        let all = items.len();
        if !self.long && self.handles.is_empty() {
            return all;
        }
        let first = items.start;
        items
            .find(|item| !self.is_plain(*item))
            .map_or(all, |found| found - first)
    }
}
