//! A task: its function found, called, and its end told. A task of several items is the same for each.

use multiproc_process::function::{Callable, Outcome, PanicReport};
use multiproc_shm::bulk::LENDER;
use multiproc_sys::clock::Deadline;
use multiproc_wire::handoff::{Lender, Offers};
use multiproc_wire::{Decoder, Encoder, Failure, Handoff, encode};

use super::orders::malformed;
use super::{Worker, kept, remembered};
use crate::job::{Handles, MAX_HANDLES};
use crate::protocol::{
    ARGUMENTS_LOST, CHUNK, CHUNK_HEADER, FOLLOWS, HANDLES, NAMED, PANICKED, RESULT_LOST, RETURNED,
    RUN,
};

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
            return self.work_on(function, u32::from_le_bytes(*ticket), argument);
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

    /// The function of that number, or why it is not here.
    fn function(&self, number: u32) -> Result<Result<Callable, String>, Failure> {
        let function = self.functions.get(number as usize);
        function.cloned().flatten().ok_or_else(malformed)
    }

    /// Notes when a task begins, where that is to be said.
    pub(super) fn begin(&mut self) {
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
        self.make_room();
        self.asked.begin(ticket);
        let (kind, handoff) = {
            let _in_span = self.span.enter();
            call(callable, argument, offers, self.lender, &mut self.result)?
        };
        self.asked.end();
        match kind == RETURNED {
            true => self.returned(ticket, handoff),
            false => self.answer_with(kind, ticket, handoff),
        }
    }

    /// For a result, and before it for its length where it goes without a record.
    pub(super) fn make_room(&mut self) {
        self.result.clear();
        self.result.push(0);
    }

    /// A task has returned what is there as its result.
    #[inline]
    pub(super) fn returned(&mut self, ticket: [u8; 4], handoff: Handoff) -> Result<(), Failure> {
        if handoff.is_empty() && self.answer_shortly() {
            return Ok(());
        }
        self.answer_with(RETURNED, ticket, handoff)
    }

    /// Tells what is there as a task's result, or of what went wrong.
    pub(super) fn answer_with(
        &mut self,
        kind: u16,
        ticket: [u8; 4],
        handoff: Handoff,
    ) -> Result<(), Failure> {
        // Most hand over nothing, and a vector of nothing allocates nothing.
        let handoffs = match handoff.is_empty() {
            true => Vec::new(),
            false => vec![handoff],
        };
        let result = std::mem::take(&mut self.result);
        self.answer(kind, ticket, &result[1..], handoffs)?;
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
            call_each(callable, items, self.lender, &mut result)?
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
    lender: Option<&'static Lender>,
    result: &mut Vec<u8>,
) -> Result<(u16, Handoff), Failure> {
    let before = result.len();
    let arguments = Decoder::new(argument, offers).lending(&LENDER);
    let mut results = Encoder::new(result).lending(lender);
    let outcome = callable.call(PanicReport::Quiet, arguments, &mut results);
    let handoff = results.finish();
    match outcome {
        Outcome::Returned => Ok((RETURNED, handoff)),
        outcome => Ok((describe(outcome, before, result)?, Handoff::default())),
    }
}

/// Puts what went wrong with a task in the place of its result, which begins there. Which of them it is.
pub(super) fn describe(
    outcome: Outcome,
    place: usize,
    result: &mut Vec<u8>,
) -> Result<u16, Failure> {
    result.truncate(place);
    let (kind, why) = match outcome {
        Outcome::Panicked(panic) => {
            let _no_handles: Handoff = encode(&panic, result)?;
            return Ok(PANICKED);
        }
        Outcome::ArgumentsLost(why) => (ARGUMENTS_LOST, why),
        Outcome::ResultLost(why) => (RESULT_LOST, why),
        Outcome::Returned => return Ok(RETURNED),
    };
    result.extend_from_slice(why.as_bytes());
    Ok(kind)
}

/// Calls a function with each item of a chunk, and appends what became of each.
fn call_each(
    callable: Callable,
    items: &[u8],
    lender: Option<&'static Lender>,
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
        let (mut kind, mut handoff) = call(callable, argument, Offers::default(), lender, results)?;
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
