//! Several tasks that came in one record: claimed, done and told of one by one, of one call for all.

use multiproc_process::function::{Batch, Callable, Outcome, PanicReport};
use multiproc_wire::handoff::Lender;
use multiproc_wire::{Failure, Handoff};

use super::Worker;
use super::orders::malformed;
use super::work::describe;
use crate::protocol::{ARGUMENTS_LOST, RETURNED, RUN_HEADER, TASK_HEADER};
use crate::view::span::Entered;

/// So many answers are published before whoever waits for them is told, at least: a look at whether somebody
/// does is a fence, some ten nanoseconds, which is then nothing beside the tasks.
const LEAST_UNTOLD: u32 = 32;

/// And at most, where there is more to do than this record: whoever is told later wakes less often for the same.
const MOST_UNTOLD: u32 = 128;

/// Tasks of one record.
struct Run<'a, 'w> {
    worker: &'w mut Worker,
    /// The ticket of the first.
    first: u32,
    /// The arguments of those that are left.
    rest: &'a [u8],
    /// Of the task that was claimed last.
    ticket: [u8; 4],
    in_span: Option<Entered>,
    /// Why the worker cannot go on.
    failure: Option<Failure>,
}

impl Worker {
    /// Does several tasks of which the first has that ticket, one by one, until none is left to claim.
    pub(super) fn work_on(
        &mut self,
        function: Result<Callable, String>,
        first: u32,
        arguments: &[u8],
    ) -> Result<(), Failure> {
        let rest = arguments.get(RUN_HEADER - TASK_HEADER..);
        let mut run = Run {
            worker: self,
            first,
            rest: rest.ok_or_else(malformed)?,
            ticket: [0; 4],
            in_span: None,
            failure: None,
        };
        match function {
            Ok(callable) => callable.run(PanicReport::Quiet, &mut run),
            Err(why) => {
                while run.claim().is_some() {
                    let told = run.worker.put(ARGUMENTS_LOST, &run.ticket, why.as_bytes());
                    run.failure = told.err();
                }
            }
        }
        let failure = run.failure;
        self.asked.end();
        failure.map_or(Ok(()), Err)
    }
}

impl<'a> Run<'a, '_> {
    /// The argument of the next task that is not taken back, which is then this worker's.
    #[inline]
    fn claim(&mut self) -> Option<&'a [u8]> {
        if self.failure.is_some() {
            return None;
        }
        let untold = self.worker.untold;
        if untold >= LEAST_UNTOLD && (untold >= MOST_UNTOLD || !self.worker.tasks.has_news()) {
            self.worker.tell();
        }
        let index = self.worker.claiming.claim(&self.worker.lane.claims())?;
        self.ticket = self.first.wrapping_add(u32::from(index)).to_le_bytes();
        let split = self.rest.split_first();
        let split = split.and_then(|(length, rest)| rest.split_at_checked((*length).into()));
        let Some((argument, rest)) = split else {
            self.failure = Some(malformed());
            return None;
        };
        self.rest = rest;
        Some(argument)
    }

    /// A task is told of, or not. What is rare is apart from what is done for each task.
    #[cold]
    fn go_on(&mut self, told: Result<(), Failure>) {
        self.failure = told.and_then(|()| self.worker.weigh()).err();
    }
}

impl<'a> Batch<'a> for Run<'a, '_> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let argument = self.claim()?;
        self.worker.begin();
        self.worker.make_room();
        self.worker.asked.begin(self.ticket);
        self.in_span = Some(self.worker.span.enter());
        Some(argument)
    }

    fn lender(&self) -> Option<&'static Lender> {
        self.worker.lender
    }

    fn result(&mut self) -> &mut Vec<u8> {
        &mut self.worker.result
    }

    fn returned(&mut self, handoff: Handoff) {
        self.in_span = None;
        let told = handoff.is_empty() && self.worker.answer_shortly();
        if told && !self.worker.is_weighed() {
            return;
        }
        let told = match told {
            true => Ok(()),
            false => self.worker.answer_with(RETURNED, self.ticket, handoff),
        };
        self.go_on(told);
    }

    fn failed(&mut self, outcome: Outcome) {
        self.in_span = None;
        let told = describe(outcome, 1, &mut self.worker.result).and_then(|kind| {
            self.worker
                .answer_with(kind, self.ticket, Handoff::default())
        });
        self.go_on(told);
    }
}
