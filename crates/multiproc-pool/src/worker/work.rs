//! A task: its function found, called, and its end told. A task of several items is the same for each.

use multiproc_process::function::{Callable, Outcome, PanicReport};
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Decoder, Encoder, Failure, Handoff, encode};

use super::orders::malformed;
use super::{Worker, kept};
use crate::job::{Handles, MAX_HANDLES};
use crate::protocol::{
    ARGUMENTS_LOST, CHUNK, CHUNK_HEADER, FOLLOWS, HANDLES, PANICKED, RESULT_HEADER, RESULT_LOST,
    RETURNED, TASK_HEADER,
};

/// So many answers are published before whoever waits for them is told, at most: a look at whether somebody
/// does is a fence, some ten nanoseconds, which is then nothing beside the tasks.
const MOST_UNTOLD: u32 = 32;

impl Worker {
    pub(super) fn work(&mut self, body: &[u8], tag: u16) -> Result<(), Failure> {
        if let Some(began) = &mut self.began {
            *began = Deadline::now().nanos();
        }
        let (ticket, rest) = body
            .split_first_chunk::<RESULT_HEADER>()
            .ok_or_else(malformed)?;
        let (number, argument) = rest.split_first_chunk().ok_or_else(malformed)?;
        const { assert!(TASK_HEADER == 2 * RESULT_HEADER) };
        let number = u32::from_le_bytes(*number) as usize;
        let handles = match tag & HANDLES {
            0 => Handles::new(),
            _ => match self.take_handles(*ticket) {
                Ok(handles) => handles,
                Err(why) => return self.put(ARGUMENTS_LOST, ticket, why.message().as_bytes()),
            },
        };
        let function = self
            .functions
            .get(number)
            .cloned()
            .flatten()
            .ok_or_else(malformed)?;
        let callable = match function {
            Ok(callable) => callable,
            Err(why) => return self.put(ARGUMENTS_LOST, ticket, why.as_bytes()),
        };
        // It may take long.
        if tag & FOLLOWS == 0 || self.untold >= MOST_UNTOLD {
            self.tell();
        }
        let mut result = std::mem::take(&mut self.result);
        result.clear();
        self.asked.begin(*ticket);
        let (kind, handoffs) = {
            let _in_span = self.span.enter();
            match tag & CHUNK {
                0 => {
                    let (kind, handoff) = call(callable, argument, handles, &mut result)?;
                    // Most hand over nothing, and a vector of nothing allocates nothing.
                    let handoffs = match handoff.is_empty() {
                        true => Vec::new(),
                        false => vec![handoff],
                    };
                    (kind, handoffs)
                }
                _ => (
                    RETURNED | CHUNK,
                    call_each(callable, argument, &mut result)?,
                ),
            }
        };
        self.asked.end();
        self.answer(kind, *ticket, &result, handoffs)?;
        self.result = kept(result);
        Ok(())
    }
}

/// Calls a function, and appends its encoded result, or what went wrong: which of them it is, and what is handed
/// over.
fn call(
    callable: Callable,
    argument: &[u8],
    handles: Handles,
    result: &mut Vec<u8>,
) -> Result<(u16, Handoff), Failure> {
    let before = result.len();
    let arguments = Decoder::new(argument, handles);
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
        let start = results.len();
        results.extend_from_slice(&[0; CHUNK_HEADER]);
        let (mut kind, mut handoff) = call(callable, argument, Handles::new(), results)?;
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
