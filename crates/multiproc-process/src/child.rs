//! The child's side: the order, the call, the report, the end.

use std::io::{self, Write};
use std::process;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::{process as sys, signal};
use multiproc_wire::{Decoder, Encoder, Frame, Incoming, Link, Panic, encode};

use crate::current::{self, AsChild, ParentProcess};
use crate::function::{Outcome, PanicReport};
use crate::startup::{ORDER, Order, TRIGGER, identity};

/// Frames from child to parent: the encoded result, …
pub(crate) const RESULT: u8 = 1;
/// … a [`Panic`], …
pub(crate) const PANICKED: u8 = 2;
/// … why the function was not called, …
pub(crate) const REFUSED: u8 = 3;
/// … why the argument could not be decoded, …
pub(crate) const ARGUMENTS_LOST: u8 = 4;
/// … why the result could not be encoded; …
pub(crate) const RESULT_LOST: u8 = 5;
/// … and before those, where it was asked for, that the function is about to be called.
pub(crate) const STARTED: u8 = 6;

/// The exit code of a child whose function panicked: that of a Rust program whose `main` did.
const EXIT_PANICKED: i32 = 101;
/// The exit code of a child that could not call its function, or not send its result.
const EXIT_REFUSED: i32 = 70;

/// How long an order may take to be read, which was written before the start, and a report to be
/// written, which the parent need not read for it to fit.
const PATIENCE: Duration = Duration::from_secs(30);

static LINK: OnceLock<Link> = OnceLock::new();

/// For a child that has no way to tell its parent; the parent sees the exit code.
#[expect(clippy::exit, reason = "a child never reaches main")]
pub(crate) fn refuse_start(error: &io::Error) -> ! {
    // A closed standard error is no reason to stay.
    let _told = writeln!(
        io::stderr(),
        "multiproc: {TRIGGER} makes this process a child, and it cannot be one: {error}"
    );
    process::exit(EXIT_REFUSED)
}

/// An order that was taken and is to be carried out.
pub(crate) struct Task {
    order: Order,
    body: Vec<u8>,
    /// How many of the body's last bytes are the arguments, and the handles in them.
    arguments: (usize, Vec<Arc<OwnedHandle>>),
}

/// Step 5 (see `startup.rs`).
pub(crate) fn take_order(link: Link, parent: ParentProcess) -> (&'static Link, Task) {
    signal::as_at_start_of_main();
    let link = LINK.get_or_init(|| link);
    match read_order(link, parent) {
        Ok(task) => (link, task),
        Err(why) => refuse(link, &why),
    }
}

/// Steps 6 and 7, after what was left to be initialised.
#[expect(clippy::exit, reason = "a child never reaches main")]
pub(crate) fn run(link: &'static Link, task: Task) -> ! {
    match serve(link, task) {
        Ok(code) => process::exit(code),
        Err(why) => refuse(link, &why),
    }
}

/// Tells the parent why the function is not called.
#[expect(clippy::exit, reason = "a child never reaches main")]
fn refuse(link: &Link, why: &str) -> ! {
    report(link, REFUSED, why.as_bytes(), &[]);
    process::exit(EXIT_REFUSED)
}

fn read_order(link: &Link, parent: ParentProcess) -> Result<Task, String> {
    let (body, handles) = match link.receive(Deadline::after(PATIENCE)) {
        Ok(Incoming::Frame {
            kind: ORDER,
            body,
            handles,
        }) => (body, handles),
        Ok(other) => return Err(format!("the order did not come: {other:?}")),
        Err(error) => return Err(format!("the order did not come: {error}")),
    };
    let mut decoder = Decoder::new(&body, handles);
    let (image, order): (Vec<u8>, Order) = decoder
        .decode()
        .map_err(|error| format!("the order is not one: {error}"))?;
    if image != identity() {
        return Err("it runs another build of the program than its parent".to_string());
    }
    let arguments = decoder.into_rest();
    sys::set_name(&order.name);
    current::know(AsChild {
        name: order.name.clone(),
        parent: ParentProcess {
            name: order.parents_name.clone(),
            ..parent
        },
    });
    order.restrictions.apply()?;
    Ok(Task {
        order,
        body,
        arguments,
    })
}

fn serve(link: &'static Link, task: Task) -> Result<i32, String> {
    let Task {
        order,
        body,
        arguments,
    } = task;
    let callable = order
        .function
        .resolve()
        .map_err(|error| error.to_string())?;
    let panics = if order.print_panics {
        PanicReport::Printed
    } else {
        PanicReport::Quiet
    };
    let thread = thread::Builder::new()
        .name(order.name)
        .stack_size(sys::main_stack_size());
    let worker = move || {
        if order.tell_start {
            report(link, STARTED, &[], &[]);
        }
        let (bytes, handles) = arguments;
        let arguments = Decoder::new(&body[body.len() - bytes..], handles);
        let mut result = Vec::new();
        let mut results = Encoder::new(&mut result);
        let outcome = callable.call(panics, arguments, &mut results);
        let handoff = results.finish();
        match outcome {
            Outcome::Returned => {
                let sent = report(link, RESULT, &result, handoff.handles());
                if sent {
                    handoff.sent();
                    0
                } else {
                    EXIT_REFUSED
                }
            }
            Outcome::Panicked(panic) => {
                report_panic(link, &panic);
                EXIT_PANICKED
            }
            Outcome::ArgumentsLost(why) => {
                report(link, ARGUMENTS_LOST, why.as_bytes(), &[]);
                EXIT_REFUSED
            }
            Outcome::ResultLost(why) => {
                report(link, RESULT_LOST, why.as_bytes(), &[]);
                EXIT_REFUSED
            }
        }
    };
    let worker = thread
        .spawn(worker)
        .map_err(|error| format!("it could not start a thread: {error}"))?;
    // The thread catches what its function throws; what else may come is no reason to be silent.
    worker
        .join()
        .map_err(|_| "its thread ended by a panic outside the function".to_string())
}

/// Sends a report; if it cannot be sent as it is, why it cannot. A parent that has dropped its handle
/// does not want to know, and that is no failure.
fn report(link: &Link, kind: u8, body: &[u8], handles: &[Arc<OwnedHandle>]) -> bool {
    let deadline = Deadline::after(PATIENCE);
    let Err(error) = link.send(
        Frame {
            kind,
            body,
            handles,
        },
        deadline,
    ) else {
        return true;
    };
    let why = error.to_string();
    let frame = Frame {
        kind: RESULT_LOST,
        body: why.as_bytes(),
        handles: &[],
    };
    let _told = link.send(frame, deadline);
    false
}

fn report_panic(link: &Link, panic: &Panic) {
    let mut body = Vec::new();
    if encode(panic, &mut body).is_ok() {
        report(link, PANICKED, &body, &[]);
    }
}

/// Where a panic aborts, there is no coming back to `serve`.
#[cfg(panic = "abort")]
pub(crate) fn report_before_abort(panic: &Panic) {
    if let Some(link) = LINK.get() {
        report_panic(link, panic);
    }
}
