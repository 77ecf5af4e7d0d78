//! The worker's side: takes tasks from its ring, calls their functions, puts the results into the other.
//!
//! It runs as the function of a process of the crate `multiproc-process`, which sees to its start, its end
//! with its parent, and its panics.

use multiproc_process::function::{Callable, FunctionRef, Outcome, PanicReport};
use multiproc_shm::ring::{Assembler, Consumer, Outgoing, Producer, Spin};
use multiproc_shm::{Bells, Block, Lane};
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;
use multiproc_sys::handle::OwnedHandle;
use multiproc_wire::{
    Decoder, Descriptor, Encoder, Failure, Frame, Handoff, Incoming, Link, Panic, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::job::{Handles, MAX_BYTES, MAX_HANDLES};
use crate::protocol::{
    ANNOUNCE, ARGUMENTS_LOST, CALLER, DISCARD, EXIT, HANDLES, HANDLES_FRAME, PANICKED, PING, READY,
    RESULT_HEADER, RESULT_LOST, RETURNED, TASK, TASK_HEADER, WATCHER,
};

/// What a worker is given at its start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) lane: Lane,
    pub(crate) bells: Bells,
    pub(crate) link: Descriptor,
    pub(crate) initializer: Option<Initializer>,
}

/// What each worker calls before it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Initializer {
    pub(crate) function: FunctionRef,
    /// Encoded.
    pub(crate) argument: Vec<u8>,
    pub(crate) handles: Vec<Descriptor>,
}

impl Initializer {
    fn run(self) -> Result<(), Failure> {
        let callable = self.function.resolve()?;
        let handles = self
            .handles
            .into_iter()
            .map(Descriptor::into_shared)
            .collect();
        let mut result = Vec::new();
        let mut results = Encoder::new(&mut result);
        let argument = Decoder::new(&self.argument, handles);
        match callable.call(PanicReport::Quiet, argument, &mut results) {
            Outcome::Returned => Ok(()),
            Outcome::Panicked(panic) => {
                Err(format!("the initializer {}", panic_in_short(&panic)).into())
            }
            Outcome::ArgumentsLost(why) | Outcome::ResultLost(why) => {
                Err(format!("the initializer could not be called: {why}").into())
            }
        }
    }
}

fn panic_in_short(panic: &Panic) -> String {
    let place = panic.location.as_deref().unwrap_or("an unknown place");
    format!("panicked at {place}: {}", panic.message)
}

/// The worker's function. What it cannot go on without it panics about, for its parent to hear of.
pub(crate) fn run(setup: Setup) {
    if let Err(failure) = serve(setup) {
        panic!("{failure:#}");
    }
}

fn serve(mut setup: Setup) -> Result<(), Failure> {
    let initializer = setup.initializer.take();
    let mut worker = Worker::new(setup)?;
    initializer.map_or(Ok(()), Initializer::run)?;
    worker.put(READY, &[], &[])?;
    while let Some(order) = worker.next()? {
        match order {
            Order::Announce(body) => worker.learn(&body)?,
            Order::Ping => worker.put(READY, &[], &[])?,
            Order::Discard(ticket) => worker.discard(ticket)?,
            Order::Task { body, handles } => {
                worker.work(&body, handles)?;
                worker.body = kept(body);
            }
        }
    }
    Ok(())
}

struct Worker {
    /// Keeps the death word's memory in use.
    _lane: Lane,
    bells: Bells,
    link: Link,
    tasks: Consumer<Block>,
    results: Producer<Block>,
    incoming: Assembler,
    functions: Vec<Option<Result<Callable, String>>>,
    /// The ticket of the last handles that came.
    last_frame: Option<u32>,
    /// Kept for the next argument and the next result.
    body: Vec<u8>,
    result: Vec<u8>,
    spin: Spin,
}

enum Order {
    Announce(Vec<u8>),
    Ping,
    Discard([u8; 4]),
    Task { body: Vec<u8>, handles: bool },
}

/// A record that its sender could not have written.
fn malformed() -> Failure {
    Failure::from("the parent sent what no parent sends")
}

impl Worker {
    fn new(setup: Setup) -> Result<Worker, Failure> {
        let Setup {
            lane,
            bells,
            link,
            initializer: _,
        } = setup;
        let link = link
            .into_owned()
            .map_err(|_| "the worker's link is in use elsewhere")?;
        lane.hold_death_word()?;
        let (tasks, results) = lane.worker()?;
        Ok(Worker {
            _lane: lane,
            bells,
            link: Link::from(link),
            tasks,
            results,
            incoming: Assembler::default(),
            functions: Vec::new(),
            last_frame: None,
            body: Vec::new(),
            result: Vec::new(),
            spin: Spin::new(),
        })
    }

    /// Waits for the next order, and makes it this worker's. `None` when there will be none.
    fn next(&mut self) -> Result<Option<Order>, Failure> {
        loop {
            let Some(mut record) = self.tasks.peek()? else {
                self.rest();
                continue;
            };
            let tag = record.tag();
            match tag & !HANDLES {
                EXIT => return Ok(None),
                PING => {
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Ping));
                }
                ANNOUNCE => {
                    let mut body = Vec::with_capacity(record.len());
                    record.append_to(&mut body);
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Announce(body)));
                }
                DISCARD => {
                    let mut ticket = [0; 4];
                    if !record.copy_to(&mut ticket) {
                        return Err(malformed());
                    }
                    if record.advance() {
                        ring_both(&self.bells);
                    }
                    return Ok(Some(Order::Discard(ticket)));
                }
                // One that was taken back meanwhile is passed over by the next look.
                TASK if !record.claim() => {}
                TASK => {
                    let body = self.receive()?;
                    return Ok(Some(Order::Task {
                        body,
                        handles: tag & HANDLES != 0,
                    }));
                }
                _ => return Err(malformed()),
            }
        }
    }

    /// A claimed task, whose first record is the next.
    fn receive(&mut self) -> Result<Vec<u8>, Failure> {
        if let Some(record) = self.tasks.peek()?.filter(|record| !record.has_more()) {
            let mut body = std::mem::take(&mut self.body);
            body.clear();
            record.append_to(&mut body);
            if record.advance() {
                ring_both(&self.bells);
            }
            return Ok(body);
        }
        loop {
            let Some(record) = self.tasks.peek()? else {
                self.rest();
                continue;
            };
            let whole = self.incoming.add(&record)?;
            if record.advance() {
                ring_both(&self.bells);
            }
            if whole {
                return Ok(self.incoming.take());
            }
        }
    }

    /// Sleeps until there is something to look at.
    fn rest(&mut self) {
        let Worker { tasks, spin, .. } = self;
        if spin.until(|| tasks.has_news()) {
            return;
        }
        let park = self.tasks.begin_park();
        if park.sleep || park.wake_peer {
            // The parent wants to know of a worker that has nothing, and of room.
            ring_both(&self.bells);
        }
        if park.sleep {
            futex::wait(
                self.tasks.word(),
                multiproc_shm::ring::PARKED,
                Deadline::NEVER,
            );
            self.tasks.end_park();
        }
    }

    fn learn(&mut self, body: &[u8]) -> Result<(), Failure> {
        let (number, reference) = body.split_first_chunk().ok_or_else(malformed)?;
        let number = u32::from_le_bytes(*number) as usize;
        // The parent counts functions from 0 without gaps.
        if number > MAX_FUNCTIONS {
            return Err(malformed());
        }
        let reference: FunctionRef = decode(reference, Vec::new())?;
        if self.functions.len() <= number {
            self.functions.resize(number + 1, None);
        }
        self.functions[number] = Some(reference.resolve().map_err(|error| error.to_string()));
        Ok(())
    }

    fn work(&mut self, body: &[u8], handles: bool) -> Result<(), Failure> {
        let (ticket, rest) = body
            .split_first_chunk::<RESULT_HEADER>()
            .ok_or_else(malformed)?;
        let (number, argument) = rest.split_first_chunk().ok_or_else(malformed)?;
        const { assert!(TASK_HEADER == 2 * RESULT_HEADER) };
        let number = u32::from_le_bytes(*number) as usize;
        let handles = match handles {
            true => match self.take_handles(*ticket) {
                Ok(handles) => handles,
                Err(why) => return self.put(ARGUMENTS_LOST, ticket, why.message().as_bytes()),
            },
            false => Handles::new(),
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
        let mut result = std::mem::take(&mut self.result);
        result.clear();
        let arguments = Decoder::new(argument, handles);
        let mut results = Encoder::new(&mut result);
        let outcome = callable.call(PanicReport::Quiet, arguments, &mut results);
        let handoff = results.finish();
        match outcome {
            Outcome::Returned => self.answer(*ticket, &result, handoff)?,
            Outcome::Panicked(panic) => {
                result.clear();
                let _no_handles: Handoff = encode(&panic, &mut result)?;
                self.put(PANICKED, ticket, &result)?;
            }
            Outcome::ArgumentsLost(why) => self.put(ARGUMENTS_LOST, ticket, why.as_bytes())?,
            Outcome::ResultLost(why) => self.put(RESULT_LOST, ticket, why.as_bytes())?,
        }
        self.result = kept(result);
        Ok(())
    }

    fn answer(&mut self, ticket: [u8; 4], result: &[u8], handoff: Handoff) -> Result<(), Failure> {
        if result.len() > MAX_BYTES {
            let why = format!(
                "it takes {} bytes, and {MAX_BYTES} is the limit",
                result.len()
            );
            return self.put(RESULT_LOST, &ticket, why.as_bytes());
        }
        if handoff.is_empty() {
            return self.put(RETURNED, &ticket, result);
        }
        let mut tag = RETURNED;
        let count = handoff.handles().len();
        if count > MAX_HANDLES {
            let why = format!("it has {count} handles in it, and {MAX_HANDLES} is the limit");
            return self.put(RESULT_LOST, &ticket, why.as_bytes());
        }
        if count > 0 {
            tag |= HANDLES;
            // There may be no room before the parent has taken what was sent earlier.
            ring_both(&self.bells);
            let frame = Frame {
                kind: HANDLES_FRAME,
                body: &ticket,
                handles: handoff.handles(),
            };
            if let Err(error) = self.link.send(frame, Deadline::NEVER) {
                return self.put(RESULT_LOST, &ticket, error.to_string().as_bytes());
            }
        }
        self.put(tag, &ticket, result)?;
        handoff.sent();
        Ok(())
    }

    /// Takes in the handles up to those of this ticket, and drops them, unless that is done already.
    fn discard(&mut self, ticket: [u8; 4]) -> Result<(), Failure> {
        let number = u32::from_le_bytes(ticket);
        // Tickets wrap around; frames come in their order.
        let done = self
            .last_frame
            .is_some_and(|last| last.wrapping_sub(number) < u32::MAX / 2);
        if !done {
            drop(self.take_handles(ticket)?);
        }
        Ok(())
    }

    /// The handles that came with the task of this ticket. Those of tasks that were taken back came too.
    fn take_handles(&mut self, ticket: [u8; 4]) -> Result<Handles, Failure> {
        loop {
            let Incoming::Frame {
                kind: HANDLES_FRAME,
                body,
                handles,
            } = self.link.receive(Deadline::NEVER)?
            else {
                return Err(malformed());
            };
            let found = *body.first_chunk().ok_or_else(malformed)?;
            self.last_frame = Some(u32::from_le_bytes(found));
            if found == ticket {
                return Ok(handles);
            }
        }
    }

    /// Publishes one answer, and wakes whoever waits for it.
    fn put(&mut self, tag: u16, ticket: &[u8], body: &[u8]) -> Result<(), Failure> {
        if ticket.len() + body.len() <= self.results.max_len()
            && self.results.push(&[ticket, body], tag).is_ok()
        {
            return self.publish();
        }
        let mut outgoing = Outgoing::new([ticket, body].concat(), tag);
        while !outgoing.push(&mut self.results)? {
            self.publish()?;
            let needed = outgoing.next_len(self.results.max_len());
            let park = self.results.begin_park(needed);
            if park.sleep {
                ring_both(&self.bells);
                futex::wait(
                    self.results.word(),
                    multiproc_shm::ring::PARKED,
                    Deadline::NEVER,
                );
                self.results.end_park();
            }
        }
        self.publish()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the callers return it")]
    fn publish(&mut self) -> Result<(), Failure> {
        // The parent sleeps on its bell, not on the ring.
        let _parked: bool = self.results.publish();
        // `publish` has passed the fence.
        self.bells.ring_after_fence(CALLER);
        Ok(())
    }
}

/// A buffer for the next use, unless it has grown beyond what is worth keeping.
fn kept(buffer: Vec<u8>) -> Vec<u8> {
    const MOST: usize = 1 << 20;
    if buffer.capacity() <= MOST {
        buffer
    } else {
        Vec::new()
    }
}

/// More functions than any program has.
const MAX_FUNCTIONS: usize = 1 << 20;

/// For who drives the pool, be it a caller or the pool's own thread.
fn ring_both(bells: &Bells) {
    bells.ring(CALLER);
    bells.ring_after_fence(WATCHER);
}

/// The link's other end as it travels to the worker.
pub(crate) fn travelling(link: Link) -> Descriptor {
    Descriptor::from(OwnedHandle::from(link))
}
