//! From the parent's `spawn` to the child's function: the trigger, the order, the hook.
//!
//! # Steps
//!
//! 1. Parent: makes a socket pair and writes the order (function, arguments, handles) into its end; a fork server is
//!    given it, which reads it for the child.
//! 2. Parent: has the child made, by one of three methods, and drops the socket's other end.
//!    `Spawn`: starts the image, with the other end and the lifeline as the only inherited handles, and
//!    the trigger variable in the environment. `ForkServer` and `Fork`: see `forkserver/mod.rs` and `fork.rs`;
//!    what follows is done by the forked child as by one that was started, but for what is said there.
//! 3. Child, before `main`: finds the trigger, removes it, checks that the socket was made by its parent.
//! 4. Child: holds on to the lifeline. From here on it cannot outlive its parent.
//! 5. Child: reads the order, checks the image's identity, applies the restrictions to itself.
//! 6. Child: runs what the image still had to initialise, resolves the function, calls it.
//! 7. Child: sends the outcome, and exits.
//!
//! The child's death at any step closes its end of the socket. The parent's death at any step ends the
//! child: before 4, by the check that its parent is still the one in the trigger; from 4 on, by the kernel.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use multiproc_sys::cgroup::MemoryGroup;
use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use multiproc_sys::hook::{self, Start};
use multiproc_sys::process::{self as sys, Command};
use multiproc_sys::socket::Socket;
use multiproc_sys::{image, lifeline};
use multiproc_wire::{Encoder, Frame, Link, encode};
use serde::{Deserialize, Serialize};

use crate::current::ParentProcess;
use crate::error::{Error, Kind};
use crate::executable::Executable;
use crate::function::{FunctionRef, Outcome, PanicReport};
use crate::registry::{self, Child};
use crate::restrictions::Restrictions;
use crate::stdio::Streams;
use crate::{MemoryCap, StartMethod};
use crate::{child, executable, fork, forkserver};

/// How many levels deep children may have children.
pub const MAX_DEPTH: u32 = 16;

/// The trigger: `version:parent's pid:depth`. The version keeps two versions of this crate in one program
/// from taking each other's children.
pub(crate) const TRIGGER: &str = "MULTIPROC_CHILD";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Frames from parent to child: what it is to do, …
pub(crate) const ORDER: u8 = 1;
/// … and its [`Environment`], for a child that was not given it at its start and finds another.
pub(crate) const ENVIRONMENT: u8 = 2;

/// What a child is to do; the encoded arguments follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// None where what is to be called is in the child's memory already.
    pub(crate) function: Option<FunctionRef>,
    pub(crate) print_panics: bool,
    /// Whether the parent waits for the function to be called.
    pub(crate) tell_start: bool,
    pub(crate) restrictions: Restrictions,
    pub(crate) name: String,
    pub(crate) parents_name: String,
    /// What children do where they are not told, if they do as their parent.
    pub(crate) start_method: Option<String>,
    /// What is started in place of this program.
    pub(crate) executable: Option<Executable>,
}

pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// That of this process, of which none of its children is to be told how it was started.
pub(crate) fn own_environment() -> Environment {
    let mut environment: Environment = std::env::vars_os().collect();
    environment.remove(OsStr::new(TRIGGER));
    environment
}

/// The circumstances a child is started in.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) method: StartMethod,
    pub(crate) environment: Environment,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) streams: [sys::Stdio; 3],
    /// This process's sides of them.
    pub(crate) ours: Streams,
    pub(crate) daemon: bool,
    pub(crate) memory: Option<(MemoryCap, Option<MemoryGroup>)>,
    pub(crate) session: bool,
    /// For a start that waits for somebody else.
    pub(crate) deadline: Deadline,
}

/// Relaxed, both: set before `main`, or by `init` before the thread that started could start others.
static INITIALIZED: AtomicBool = AtomicBool::new(false);
static DEPTH: AtomicU32 = AtomicU32::new(0);

#[cfg(feature = "auto-init")]
multiproc_sys::before_main!(before_main);

#[cfg(feature = "auto-init")]
fn before_main(start: Start) {
    enter(Some(start));
}

/// Makes a program without the hook before `main` able to start processes: to be called first in `main`.
///
/// Only needed where the feature `auto-init` is off; harmless elsewhere. In a process that was started as
/// a child it runs the child's function and does not return.
pub fn init() {
    enter(None);
}

/// Whether this process was started by this crate, and [`parent_process`](crate::parent_process) knows
/// by whom.
#[must_use]
pub fn is_child() -> bool {
    DEPTH.load(Ordering::Relaxed) > 0
}

/// How many levels of children deep this process is.
pub(crate) fn depth() -> u32 {
    DEPTH.load(Ordering::Relaxed)
}

/// In a child that was just forked.
pub(crate) fn one_level_deeper() {
    DEPTH.fetch_add(1, Ordering::Relaxed);
}

/// Steps 3 to 7 of a child; nothing in any other process.
fn enter(start: Option<Start>) {
    INITIALIZED.store(true, Ordering::Relaxed);
    let Some(said) = own_trigger() else { return };
    // SAFETY: before `main`, or first in it: no other thread runs.
    drop(unsafe { hook::take_variable(TRIGGER) });
    sys::open_standard_streams();
    // A set-user-id program does not do what its environment says.
    if hook::started_with_privileges() {
        child::refuse_start(&io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let trigger = parse(&said)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is malformed"))
        .unwrap_or_else(|error| child::refuse_start(&error));
    DEPTH.store(trigger.depth, Ordering::Relaxed);
    if trigger.role == Role::ForkServer {
        forkserver::serve(trigger.parent, start)
    }
    let (link, parent) =
        take_over(trigger.parent).unwrap_or_else(|error| child::refuse_start(&error));
    let link = child::adopt(link);
    let task = child::take_order(link, child::receive_order(link), parent, |_| Ok(()));
    if let Some(start) = start {
        // SAFETY: this is the hook that was given `start`, and `run` does not return.
        unsafe { start.run_remaining() };
    }
    child::run(link, task)
}

/// What a process that was started with the trigger is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Child,
    ForkServer,
}

impl Role {
    /// The end of the trigger.
    fn mark(self) -> &'static str {
        match self {
            Role::Child => "",
            Role::ForkServer => ":forkserver",
        }
    }
}

/// What the trigger says.
pub(crate) struct Trigger {
    parent: u32,
    depth: u32,
    role: Role,
}

/// What the trigger says, if it is there and meant for this version.
fn own_trigger() -> Option<String> {
    let text = std::env::var(TRIGGER).ok()?;
    let said = text.strip_prefix(VERSION)?.strip_prefix(':')?;
    Some(said.to_string())
}

pub(crate) fn parse(said: &str) -> Option<Trigger> {
    let (said, role) = match said.strip_suffix(Role::ForkServer.mark()) {
        Some(said) => (said, Role::ForkServer),
        None => (said, Role::Child),
    };
    let (parent, depth) = said.split_once(':')?;
    let (parent, depth) = (parent.parse().ok()?, depth.parse().ok()?);
    (depth <= MAX_DEPTH).then_some(Trigger {
        parent,
        depth,
        role,
    })
}

/// Errors where this process's parent is another than the one that had it made.
pub(crate) fn check_parent(parent: u32) -> io::Result<()> {
    if sys::parent_id() == parent {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the parent ended during the start",
    ))
}

fn take_over(parent: u32) -> io::Result<(Link, ParentProcess)> {
    check_parent(parent)?;
    // SAFETY: the parent has put its handles there for this code, which runs once: the trigger that led
    // here is gone.
    let socket = unsafe { sys::inherited(0) }?;
    // SAFETY: as above.
    let parents_life = unsafe { sys::inherited(1) }?;
    let socket = Socket::inherited(socket, parent)?;
    Ok((Link::new(socket), take_hold(parents_life, parent)?))
}

/// Step 4.
fn take_hold(parents_life: OwnedHandle, parent: u32) -> io::Result<ParentProcess> {
    Ok(ParentProcess {
        // Told by the order.
        name: String::new(),
        pid: parent,
        life: lifeline::hold(parents_life)?,
    })
}

/// Where a forked child is to be.
pub(crate) struct Place {
    pub(crate) streams: [sys::Stdio; 3],
    pub(crate) folder: Option<OwnedHandle>,
    pub(crate) session: bool,
}

/// Steps 3 to 5 of a child that was forked and is one level deeper already, whose environment `enter` sees to; where
/// its order is not read yet, it is on the link.
pub(crate) fn begin_forked(
    socket: Socket,
    order: Option<Result<child::Task, String>>,
    parents_life: OwnedHandle,
    parent: u32,
    place: Place,
    enter: impl FnOnce(&Link) -> Result<(), String>,
) -> (&'static Link, child::Task) {
    let link = child::adopt(Link::new(socket));
    let taken = check_parent(parent).and_then(|()| {
        // Before the lifeline, which is about the group that this process leads.
        sys::settle(&place.streams, place.folder.as_ref(), place.session)?;
        drop(place);
        take_hold(parents_life, parent)
    });
    match taken {
        Ok(parent) => {
            let task = order.unwrap_or_else(|| child::receive_order(link));
            (link, child::take_order(link, task, parent, enter))
        }
        Err(error) => child::refuse(link, &error.to_string()),
    }
}

/// The identity of the image that this code is in, which a child must share.
pub(crate) fn identity() -> &'static [u8] {
    static IDENTITY: OnceLock<Vec<u8>> = OnceLock::new();
    IDENTITY.get_or_init(|| image::identity_of(identity as *const () as usize))
}

/// What a child is to call.
pub(crate) enum Call<'a> {
    /// What the order names, with these arguments.
    Sent(&'a [u8], &'a [Arc<OwnedHandle>]),
    /// This, in a process that is forked from this one.
    Here(Here<'a>),
}

pub(crate) type Here<'a> = Box<dyn FnOnce(PanicReport, &mut Encoder<'_>) -> Outcome + 'a>;

/// Steps 1 and 2.
pub(crate) fn start(
    setting: &mut Setting,
    order: &Order,
    call: Call<'_>,
) -> Result<(Arc<Child>, Link), Error> {
    let fail = |kind| Error::new(kind, None);
    let start = |error| fail(Kind::Start(error));
    if !INITIALIZED.load(Ordering::Relaxed) {
        return Err(fail(Kind::NotInitialized));
    }
    if hook::started_with_privileges() {
        return Err(fail(Kind::Privileged));
    }
    if registry::is_exiting() {
        return Err(fail(Kind::Exiting));
    }
    let depth = depth() + 1;
    if depth > MAX_DEPTH {
        return Err(fail(Kind::TooDeep(depth - 1)));
    }
    if setting.method != StartMethod::Spawn {
        // What no system call can carry is found by whoever would have to.
        check(setting).map_err(start)?;
    }
    let (arguments, handles, here) = match call {
        Call::Sent(arguments, handles) => (arguments, handles, None),
        Call::Here(here) => (&[][..], &[][..], Some(here)),
    };
    let mut body = Vec::with_capacity(256 + arguments.len());
    let no_handles =
        encode(&(identity(), order), &mut body).map_err(|error| fail(Kind::Encode(error)))?;
    debug_assert!(
        no_handles.is_empty(),
        "an order has none; the arguments have"
    );
    body.extend_from_slice(arguments);

    let (ours, theirs) = Socket::pair().map_err(start)?;
    let ours = Link::new(ours);
    let frame = Frame {
        kind: ORDER,
        body: &body,
        handles,
    };
    if setting.method != StartMethod::ForkServer {
        // The socket is empty and holds more than a frame: this does not wait.
        ours.send(frame, Deadline::now()).map_err(start)?;
    }
    let mut link = Some(ours);
    let waiter = match setting.method {
        StartMethod::Spawn => {
            let parents_life = lifeline::share().map_err(start)?;
            let inherit = [theirs.as_handle(), parents_life.as_handle()];
            let mut command = command(setting, &inherit).map_err(start)?;
            command.streams(std::mem::take(&mut setting.streams));
            add_trigger(&mut command, depth, Role::Child).map_err(start)?;
            let waiter = command.start().map_err(start)?;
            drop(command);
            drop(theirs);
            waiter
        }
        StartMethod::ForkServer => {
            let link = link
                .as_ref()
                .expect("it is given up by a forked child only");
            forkserver::start(setting, frame, link, theirs)?
        }
        StartMethod::Fork(promise) => {
            fork::start(setting, promise, theirs, here, || drop(link.take()))?
        }
    };
    let link = link.expect("only a forked child has given it up");
    let memory = setting.memory.take();
    let child = Child::register(setting.name.clone(), waiter, setting.daemon, memory);
    Ok((child, link))
}

/// What [`command`] would refuse.
fn check(setting: &Setting) -> io::Result<()> {
    let (program, name, arguments) = executable::to_start(&setting.name);
    sys::check_text(program.as_os_str(), "the path of the image")?;
    sys::check_text(&name, "the name of the process")?;
    for argument in arguments {
        sys::check_text(&argument, "an argument")?;
    }
    for (name, value) in &setting.environment {
        sys::check_variable(name, value)?;
    }
    match &setting.folder {
        Some(folder) => sys::check_text(folder.as_os_str(), "the path of the folder"),
        None => Ok(()),
    }
}

/// Without streams and trigger.
fn command<'a>(setting: &Setting, inherit: &'a [BorrowedHandle<'a>]) -> io::Result<Command<'a>> {
    let (program, name, arguments) = executable::to_start(&setting.name);
    let mut command = Command::new(&program, name, inherit)?;
    for argument in arguments {
        command.argument(&argument)?;
    }
    for (name, value) in &setting.environment {
        command.variable(name, value)?;
    }
    if let Some(folder) = &setting.folder {
        command.folder(folder)?;
    }
    if setting.session {
        command.new_session();
    }
    Ok(command)
}

/// The last that is added to a command's environment.
pub(crate) fn add_trigger(command: &mut Command<'_>, depth: u32, role: Role) -> io::Result<()> {
    let mark = role.mark();
    let trigger = format!("{VERSION}:{}:{depth}{mark}", std::process::id());
    command.variable(OsStr::new(TRIGGER), OsStr::new(&trigger))
}
