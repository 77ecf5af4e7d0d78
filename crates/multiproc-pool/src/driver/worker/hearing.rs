//! What a worker says, and whether that can be so.

use std::ops::Range;

use multiproc_shm::Block;
use multiproc_shm::ring::Record;
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Incoming, Link, decode};

use super::Worker;
use crate::error::TaskError;
use crate::job::{Handles, Job};
use crate::protocol::{
    ARGUMENTS_LOST, CHUNK, CHUNK_HEADER, HANDLES, HANDLES_FRAME, PANICKED, READY, RESULT_HEADER,
    RESULT_LOST, RETURNED, TIRED,
};
use crate::view::TaskOutcome;
use crate::view::recorder::Stamps;

/// What a worker has said.
pub(crate) enum Heard<'a> {
    Ready,
    /// It has more memory in use than it may.
    Tired,
    Answer(Answer<'a>),
    /// There are short answers that come before the next record.
    Short,
}

/// What a worker has said of a task.
pub(crate) struct Answer<'a> {
    kind: u16,
    /// Behind the ticket: the result, or what went wrong.
    body: &'a [u8],
    ticket: u32,
    /// Or why they were lost.
    handles: Result<Handles, String>,
    /// When the task began and ended, where the worker was asked to say so.
    stamps: Option<Stamps>,
}

impl Worker {
    /// What the worker has said next in a record; its oldest task has that ticket.
    ///
    /// # Errors
    /// Where that is nothing a worker says.
    pub(in crate::driver) fn hear(
        &mut self,
        oldest: Option<u32>,
    ) -> Result<Option<Heard<'_>>, String> {
        if self.distrusted.is_some() {
            return Ok(None);
        }
        let tag = loop {
            let Some(record) = self.results.peek().map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let tag = record.tag();
            if let Some(ticket) = ticket_of(&record)
                && oldest != Some(ticket)
                && self.items.look()
            {
                return Ok(Some(Heard::Short));
            }
            let whole = self
                .incoming
                .add(&record)
                .map_err(|error| error.to_string())?;
            if record.advance() {
                self.results.wake_producer();
            }
            if whole {
                break tag;
            }
        };
        let heard = understand(tag, self.incoming.message(), &self.link, self.seen.stamped)?;
        if matches!(heard, Heard::Ready) {
            self.ready = true;
            self.seen.ready();
        }
        Ok(Some(heard))
    }

    /// Looks for short answers, all that are there now. What comes while they are taken in is for the next look: who looked after
    /// each few would find a few more each time, and take the line on which the worker writes away from it.
    pub(in crate::driver) fn look_for_short_answers(&mut self) {
        self.items.look();
    }

    /// How many of the short answers that were seen may be taken, if the worker's oldest task has that ticket, before what
    /// is said in a record has its turn. `None` where there is none.
    pub(in crate::driver) fn short_answers(&mut self, oldest: u32) -> Option<usize> {
        // Whatever was said before the look is seen below.
        if self.distrusted.is_some() || !self.items.has_seen() {
            return None;
        }
        // What cannot be is found again by `hear`.
        let Ok(Some(record)) = self.results.peek() else {
            return Some(usize::MAX);
        };
        match ticket_of(&record) {
            Some(ticket) => usize::try_from(ticket.wrapping_sub(oldest)).ok(),
            None => Some(0),
        }
    }

    /// Takes short answers in, as many as there are places, as [`ItemConsumer::take`] has it.
    ///
    /// [`ItemConsumer::take`]: multiproc_shm::ring::ItemConsumer::take
    #[inline]
    pub(in crate::driver) fn take_short(
        &mut self,
        buffer: &mut Vec<u8>,
        places: &mut [u64],
    ) -> Result<usize, String> {
        self.items
            .take(buffer, places)
            .map_err(|corrupt| corrupt.to_string())
    }

    /// Stops listening to a worker that broke the protocol, and ends it.
    pub(in crate::driver) fn distrust(&mut self, why: &str) {
        self.distrusted.get_or_insert_with(|| why.to_string());
        self.kill();
    }

    pub(in crate::driver) fn has_news(&self) -> bool {
        self.distrusted.is_none() && (self.results.has_news() || self.items.available() > 0)
    }
}

/// The ticket of the answer that begins with a record.
fn ticket_of(record: &Record<'_, Block>) -> Option<u32> {
    let mut ticket = [0; RESULT_HEADER];
    let is_notice = matches!(record.tag(), READY | TIRED);
    let known = !is_notice && record.is_first() && record.copy_to(&mut ticket);
    known.then(|| u32::from_le_bytes(ticket))
}

/// What a record of that tag and these bytes says. `stamped`: an answer ends with when its task began and ended.
pub(crate) fn understand<'a>(
    tag: u16,
    message: &'a [u8],
    link: &Link,
    stamped: bool,
) -> Result<Heard<'a>, String> {
    let kind = tag & !HANDLES;
    if kind == READY {
        return Ok(Heard::Ready);
    }
    if kind == TIRED {
        return Ok(Heard::Tired);
    }
    let odd = || "it said what no worker says".to_string();
    let chunk = const { RETURNED | CHUNK };
    if !matches!(kind, RETURNED | PANICKED | ARGUMENTS_LOST | RESULT_LOST) && kind != chunk {
        return Err(odd());
    }
    let (ticket, body) = message
        .split_first_chunk::<RESULT_HEADER>()
        .ok_or_else(odd)?;
    let (body, stamps) = match stamped {
        false => (body, None),
        true => {
            let (body, stamps) = body.split_last_chunk().ok_or_else(odd)?;
            (body, Some(Stamps::from_bytes(*stamps)))
        }
    };
    let handles = match tag & HANDLES {
        0 => Ok(Handles::new()),
        _ => take_handles(link, *ticket),
    };
    Ok(Heard::Answer(Answer {
        kind,
        body,
        ticket: u32::from_le_bytes(*ticket),
        handles,
        stamps,
    }))
}

impl Answer<'_> {
    pub(crate) fn ticket(&self) -> u32 {
        self.ticket
    }

    pub(in crate::driver) fn is_panic(&self) -> bool {
        self.kind == PANICKED
    }

    /// Whether the worker has taken in the handles of the task, as far as can be told.
    pub(in crate::driver) fn had_handles(&self) -> bool {
        self.kind != ARGUMENTS_LOST
    }

    pub(in crate::driver) fn stamps(&self) -> Option<Stamps> {
        self.stamps
    }

    pub(in crate::driver) fn outcome(&self) -> TaskOutcome {
        match self.kind & !CHUNK {
            RETURNED => TaskOutcome::Returned,
            PANICKED => TaskOutcome::Panicked,
            _ => TaskOutcome::Failed,
        }
    }

    /// Settles the task.
    pub(crate) fn deliver(self, job: &mut Job, task: usize) {
        let items = job.items_of(task);
        if self.kind & CHUNK != 0 {
            return self.deliver_each(job, items);
        }
        match self.handles {
            Ok(handles) if items.len() == 1 => {
                settle(job, items.start, self.kind, self.body, handles);
            }
            Ok(_) if self.kind != RETURNED => {
                for item in items {
                    settle(job, item, self.kind, self.body, Handles::new());
                }
            }
            Ok(_) => fail(job, items, "it came for one item only"),
            Err(why) => fail(job, items, &why),
        }
    }

    /// Settles each item of a task of several.
    fn deliver_each(self, job: &mut Job, items: Range<usize>) {
        let mut handles = match self.handles {
            Ok(handles) => handles.into_iter(),
            Err(why) => return fail(job, items, &why),
        };
        let mut rest = self.body;
        for item in items.clone() {
            let found = rest.split_first_chunk::<CHUNK_HEADER>().and_then(
                |([kind, own, length @ ..], rest)| {
                    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                    let (body, rest) = rest.split_at_checked(length)?;
                    let own: Handles = handles.by_ref().take(usize::from(*own)).collect();
                    Some((u16::from(*kind), own, body, rest))
                },
            );
            let Some((kind, own, body, behind)) = found else {
                return fail(job, item..items.end, "it came for fewer items");
            };
            settle(job, item, kind, body, own);
            rest = behind;
        }
    }
}

/// Settles an item as the worker says.
fn settle(job: &mut Job, item: usize, kind: u16, body: &[u8], handles: Handles) {
    let text = || String::from_utf8_lossy(body).into_owned();
    let error = match kind {
        RETURNED => return job.returned(item, handles, body),
        PANICKED => match decode(body, Vec::new()) {
            Ok(panic) => TaskError::Panicked(panic),
            Err(error) => TaskError::Decode(error),
        },
        ARGUMENTS_LOST => TaskError::ArgumentsLost(text()),
        _ => TaskError::ResultLost(text()),
    };
    job.failed(item, error);
}

fn fail(job: &mut Job, items: Range<usize>, why: &str) {
    for item in items {
        job.failed(item, TaskError::ResultLost(why.to_string()));
    }
}

/// The handles of an answer, which were sent before it. Those of an answer before that were lost are passed over.
fn take_handles(link: &Link, ticket: [u8; 4]) -> Result<Handles, String> {
    loop {
        match link.receive(Deadline::now()) {
            Ok(Incoming::Frame {
                kind: HANDLES_FRAME,
                body,
                handles,
            }) if body == ticket => {
                return Ok(handles);
            }
            Ok(Incoming::Frame { .. }) => {}
            Ok(_) => return Err("its handles did not come".to_string()),
            Err(error) => return Err(error.to_string()),
        }
    }
}
