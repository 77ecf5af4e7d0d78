//! A task: its function found, called, and its end told. A task of several items is the same for each.

use multiproc_process::function::{Callable, Outcome, PanicReport};
use multiproc_sys::clock::Deadline;
use multiproc_wire::handoff::Offers;
use multiproc_wire::{Decoder, Encoder, Failure, Handoff, encode};

use super::orders::malformed;
use super::{Worker, kept, remembered};
use crate::job::{Handles, MAX_HANDLES};
use crate::protocol::{
    ARGUMENTS_LOST, CHUNK, CHUNK_HEADER, FOLLOWS, HANDLES, NAMED, PANICKED, RESULT_LOST, RETURNED,
    RUN, RUN_HEADER, TASK_HEADER,
};

/// So many answers are published before whoever waits for them is told, at most: a look at whether somebody
/// does is a fence, some ten nanoseconds, which is then nothing beside the tasks.
const MOST_UNTOLD: u32 = 32;

impl Worker {
    /// Does what came in a record: a task, or as many of several as are not taken back.
    pub(super) fn work(&mut self, body: &[u8], tag: u16) -> Result<(), Failure> {
        let (ticket, rest) = body.split_first_chunk().ok_or_else(malformed)?;
        let (number, mut argument) = rest.split_first_chunk().ok_or_else(malformed)?;
        let function = self.function(u32::from_le_bytes(*number))?;
        if tag & FOLLOWS == 0 {
            // It may take long.
            self.tell();
        }
        if tag & RUN != 0 {
            return self.work_on(&function, u32::from_le_bytes(*ticket), argument);
        }
        self.begin();
        let handles = match tag & HANDLES {
            0 => Handles::new(),
            _ => match self.take_handles(*ticket) {
                Ok(handles) => handles,
                Err(why) => return self.put(ARGUMENTS_LOST, ticket, why.message().as_bytes()),
            },
        };
        let mut offers = Offers::default();
        if tag & NAMED != 0 {
            let (numbers, rest) = remembered::split(argument)?;
            offers = self.remembered.offers(numbers, handles)?;
            argument = rest;
        }
        match function {
            Err(why) => self.put(ARGUMENTS_LOST, ticket, why.as_bytes()),
            Ok(callable) if tag & CHUNK != 0 => self.call_each(callable, *ticket, argument),
            Ok(callable) => self.call(callable, *ticket, argument, offers),
        }?;
        self.weigh()
    }

    /// Does several tasks of which the first has that ticket, one by one, until none is left to claim.
    fn work_on(
        &mut self,
        function: &Result<Callable, String>,
        first: u32,
        items: &[u8],
    ) -> Result<(), Failure> {
        let mut rest = items
            .get(RUN_HEADER - TASK_HEADER..)
            .ok_or_else(malformed)?;
        while let Some(index) = self.lane.claims().claim() {
            let argument;
            let (length, behind) = rest.split_first().ok_or_else(malformed)?;
            (argument, rest) = behind
                .split_at_checked(usize::from(*length))
                .ok_or_else(malformed)?;
            if self.untold >= MOST_UNTOLD {
                self.tell();
            }
            self.begin();
            let ticket = first.wrapping_add(u32::from(index)).to_le_bytes();
            match function {
                Ok(callable) => self.call(*callable, ticket, argument, Offers::default()),
                Err(why) => self.put(ARGUMENTS_LOST, &ticket, why.as_bytes()),
            }?;
            self.weigh()?;
        }
        Ok(())
    }

    /// The function of that number, or why it is not here.
    fn function(&self, number: u32) -> Result<Result<Callable, String>, Failure> {
        let function = self.functions.get(number as usize);
        function.cloned().flatten().ok_or_else(malformed)
    }

    /// Notes when a task begins, where that is to be said.
    fn begin(&mut self) {
        if let Some(began) = &mut self.began {
            *began = Deadline::now().nanos();
        }
    }

    /// Does a task of one item.
    fn call(
        &mut self,
        callable: Callable,
        ticket: [u8; 4],
        argument: &[u8],
        offers: Offers,
    ) -> Result<(), Failure> {
        let mut result = std::mem::take(&mut self.result);
        result.clear();
        // For its length, where it goes without a record.
        result.push(0);
        self.asked.begin(ticket);
        let (kind, handoff) = {
            let _in_span = self.span.enter();
            call(callable, argument, offers, &mut result)?
        };
        self.asked.end();
        let nothing_else = kind == RETURNED && handoff.is_empty();
        if !nothing_else || !self.answer_shortly(&mut result) {
            // Most hand over nothing, and a vector of nothing allocates nothing.
            let handoffs = match handoff.is_empty() {
                true => Vec::new(),
                false => vec![handoff],
            };
            self.answer(kind, ticket, &result[1..], handoffs)?;
        }
        self.result = kept(result);
        Ok(())
    }

    /// Does a task of several items.
    fn call_each(
        &mut self,
        callable: Callable,
        ticket: [u8; 4],
        items: &[u8],
    ) -> Result<(), Failure> {
        let mut result = std::mem::take(&mut self.result);
        result.clear();
        self.asked.begin(ticket);
        let handoffs = {
            let _in_span = self.span.enter();
            call_each(callable, items, &mut result)?
        };
        self.asked.end();
        self.answer(RETURNED | CHUNK, ticket, &result, handoffs)?;
        self.result = kept(result);
        Ok(())
    }
}

/// Calls a function, and appends its encoded result, or what went wrong: which of them it is, and what is handed
/// over.
fn call(
    callable: Callable,
    argument: &[u8],
    offers: Offers,
    result: &mut Vec<u8>,
) -> Result<(u16, Handoff), Failure> {
    let before = result.len();
    let arguments = Decoder::new(argument, offers);
    let mut results = Encoder::new(result);
    let outcome = callable.call(PanicReport::Quiet, arguments, &mut results);
    let handoff = results.finish();
    let (kind, why) = match outcome {
        Outcome::Returned => return Ok((RETURNED, handoff)),
        Outcome::Panicked(panic) => {
            result.truncate(before);
            return Ok((PANICKED, encode(&panic, result)?));
        }
        Outcome::ArgumentsLost(why) => (ARGUMENTS_LOST, why),
        Outcome::ResultLost(why) => (RESULT_LOST, why),
    };
    result.truncate(before);
    result.extend_from_slice(why.as_bytes());
    Ok((kind, Handoff::default()))
}

/// Calls a function with each item of a chunk, and appends what became of each.
fn call_each(
    callable: Callable,
    items: &[u8],
    results: &mut Vec<u8>,
) -> Result<Vec<Handoff>, Failure> {
    let (count, rest) = items.split_first_chunk().ok_or_else(malformed)?;
    let count = u32::from_le_bytes(*count) as usize;
    let (lengths, mut rest) = rest
        .split_at_checked(count.saturating_mul(4))
        .ok_or_else(malformed)?;
    let mut handoffs = Vec::new();
    let mut handles = 0;
    for length in lengths.as_chunks::<4>().0 {
        let argument;
        (argument, rest) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(malformed)?;
        let (_, argument) = argument.split_first().ok_or_else(malformed)?;
        let start = results.len();
        results.extend_from_slice(&[0; CHUNK_HEADER]);
        let (mut kind, mut handoff) = call(callable, argument, Offers::default(), results)?;
        if handles + handoff.handles().len() > MAX_HANDLES {
            results.truncate(start + CHUNK_HEADER);
            let why =
                format!("it has more handles in it, with those before it, than {MAX_HANDLES}");
            results.extend_from_slice(why.as_bytes());
            (kind, handoff) = (RESULT_LOST, Handoff::default());
        }
        let own = handoff.handles().len();
        handles += own;
        let length = u32::try_from(results.len() - start - CHUNK_HEADER)?;
        let header = &mut results[start..start + CHUNK_HEADER];
        header[0] = u8::try_from(kind)?;
        header[1] = u8::try_from(own)?;
        header[2..].copy_from_slice(&length.to_le_bytes());
        if !handoff.is_empty() {
            handoffs.push(handoff);
        }
    }
    Ok(handoffs)
}
