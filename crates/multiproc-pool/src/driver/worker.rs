//! One worker, as its parent holds it.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use multiproc_process::{ExitStatus, Process};
use multiproc_shm::ring::{Assembler, Consumer, Outgoing, Position, Producer, PushError};
use multiproc_shm::{Block, Lane};
use multiproc_sys::clock::Deadline;
use multiproc_sys::robust::OWNER_DIED;
use multiproc_wire::{Frame, Incoming, Link, Panic, decode};

use super::Driver;
use crate::error::{Error, Kind, TaskError};
use crate::job::{Handles, Job};
use crate::protocol::{
    ANNOUNCE, ARGUMENTS_LOST, DISCARD, EXIT, HANDLES, HANDLES_FRAME, PANICKED, PING, READY,
    RESULT_HEADER, RESULT_LOST, RETURNED, RING, TASK, TASK_HEADER,
};
use crate::worker::{self, Setup};

/// How a task that was sent is known again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(super) ticket: u32,
    pub(super) position: Position,
    handles: bool,
}

/// A worker and this end of all that leads to it.
pub(super) struct Worker {
    process: Process,
    /// Set when the process has ended and is reaped.
    reaped: Arc<AtomicBool>,
    lane: Lane,
    tasks: Producer<Block>,
    results: Consumer<Block>,
    link: Link,
    incoming: Assembler,
    /// A large task of which a part is in the ring.
    partial: Option<Outgoing<Vec<u8>>>,
    /// Whether the worker knows the function of that number.
    known: Vec<bool>,
    next_ticket: u32,
    /// Until when it is to have begun.
    ready_by: Deadline,
    /// A task that was seen not to be started, and from when on that is too long.
    waiting: Option<(u32, Deadline)>,
    ready: bool,
    dismissed: bool,
    /// Up to that ticket there are handles of tasks that were taken back, of which the worker is to be told.
    discard: Option<u32>,
    /// When it began what it has, or said something last.
    since: Deadline,
    /// Why it is not listened to any more.
    distrusted: Option<String>,
    /// Its oldest task, and until when that is to be finished.
    limit: Option<(u32, Deadline)>,
    /// It was asked to end, and will be killed then.
    ending: Option<Deadline>,
}

/// So long a worker may take from its start until it holds its death word, which takes a millisecond; one that
/// takes longer never will: it hangs in a constructor, or was stopped.
const START_LIMIT: Duration = Duration::from_secs(30);

/// So long a worker may take to start a task while another has none. Waking up takes some ten microseconds
/// where a processor is free, and some milliseconds where others want it too.
const PATIENCE: Duration = Duration::from_millis(5);

/// Whether a task was sent.
pub(super) enum Push {
    Sent(Mark),
    Full,
    /// It cannot be, ever: why.
    Failed(TaskError),
}

/// What a worker has said.
pub(super) enum Heard<'a> {
    Ready,
    Answer(Answer<'a>),
}

/// What a worker has said of a task.
pub(super) struct Answer<'a> {
    kind: u16,
    /// Behind the ticket: the result, or what went wrong.
    body: &'a [u8],
    ticket: u32,
    /// Or why they were lost.
    handles: Result<Handles, String>,
}

impl Worker {
    pub(super) fn start(driver: &Driver, name: String) -> Result<Worker, Error> {
        let lane = Lane::create(RING)?;
        let unusable = |error| Error::new(Kind::Io(std::io::Error::other(error)));
        let (tasks, results) = lane.parent().map_err(unusable)?;
        let (link, theirs) = Link::pair()?;
        let setup = Setup {
            lane: lane.clone(),
            bells: driver.bells.clone(),
            link: worker::travelling(theirs),
            initializer: driver.initializer.clone(),
        };
        let process = Process::builder()
            .name(name)
            .daemon(true)
            .print_panics(false)
            .spawn(worker::run, setup)?;
        let reaped = Arc::new(AtomicBool::new(false));
        let end = {
            let reaped = Arc::clone(&reaped);
            let driver = Weak::clone(&driver.this);
            move || {
                // Release: pairs with Acquire in `is_dead`; the process has ended.
                reaped.store(true, Ordering::Release);
                if let Some(driver) = driver.upgrade() {
                    driver.attract_attention();
                }
            }
        };
        process.on_end(end).inspect_err(|_| {
            // Unwatched it could die unnoticed.
            let _killed = process.kill();
        })?;
        Ok(Worker {
            process,
            reaped,
            lane,
            tasks,
            results,
            link,
            incoming: Assembler::default(),
            partial: None,
            known: Vec::new(),
            next_ticket: 0,
            ready_by: Deadline::after(START_LIMIT),
            waiting: None,
            ready: false,
            dismissed: false,
            discard: None,
            since: Deadline::now(),
            distrusted: None,
            limit: None,
            ending: None,
        })
    }

    /// Puts a task into the worker's ring, preceded by its function if the worker does not know it.
    pub(super) fn push(
        &mut self,
        function: u32,
        announcement: &[u8],
        (argument, handles): (&[u8], Option<&Handles>),
    ) -> Push {
        let leaving = self.dismissed || self.distrusted.is_some() || self.ending.is_some();
        if self.partial.is_some() || leaving {
            return Push::Full;
        }
        if self.known.get(function as usize) != Some(&true) {
            if let Err(error) = self.tasks.push(&[announcement], ANNOUNCE) {
                return self.refused(error);
            }
            let known = function as usize + 1;
            self.known.resize(self.known.len().max(known), false);
            self.known[function as usize] = true;
        }
        let ticket = self.next_ticket.to_le_bytes();
        let number = function.to_le_bytes();
        let length = TASK_HEADER + argument.len();
        let mut tag = TASK;
        if let Some(handles) = handles {
            // Room first: handles that were sent cannot be taken back.
            match self.tasks.has_room(length.min(self.tasks.max_len())) {
                Ok(true) => {}
                Ok(false) => return Push::Full,
                Err(corrupt) => return self.refused(PushError::Corrupt(corrupt)),
            }
            let frame = Frame {
                kind: HANDLES_FRAME,
                body: &ticket,
                handles,
            };
            match self.link.send(frame, Deadline::now()) {
                Ok(()) => {}
                // Where the link is full the worker has much to do; where it is broken its death is seen to.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::TimedOut | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    return Push::Full;
                }
                Err(error) => {
                    let why = format!("its handles cannot be sent: {error}");
                    return Push::Failed(TaskError::ArgumentsLost(why));
                }
            }
            tag |= HANDLES;
        }
        let position = if length <= self.tasks.max_len() {
            match self.tasks.push(&[&ticket, &number, argument], tag) {
                Ok(position) => position,
                Err(error) => return self.refused(error),
            }
        } else {
            let mut outgoing = Outgoing::new([&ticket, &number, argument].concat(), tag);
            let whole = match outgoing.push(&mut self.tasks) {
                Ok(whole) => whole,
                Err(corrupt) => return self.refused(PushError::Corrupt(corrupt)),
            };
            let Some(position) = outgoing.position() else {
                return Push::Full;
            };
            if !whole {
                self.partial = Some(outgoing);
            }
            position
        };
        let mark = Mark {
            ticket: self.next_ticket,
            position,
            handles: handles.is_some(),
        };
        self.next_ticket = self.next_ticket.wrapping_add(1);
        Push::Sent(mark)
    }

    fn refused(&mut self, error: PushError) -> Push {
        if error != PushError::Full {
            self.distrust(&error.to_string());
        }
        Push::Full
    }

    /// Goes on with a large task.
    ///
    /// # Errors
    /// Where there is still no room for all of it.
    pub(super) fn push_rest(&mut self) -> Result<(), ()> {
        let Some(outgoing) = &mut self.partial else {
            return Ok(());
        };
        match outgoing.push(&mut self.tasks) {
            Ok(true) => {
                self.partial = None;
                Ok(())
            }
            Ok(false) => Err(()),
            Err(corrupt) => {
                self.distrust(&corrupt.to_string());
                Err(())
            }
        }
    }

    /// Shows the worker what was pushed.
    pub(super) fn publish(&mut self) {
        if let Some(ticket) = self.discard
            && self.partial.is_none()
            && self.tasks.push(&[&ticket.to_le_bytes()], DISCARD).is_ok()
        {
            self.discard = None;
        }
        if self.tasks.publish() {
            self.tasks.wake_consumer();
        }
    }

    /// Takes a task back; false where the worker has started it.
    pub(super) fn revoke(&mut self, mark: Mark) -> bool {
        if !self.tasks.revoke(mark.position) {
            return false;
        }
        if mark.handles {
            self.discard = Some(mark.ticket);
        }
        // The worker passes over what is there of it, and the rest never comes.
        self.partial
            .take_if(|outgoing| outgoing.position() == Some(mark.position));
        true
    }

    /// Notes whether the task, its oldest, is not started yet. From when on that is too long.
    pub(super) fn look_at(&mut self, mark: Mark) -> Deadline {
        if self.has_started(mark) {
            self.waiting = None;
            return Deadline::NEVER;
        }
        match self.waiting {
            Some((ticket, until)) if ticket == mark.ticket => until,
            _ => {
                let until = Deadline::after(PATIENCE);
                self.waiting = Some((mark.ticket, until));
                until
            }
        }
    }

    /// Whether the task, its oldest, has not been started for too long.
    pub(super) fn is_stuck_at(&mut self, mark: Mark) -> bool {
        let noted = self
            .waiting
            .is_some_and(|(ticket, until)| ticket == mark.ticket && until.has_passed());
        noted && self.look_at(mark) != Deadline::NEVER
    }

    /// Asks for a sign of life; false where there is no room to.
    pub(super) fn ping(&mut self) -> bool {
        self.tasks.push(&[], PING).is_ok()
    }

    /// Tells the worker that there will be no more tasks.
    pub(super) fn dismiss(&mut self) {
        if !self.dismissed && self.partial.is_none() {
            self.dismissed = self.tasks.push(&[], EXIT).is_ok();
        }
    }

    /// What the worker has said next.
    ///
    /// # Errors
    /// Where that is nothing a worker says.
    pub(super) fn hear(&mut self) -> Result<Option<Heard<'_>>, String> {
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
    pub(super) fn distrust(&mut self, why: &str) {
        self.distrusted.get_or_insert_with(|| why.to_string());
        self.kill();
    }

    /// Until when the worker is to have begun, if it has not. How long its initializer then takes is the
    /// user's affair.
    pub(super) fn ready_by(&self) -> Deadline {
        let begun = self.lane.death().load(Ordering::Relaxed) != 0;
        let waited_for = !self.ready && !begun && self.distrusted.is_none();
        if waited_for {
            self.ready_by
        } else {
            Deadline::NEVER
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.distrusted.is_none() && self.results.has_news()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the worker's thread has ended, by any means.
    pub(super) fn is_dead(&self) -> bool {
        // Acquire: what the worker published before is seen; pairs with the kernel's mark, which comes
        // after, and with Release in `start`.
        self.lane.death().load(Ordering::Acquire) & OWNER_DIED != 0
            || self.reaped.load(Ordering::Acquire)
    }

    /// The word that the kernel marks at the worker's death, and what it holds now.
    pub(super) fn death(&self) -> (Lane, u32) {
        (self.lane.clone(), self.lane.death().load(Ordering::Acquire))
    }

    /// Before a sleep: whether a large task has to wait for room. False where there is room already.
    pub(super) fn park(&mut self) -> bool {
        let Some(outgoing) = &self.partial else {
            return true;
        };
        let park = self
            .tasks
            .begin_park(outgoing.next_len(self.tasks.max_len()));
        if park.wake_peer {
            self.tasks.wake_consumer();
        }
        park.sleep
    }

    pub(super) fn ask_to_end(&self) {
        // Where it cannot be asked it will be killed.
        let _asked = self.process.terminate();
    }

    /// Asks the worker to end, and has it killed if it has not by then.
    pub(super) fn end_by(&mut self, deadline: Deadline) {
        if self.ending.is_none() {
            self.ending = Some(deadline);
            self.ask_to_end();
        }
    }

    /// Kills a worker that was asked to end and has had its time.
    pub(super) fn press(&mut self) {
        if self.ending.is_some_and(Deadline::has_passed) {
            self.ending = Some(Deadline::NEVER);
            self.kill();
        }
    }

    /// When to [`press`](Self::press).
    pub(super) fn pressed_at(&self) -> Deadline {
        self.ending.unwrap_or(Deadline::NEVER)
    }

    /// Until when the task, its oldest, is to be finished: so long after it was first asked.
    pub(super) fn limit_of(&mut self, mark: Mark, allowed: Duration) -> Deadline {
        match self.limit {
            Some((ticket, until)) if ticket == mark.ticket => until,
            _ => {
                let until = Deadline::after(allowed);
                self.limit = Some((mark.ticket, until));
                until
            }
        }
    }

    /// The worker begins with something after having had nothing.
    pub(super) fn begins(&mut self) {
        self.since = Deadline::now();
    }

    /// The worker has finished so many tasks since it began, or was asked last: how long each took.
    pub(super) fn pace(&mut self, tasks: u32) -> Duration {
        let now = Deadline::now();
        let before = std::mem::replace(&mut self.since, now);
        now.since(before) / tasks.max(1)
    }

    pub(super) fn has_started(&self, mark: Mark) -> bool {
        self.tasks.is_claimed(mark.position)
    }

    pub(super) fn kill(&self) {
        // Where it cannot be killed it has ended, or changed its user, which nothing here can help.
        let _killed = self.process.kill();
    }

    /// The worker is dead: what is known of its end. One that was `expected` to end is left to do so.
    pub(super) fn end(self, expected: bool) -> End {
        // Before it is killed below, which is not what it died of.
        let status = self.process.early_exit_status();
        if !expected {
            // Its thread is gone; whatever else is left of it, and its group, is no use.
            self.kill();
        }
        let panic = self.process.reported_panic();
        End {
            pid: self.process.pid(),
            status: status.unwrap_or(ExitStatus::UNKNOWN),
            panic,
            distrusted: self.distrusted,
            was_ready: self.ready,
            tasks: self.tasks,
            corpse: Corpse {
                process: self.process,
                reaped: self.reaped,
            },
        }
    }
}

/// A worker's end.
pub(super) struct End {
    pid: u32,
    status: ExitStatus,
    panic: Option<Panic>,
    distrusted: Option<String>,
    pub(super) was_ready: bool,
    tasks: Producer<Block>,
    pub(super) corpse: Corpse,
}

impl End {
    /// Whether the worker had started the task. If not, it never will.
    pub(super) fn had_started(&self, position: Position) -> bool {
        !self.tasks.revoke(position)
    }

    /// What is said of the task that it ran.
    pub(super) fn error(&self, task: usize) -> TaskError {
        // Where panics unwind, a task's is caught and told of in its answer: what ended the worker is then
        // its own.
        if let Some(panic) = self.panic.as_ref().filter(|_| cfg!(panic = "abort")) {
            return TaskError::Panicked(panic.clone());
        }
        TaskError::WorkerLost {
            pid: self.pid,
            status: self.status,
            task,
            attempts: 1,
        }
    }

    /// What the worker died of.
    pub(super) fn what(&self) -> String {
        match (&self.panic, &self.distrusted) {
            (Some(panic), _) => format!("the panic: {}", panic.message),
            (None, Some(why)) => why.clone(),
            (None, None) => self.status.to_string(),
        }
    }
}

/// A worker that has died and is not yet reaped.
pub(super) struct Corpse {
    process: Process,
    reaped: Arc<AtomicBool>,
}

impl Corpse {
    pub(super) fn is_reaped(&self) -> bool {
        self.reaped.load(Ordering::Acquire)
    }

    pub(super) fn kill(&self) {
        // As `Worker::kill`.
        let _killed = self.process.kill();
    }
}

impl Answer<'_> {
    pub(super) fn ticket(&self) -> u32 {
        self.ticket
    }

    /// Settles the task.
    pub(super) fn deliver(self, job: &mut Job, item: usize) {
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
