//! From the parent's `spawn` to the child's function: the trigger, the order, the hook.
//!
//! # Steps
//!
//! 1. Parent: makes a socket pair and writes the order (function, arguments, handles) into its end.
//! 2. Parent: starts the image, with the other end and the lifeline as the only inherited handles, and
//!    the trigger variable in the environment; drops the other end.
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

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, OwnedHandle};
use multiproc_sys::hook::{self, Start};
use multiproc_sys::process::{self as sys, Command};
use multiproc_sys::socket::Socket;
use multiproc_sys::{image, lifeline};
use multiproc_wire::{Frame, Link, encode};
use serde::{Deserialize, Serialize};

use crate::child;
use crate::current::ParentProcess;
use crate::error::{Error, Kind};
use crate::function::FunctionRef;
use crate::registry::{self, Child};
use crate::restrictions::Restrictions;

/// How many levels deep children may have children.
pub const MAX_DEPTH: u32 = 16;

/// The trigger: `version:parent's pid:depth`. The version keeps two versions of this crate in one program
/// from taking each other's children.
pub(crate) const TRIGGER: &str = "MULTIPROC_CHILD";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Frames from parent to child.
pub(crate) const ORDER: u8 = 1;

/// What a child is to do; the encoded arguments follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) function: FunctionRef,
    pub(crate) print_panics: bool,
    /// Whether the parent waits for the function to be called.
    pub(crate) tell_start: bool,
    pub(crate) restrictions: Restrictions,
    pub(crate) name: String,
    pub(crate) parents_name: String,
}

/// The circumstances a child is started in.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) streams: [sys::Stdio; 3],
    pub(crate) daemon: bool,
    pub(crate) session: bool,
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

/// Steps 3 to 7 of a child; nothing in any other process.
fn enter(start: Option<Start>) {
    INITIALIZED.store(true, Ordering::Relaxed);
    let Some(trigger) = own_trigger() else { return };
    // SAFETY: before `main`, or first in it: no other thread runs.
    drop(unsafe { hook::take_variable(TRIGGER) });
    sys::open_standard_streams();
    // A set-user-id program does not do what its environment says.
    if hook::started_with_privileges() {
        child::refuse_start(&io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let (link, parent) = match take_over(&trigger) {
        Ok(taken) => taken,
        Err(error) => child::refuse_start(&error),
    };
    let (link, task) = child::take_order(link, parent);
    if let Some(start) = start {
        // SAFETY: this is the hook that was given `start`, and `run` does not return.
        unsafe { start.run_remaining() };
    }
    child::run(link, task)
}

/// What the trigger says, if it is there and meant for this version.
fn own_trigger() -> Option<String> {
    let text = std::env::var(TRIGGER).ok()?;
    let said = text.strip_prefix(VERSION)?.strip_prefix(':')?;
    Some(said.to_string())
}

/// The parent's pid and the depth.
fn parse(trigger: &str) -> Option<(u32, u32)> {
    let (parent, depth) = trigger.split_once(':')?;
    Some((parent.parse().ok()?, depth.parse().ok()?))
}

fn take_over(trigger: &str) -> io::Result<(Link, ParentProcess)> {
    let (parent, depth) = parse(trigger)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is malformed"))?;
    DEPTH.store(depth, Ordering::Relaxed);
    if sys::parent_id() != parent {
        return Err(io::Error::new(
            io::ErrorKind::BrokenPipe,
            "the parent ended during the start",
        ));
    }
    // SAFETY: the parent has put its handles there for this code, which runs once: the trigger that led
    // here is gone.
    let socket = unsafe { sys::inherited(0) }?;
    // SAFETY: as above.
    let parents_life = unsafe { sys::inherited(1) }?;
    let socket = Socket::inherited(socket, parent)?;
    let parent = ParentProcess {
        // Told by the order.
        name: String::new(),
        pid: parent,
        life: lifeline::hold(parents_life)?,
    };
    Ok((Link::new(socket), parent))
}

/// The identity of this program's image, which a child must share.
pub(crate) fn identity() -> &'static [u8] {
    static IDENTITY: OnceLock<Vec<u8>> = OnceLock::new();
    IDENTITY.get_or_init(image::main_identity)
}

/// Steps 1 and 2.
pub(crate) fn start(
    setting: &mut Setting,
    order: &Order,
    arguments: &[u8],
    handles: &[Arc<OwnedHandle>],
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
    let depth = DEPTH.load(Ordering::Relaxed) + 1;
    if depth > MAX_DEPTH {
        return Err(fail(Kind::TooDeep(depth - 1)));
    }
    let mut body = Vec::with_capacity(256 + arguments.len());
    let no_handles =
        encode(&(identity(), order), &mut body).map_err(|error| fail(Kind::Encode(error)))?;
    debug_assert!(
        no_handles.is_empty(),
        "an order has none; the arguments have"
    );
    body.extend_from_slice(arguments);

    let (ours, theirs) = Socket::pair().map_err(start)?;
    let link = Link::new(ours);
    // The socket is empty and holds more than a frame: this does not wait.
    link.send(
        Frame {
            kind: ORDER,
            body: &body,
            handles,
        },
        Deadline::now(),
    )
    .map_err(start)?;
    let parents_life = lifeline::share().map_err(start)?;
    let inherit = [theirs.as_handle(), parents_life];
    let command = command(setting, depth, &inherit).map_err(start)?;
    let waiter = command.start().map_err(start)?;
    drop(command);
    drop(theirs);
    Ok((
        Child::register(setting.name.clone(), waiter, setting.daemon),
        link,
    ))
}

fn command<'a>(
    setting: &mut Setting,
    depth: u32,
    inherit: &'a [multiproc_sys::handle::BorrowedHandle<'a>],
) -> io::Result<Command<'a>> {
    let mut command = Command::new(&sys::own_image(), &setting.name, inherit)?;
    for (name, value) in setting
        .environment
        .iter()
        .filter(|(name, _)| *name != TRIGGER)
    {
        command.variable(name, value)?;
    }
    let trigger = format!("{VERSION}:{}:{depth}", std::process::id());
    command.variable(OsStr::new(TRIGGER), OsStr::new(&trigger))?;
    if let Some(folder) = &setting.folder {
        command.folder(folder)?;
    }
    if setting.session {
        command.new_session();
    }
    command.streams(std::mem::take(&mut setting.streams));
    Ok(command)
}
