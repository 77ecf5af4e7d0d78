//! `ForkServer`: a process with one thread, started once, forks the children.
//!
//! # Steps, beside those in `startup.rs`
//!
//! a. Parent, at the first such start, and at the first after a server's death: starts its own image with a
//!    control socket, the lifeline and the shared number's memory; the trigger says that it is the server.
//!    Where a function is to be [preloaded](set_forkserver_preload), its order goes over a link of its own, and
//!    its report comes back over that.
//! b. Server, in the hook before `main`: holds on to the lifeline, runs what the image still had to initialise,
//!    and serves requests until the control socket ends (`serve.rs`).
//! c. Parent: writes 0 into the shared number, sends a request with the order, the child's end of its link, its folder
//!    and its streams, and waits for the answer or the server's end, until the start's deadline. A long order, and one
//!    with handles, goes over the link, and so does the child's environment where it is not the one that the server
//!    was started with.
//! d. Server: reads the order, and finds what it names: here that costs nothing, and each child would first have to copy
//!    the pages it needs for that. Forks a sibling of itself, hence a child of the parent; the kernel writes its number
//!    to the shared number before it runs. Answers. Makes ready what the next child is to hold on to.
//! e. Child: gives up what is the server's, leads a group, enters its folder, puts its streams in place, holds
//!    on to the lifeline, and goes on at step 5, with the order that is there already or is on the link.
//!
//! One start at a time uses the server; who waits for its turn does so until its own deadline.
//!
//! # Who dies when
//!
//! | who | when | what comes of it |
//! |---|---|---|
//! | the server | before d | the number is 0: another server is started, and asked again |
//! | | in or after d | the number is the child's: the start has succeeded, and nobody notices |
//! | the child | before it reads its order | its end of the socket closes: `join` says how it ended |
//! | the parent | before e | the child finds another parent than it should have, or the lifeline broken |
//! | | after e | the kernel kills it; and the server, by the same lifeline |
//!
//! A request is complete in itself, or refers to what waits on the link, so that it can be made again to another server.
//! An order that is none is the child's to say so, which has a link to say it on.
//! A server that cannot fork is replaced as one that has died: limits are those of its own start.
//! A server that does not answer by the deadline, or within a time that no fork takes, is killed; what the number
//! says then is certain.

mod protocol;
mod serve;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, Interest, OwnedHandle, poll};
use multiproc_sys::process::{self as sys, Command, SharedNumber};
use multiproc_sys::socket::{Received, Socket};
use multiproc_sys::wait::{ExitStatus, Waiter};
use multiproc_sys::{lifeline, signal};
use multiproc_wire::{Frame, Link, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, ServerFailure};
use crate::function::Function;
use crate::process::{Heard, Said, hear};
use crate::restrictions::Restrictions;
use crate::startup::{self, ENVIRONMENT, ORDER, Order, Role, Setting};
use crate::{executable, registry};
use protocol::{Answer, Environment, Request, Stream};

#[cfg(any(test, fuzzing))]
pub(crate) use protocol::fuzzing;
pub(crate) use serve::serve;

/// How long an answer may take that only waits for a fork.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a killed server may take to end: it is small.
const KILLED: Duration = Duration::from_secs(10);
/// How often a start begins anew with another server.
const ATTEMPTS: usize = 3;
/// The longest order that goes with its request, in bytes; a longer one is not worth a copy in the server.
const SHORT: usize = 4 << 10;
/// The room for names that `ps` shows.
const TITLE: usize = 128;

/// What the server calls before it forks anything.
struct Preload {
    order: Vec<u8>,
    handles: Vec<Arc<OwnedHandle>>,
}

/// The parent's side of a server.
struct Server {
    /// A forked copy of this process has the memory, and not the child.
    made_by: u32,
    /// What it was started with.
    environment: startup::Environment,
    waiter: Waiter,
    control: Socket,
    number: SharedNumber,
}

struct State {
    /// Somebody has taken the server, or is starting one.
    taken: bool,
    server: Option<Server>,
    preload: Option<Arc<Preload>>,
}

static STATE: Mutex<State> = Mutex::new(State {
    taken: false,
    server: None,
    preload: None,
});
static GIVEN_BACK: Condvar = Condvar::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the fork server call `function(arguments)` once, before it forks any child: what that leaves in statics
/// is there in every child that comes to be by [`ForkServer`](crate::StartMethod::ForkServer), as a copy.
///
/// It replaces what was set before; a server that runs already ends, and another is started with the next child.
/// A server that takes the place of one that died calls it again. A panic in it, or a thread that it leaves
/// running, is an error of the start. Its result is not wanted: a fallible function panics.
///
/// ```
/// use std::sync::OnceLock;
/// use multiproc_process::{Process, StartMethod, set_forkserver_preload};
///
/// static SQUARES: OnceLock<Vec<u64>> = OnceLock::new();
///
/// set_forkserver_preload(|most: u64| drop(SQUARES.set((0..most).map(|n| n * n).collect())), 1000)?;
/// let child = Process::builder()
///     .start_method(StartMethod::ForkServer)
///     .spawn(|n: usize| SQUARES.get().map(|squares| squares[n]), 30)?;
/// assert_eq!(child.join()?, Some(900));
/// # Ok::<(), multiproc_process::Error>(())
/// ```
///
/// # Errors
/// An argument that cannot be encoded.
///
/// # Differences from Python
/// A function instead of modules to import.
#[doc(alias = "multiprocessing.set_forkserver_preload")]
pub fn set_forkserver_preload<A>(function: fn(A), arguments: A) -> Result<(), Error>
where
    A: Serialize + DeserializeOwned + 'static,
{
    let fail = |kind| Error::new(kind, None);
    let function = Function::new(function)
        .reference()
        .map_err(|error| fail(Kind::Locate(error)))?;
    let order = Order {
        function: Some(function),
        print_panics: false,
        tell_start: false,
        restrictions: Restrictions::default(),
        name: "the fork server".to_string(),
        parents_name: String::new(),
        start_method: None,
        executable: None,
    };
    let mut bytes = Vec::new();
    encode(&(startup::identity(), order), &mut bytes).map_err(|error| fail(Kind::Encode(error)))?;
    let handoff = encode(&arguments, &mut bytes).map_err(|error| fail(Kind::Encode(error)))?;
    let preload = Preload {
        order: bytes,
        handles: handoff.handles().to_vec(),
    };
    handoff.sent();
    let mut turn =
        Turn::take(Deadline::NEVER).ok_or_else(|| fail(Kind::Server(ServerFailure::Silent)))?;
    turn.end();
    state().preload = Some(Arc::new(preload));
    Ok(())
}

/// Steps c and d, and a where there is no server, for a child that is to be sent `order`. `ours` is the other end of
/// `theirs`.
pub(crate) fn start(
    setting: &Setting,
    order: Frame<'_>,
    ours: &Link,
    theirs: Socket,
) -> Result<Waiter, Error> {
    let fail = |kind| Error::new(kind, None);
    let start = |error| fail(Kind::Start(error));
    let server_failed = |failure| fail(Kind::Server(failure));
    let folder = match &setting.folder {
        Some(folder) => sys::open_folder(folder),
        None => sys::current_folder(),
    };
    let folder = folder.map_err(start)?;
    let streams = [0, 1, 2].map(|number| Stream::of(&setting.streams[number], number));
    let mut handles = vec![theirs.as_handle(), folder.as_handle()];
    handles.extend(streams.iter().filter_map(Stream::handle));
    let streams = streams.each_ref().map(Stream::kind);
    let in_request = order.handles.is_empty() && order.body.len() <= SHORT;
    let order = if in_request {
        protocol::Order::Here(order.body)
    } else {
        // Sent once, it stays where the child reads it, as its environment does. There is room for both: this does
        // not wait.
        ours.send(order, Deadline::now()).map_err(start)?;
        protocol::Order::Sent
    };
    let mut environment = Environment::Servers;
    let mut turn =
        Turn::take(setting.deadline).ok_or_else(|| server_failed(ServerFailure::Silent))?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let server = turn.server(setting.deadline)?;
        if environment == Environment::Servers && server.environment != setting.environment {
            send_environment(&setting.environment, ours)?;
            environment = Environment::Sent;
        }
        let request = Request::Fork {
            session: setting.session,
            environment,
            streams,
            order,
        };
        match server.ask(&request, &handles, setting.deadline) {
            Ok(Answer::Forked(pid)) => return sys::look_after(pid).map_err(start),
            // It may be held to a limit that this process had when it was started, and has no more.
            Ok(Answer::Failed(error)) => {
                turn.end();
                last = Some(start(error));
            }
            Ok(Answer::Unfit(why)) => {
                turn.end();
                return Err(server_failed(ServerFailure::Unfit(why)));
            }
            Err(Lost::Ended(Ended {
                forked: Some(pid), ..
            })) => {
                turn.forget();
                return sys::look_after(pid).map_err(start);
            }
            Err(Lost::Ended(Ended { silent: true, .. })) => {
                turn.forget();
                return Err(server_failed(ServerFailure::Silent));
            }
            Err(Lost::Ended(Ended { status, .. })) => {
                turn.forget();
                last = Some(server_failed(ServerFailure::Ended(status)));
            }
            // Too many descriptors in flight, say: it is not the server's fault, which has got nothing.
            Err(Lost::NotSent(error)) => return Err(start(error)),
        }
    }
    Err(last.unwrap_or_else(|| server_failed(ServerFailure::Ended(None))))
}

fn send_environment(environment: &startup::Environment, link: &Link) -> Result<(), Error> {
    let fail = |kind| Error::new(kind, None);
    let mut body = Vec::new();
    encode(environment, &mut body).map_err(|error| fail(Kind::Encode(error)))?;
    let frame = Frame {
        kind: ENVIRONMENT,
        body: &body,
        handles: &[],
    };
    link.send(frame, Deadline::now())
        .map_err(|error| fail(Kind::Start(error)))
}

/// At the end of the program.
pub(crate) fn end() {
    if let Some(mut turn) = Turn::take(Deadline::now()) {
        turn.end();
    }
}

/// The right to use the server; given back when dropped.
struct Turn {
    server: Option<Server>,
    preload: Option<Arc<Preload>>,
}

impl Turn {
    /// `None` at the deadline.
    fn take(deadline: Deadline) -> Option<Turn> {
        let mut state = state();
        while state.taken {
            state = match deadline.remaining() {
                None => GIVEN_BACK
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => {
                    let waited = GIVEN_BACK.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.taken = true;
        let own = std::process::id();
        // What a forked copy of this process has of its server is not its own to end, only to close.
        let server = state.server.take().filter(|server| server.made_by == own);
        Some(Turn {
            server,
            preload: state.preload.clone(),
        })
    }

    /// The server, started if there is none.
    fn server(&mut self, deadline: Deadline) -> Result<&mut Server, Error> {
        let server = match self.server.take() {
            Some(server) => server,
            None => Server::start(self.preload.as_deref(), deadline)?,
        };
        Ok(self.server.insert(server))
    }

    /// Ends the server, if there is one.
    fn end(&mut self) {
        if let Some(server) = self.server.take() {
            let _ended = server.end(false);
        }
    }

    /// The server has ended, and is reaped.
    fn forget(&mut self) {
        self.server = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = state();
        state.server = self.server.take();
        state.taken = false;
        drop(state);
        GIVEN_BACK.notify_one();
    }
}

/// There was no answer.
enum Lost {
    /// The request was not sent, for a reason that is not the server's end.
    NotSent(io::Error),
    Ended(Ended),
}

/// How a server has ended.
struct Ended {
    /// It did not answer in time, and was killed.
    silent: bool,
    /// `None` where it does not end.
    status: Option<ExitStatus>,
    /// The child that it had forked and not told of.
    forked: Option<u32>,
}

impl Server {
    /// Step a.
    fn start(preload: Option<&Preload>, deadline: Deadline) -> Result<Server, Error> {
        let start = |error| Error::new(Kind::Start(error), None);
        let (server, link) = Server::launch(preload).map_err(start)?;
        let Some(link) = link else { return Ok(server) };
        let failed = match hear(&link, server.waiter.as_handle(), deadline) {
            Ok(Heard::Report(Said::Result(..))) => return Ok(server),
            Ok(Heard::Report(Said::Failed(kind))) => {
                let _ended = server.end(false);
                ServerFailure::Preload(Box::new(Error::new(kind, None)))
            }
            Ok(_) => ServerFailure::Ended(server.end(false).status),
            Err(Kind::TimedOut) => {
                let _ended = server.end(true);
                ServerFailure::Silent
            }
            Err(kind) => {
                let _ended = server.end(false);
                return Err(Error::new(kind, None));
            }
        };
        Err(Error::new(Kind::Server(failed), None))
    }

    /// And the link on which it tells what came of its preload.
    fn launch(preload: Option<&Preload>) -> io::Result<(Server, Option<Link>)> {
        let (control, theirs) = Socket::pair()?;
        let (number, memory) = SharedNumber::create()?;
        let link = preload.map(|preload| {
            let (link, theirs) = Link::pair()?;
            let order = Frame {
                kind: ORDER,
                body: &preload.order,
                handles: &preload.handles,
            };
            link.send(order, Deadline::now())?;
            let bytes = Request::Preload.bytes();
            let theirs = OwnedHandle::from(theirs);
            control.send(&bytes, &[theirs.as_handle()], Deadline::now())?;
            io::Result::Ok(link)
        });
        let link = link.transpose()?;
        let life = lifeline::share()?;
        let inherit = [theirs.as_handle(), life.as_handle(), memory.as_handle()];
        let name = format!("{:TITLE$}", "multiproc-forkserver");
        let (program, name, arguments) = executable::to_start(&name);
        let mut command = Command::new(&program, name, &inherit)?;
        for argument in arguments {
            command.argument(&argument)?;
        }
        let environment = startup::own_environment();
        for (name, value) in &environment {
            command.variable(name, value)?;
        }
        startup::add_trigger(&mut command, startup::depth() + 1, Role::ForkServer)?;
        command.streams([sys::Stdio::Null, sys::Stdio::Inherit, sys::Stdio::Inherit]);
        let waiter = command.start()?;
        registry::note_exit();
        let server = Server {
            made_by: std::process::id(),
            environment,
            waiter,
            control,
            number,
        };
        Ok((server, link))
    }

    /// Step c.
    fn ask(
        &self,
        request: &Request<'_>,
        handles: &[BorrowedHandle<'_>],
        deadline: Deadline,
    ) -> Result<Answer, Lost> {
        // Release: before the server is asked, which is a system call. The kernel writes next.
        self.number.word().store(0, Ordering::Release);
        let deadline = deadline.or(Deadline::after(PATIENCE));
        if let Err(error) = self
            .control
            .send(&request.bytes(), handles, Deadline::now())
        {
            let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
            if gone.contains(&error.kind()) {
                return Err(Lost::Ended(self.end(false)));
            }
            return Err(Lost::NotSent(error));
        }
        let answer = self.answer(deadline)?;
        match Answer::from_bytes(&answer, self.forked()) {
            Some(answer) => Ok(answer),
            None => Err(Lost::Ended(self.end(false))),
        }
    }

    /// The next answer.
    fn answer(&self, deadline: Deadline) -> Result<Vec<u8>, Lost> {
        let sources = [
            (self.control.as_handle(), Interest::Read),
            (self.waiter.as_handle(), Interest::Read),
        ];
        let mut answer = Vec::new();
        loop {
            let found = poll(sources, deadline);
            let heard = found.and_then(|[_, ended]| {
                let received = self.control.receive(&mut answer, Deadline::now())?;
                Ok((ended.any(), received))
            });
            match heard {
                Ok((_, Received::Message(_))) => return Ok(answer),
                Ok((false, Received::TimedOut)) if !deadline.has_passed() => {}
                Ok((ended, Received::TimedOut)) => return Err(Lost::Ended(self.end(!ended))),
                // What it says is no answer, or there is no memory for it; the number tells.
                Ok((_, Received::End)) | Err(_) => return Err(Lost::Ended(self.end(false))),
            }
        }
    }

    /// The child that was forked last.
    fn forked(&self) -> Option<u32> {
        // Acquire: pairs with nothing but the kernel's store, which was made before the answer was sent or the
        // server ended; both were learned of by system calls.
        let number = self.number.word().load(Ordering::Acquire);
        (number != 0).then_some(number)
    }

    /// Ends it and reaps it: then the number is certain.
    fn end(&self, silent: bool) -> Ended {
        // What cannot be killed or waited for ends with this process.
        // Not its group, which a child that was just forked has not left yet.
        let _killed = self.waiter.kill(signal::KILL);
        let gone = self.waiter.wait(Deadline::after(KILLED));
        let status = match gone {
            Ok(true) => self.waiter.try_reap().ok().flatten(),
            _ => None,
        };
        Ended {
            silent,
            status,
            forked: self.forked(),
        }
    }
}
