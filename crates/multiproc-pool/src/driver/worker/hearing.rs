//! What a worker says, and whether that can be so.

use multiproc_sys::clock::Deadline;
use multiproc_wire::{Incoming, Link, decode};

use super::Worker;
use crate::error::TaskError;
use crate::job::{Handles, Job};
use crate::protocol::{
    ARGUMENTS_LOST, HANDLES, HANDLES_FRAME, PANICKED, READY, RESULT_HEADER, RESULT_LOST, RETURNED,
};

/// What a worker has said.
pub(in crate::driver) enum Heard<'a> {
    Ready,
    Answer(Answer<'a>),
}

/// What a worker has said of a task.
pub(in crate::driver) struct Answer<'a> {
    kind: u16,
    /// Behind the ticket: the result, or what went wrong.
    body: &'a [u8],
    ticket: u32,
    /// Or why they were lost.
    handles: Result<Handles, String>,
}

impl Worker {
    /// What the worker has said next.
    ///
    /// # Errors
    /// Where that is nothing a worker says.
    pub(in crate::driver) fn hear(&mut self) -> Result<Option<Heard<'_>>, String> {
        if self.distrusted.is_some() {
            return Ok(None);
        }
        let tag = loop {
            let Some(record) = self.results.peek().map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let tag = record.tag();
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
        let kind = tag & !HANDLES;
        if kind == READY {
            self.ready = true;
            return Ok(Some(Heard::Ready));
        }
        let odd = || "it said what no worker says".to_string();
        if !matches!(kind, RETURNED | PANICKED | ARGUMENTS_LOST | RESULT_LOST) {
            return Err(odd());
        }
        let (ticket, body) = self
            .incoming
            .message()
            .split_first_chunk::<RESULT_HEADER>()
            .ok_or_else(odd)?;
        let handles = match tag & HANDLES {
            0 => Ok(Handles::new()),
            _ => take_handles(&self.link, *ticket),
        };
        let ticket = u32::from_le_bytes(*ticket);
        Ok(Some(Heard::Answer(Answer {
            kind,
            body,
            ticket,
            handles,
        })))
    }

    /// Stops listening to a worker that broke the protocol, and ends it.
    pub(in crate::driver) fn distrust(&mut self, why: &str) {
        self.distrusted.get_or_insert_with(|| why.to_string());
        self.kill();
    }

    pub(in crate::driver) fn has_news(&self) -> bool {
        self.distrusted.is_none() && self.results.has_news()
    }
}

impl Answer<'_> {
    pub(in crate::driver) fn ticket(&self) -> u32 {
        self.ticket
    }

    /// Settles the task.
    pub(in crate::driver) fn deliver(self, job: &mut Job, item: usize) {
        let text = || String::from_utf8_lossy(self.body).into_owned();
        let error = match self.kind {
            RETURNED => match self.handles {
                Ok(handles) => {
                    let body = self.body;
                    job.returned(item, handles, |results| results.extend_from_slice(body));
                    return;
                }
                Err(why) => TaskError::ResultLost(why),
            },
            PANICKED => match decode(self.body, Vec::new()) {
                Ok(panic) => TaskError::Panicked(panic),
                Err(error) => TaskError::Decode(error),
            },
            ARGUMENTS_LOST => TaskError::ArgumentsLost(text()),
            _ => TaskError::ResultLost(text()),
        };
        job.failed(item, error);
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
