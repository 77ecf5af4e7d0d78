//! The child's side: the order, the call, the report, the end.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::{process as sys, signal};
use multiproc_wire::handoff::Offers;
use multiproc_wire::{Decoder, Encoder, Frame, Incoming, Link, Panic, decode, encode};

use crate::current::{self, AsChild, ParentProcess};
use crate::function::{Callable, Outcome, PanicReport};
use crate::startup::{self, ENVIRONMENT, Environment, MAX_DEPTH, ORDER, Order, TRIGGER, identity};
use crate::{executable, registry, start_method};

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

/// By depth: a child that is forked has its parent's, one level up.
static LINKS: [OnceLock<Link>; MAX_DEPTH as usize + 1] =
    [const { OnceLock::new() }; MAX_DEPTH as usize + 1];

/// Set in a child that has its parent's exit handlers.
static FORKED: AtomicBool = AtomicBool::new(false);

/// This process was forked from its parent: what that does at its end is not done at this one's.
pub(crate) fn forked() {
    // Relaxed: before any other thread is started here.
    FORKED.store(true, Ordering::Relaxed);
}

/// The end of a child.
#[expect(clippy::exit, reason = "a child never reaches main")]
pub(crate) fn end(code: i32) -> ! {
    if FORKED.load(Ordering::Relaxed) {
        registry::end();
        sys::flush_streams();
        sys::exit_now(code)
    }
    process::exit(code)
}

/// Makes `link` the one on which this child reports.
pub(crate) fn adopt(link: Link) -> &'static Link {
    let slot = LINKS.get(startup::depth() as usize);
    let slot = slot.expect("no child is started beyond the depth");
    slot.get_or_init(|| link)
}

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
    pub(crate) order: Order,
    /// What it names, where that was looked for already and is there.
    callable: Option<Callable>,
    body: Vec<u8>,
    /// How many of the body's last bytes are the arguments, and the handles in them.
    arguments: (usize, Offers),
}

/// Step 5 (see `startup.rs`): what the order makes of this process, whose environment `enter` sees to.
pub(crate) fn take_order(
    link: &Link,
    task: Result<Task, String>,
    parent: ParentProcess,
    enter: impl FnOnce(&Link) -> Result<(), String>,
) -> Task {
    signal::as_at_start_of_main();
    let task = task.and_then(|task| {
        // Before the limits: it may need a descriptor.
        enter(link)?;
        become_child(&task.order, parent)?;
        Ok(task)
    });
    task.unwrap_or_else(|why| refuse(link, &why))
}

/// Steps 6 and 7, after what was left to be initialised; on this thread, since another would cost a tenth of a start.
pub(crate) fn run(link: &'static Link, task: Task) -> ! {
    match carry_out(link, task) {
        Ok(code) => end(code),
        Err(why) => refuse(link, &why),
    }
}

/// Steps 6 and 7 where what is to be called is here.
pub(crate) fn run_here(
    link: &'static Link,
    task: &Task,
    call: impl FnOnce(PanicReport, &mut Encoder<'_>) -> Outcome,
) -> ! {
    end(call_and_report(link, &task.order, call))
}

/// Tells the parent why the function is not called.
pub(crate) fn refuse(link: &Link, why: &str) -> ! {
    report(link, REFUSED, why.as_bytes(), &[]);
    end(EXIT_REFUSED)
}

/// As [`refuse`], by a process that goes on.
pub(crate) fn report_refusal(link: &Link, why: &str) {
    report(link, REFUSED, why.as_bytes(), &[]);
}

pub(crate) fn receive_order(link: &Link) -> Result<Task, String> {
    let (body, handles) = receive(link, ORDER, "the order")?;
    read_order(body, handles)
}

fn read_order(body: Vec<u8>, handles: Vec<Arc<OwnedHandle>>) -> Result<Task, String> {
    let mut decoder = Decoder::new(&body, handles);
    let (image, order): (Vec<u8>, Order) = decoder
        .decode()
        .map_err(|error| format!("the order is not one: {error}"))?;
    if image != identity() {
        return Err("it runs another build of the program than its parent".to_string());
    }
    let arguments = decoder.into_rest();
    Ok(Task {
        order,
        callable: None,
        body,
        arguments,
    })
}

/// An order without handles, read for a child that is forked from this process then: the pages that it takes are at hand
/// here, and each child would have to copy or map them first.
pub(crate) fn order_of_a_fork(body: &[u8]) -> Result<Task, String> {
    let mut task = read_order(body.to_vec(), Vec::new())?;
    // Where it is not there, the child says why.
    task.callable = callable(&task.order).ok();
    Ok(task)
}

/// The environment behind the order.
pub(crate) fn receive_environment(link: &Link) -> Result<Environment, String> {
    let (body, handles) = receive(link, ENVIRONMENT, "the environment")?;
    decode(&body, handles).map_err(|error| format!("the environment is not one: {error}"))
}

fn receive(link: &Link, kind: u8, what: &str) -> Result<(Vec<u8>, Vec<Arc<OwnedHandle>>), String> {
    match link.receive(Deadline::after(PATIENCE)) {
        Ok(Incoming::Frame {
            kind: found,
            body,
            handles,
        }) if found == kind => Ok((body, handles)),
        Ok(other) => Err(format!("{what} did not come: {other:?}")),
        Err(error) => Err(format!("{what} did not come: {error}")),
    }
}

fn become_child(order: &Order, parent: ParentProcess) -> Result<(), String> {
    sys::set_name(&order.name);
    current::know(AsChild {
        name: order.name.clone(),
        parent: ParentProcess {
            name: order.parents_name.clone(),
            ..parent
        },
    });
    if let Some(executable) = &order.executable {
        executable::inherit(executable);
    }
    if let Some(method) = &order.start_method {
        start_method::inherit(method);
    }
    order.restrictions.apply()
}

fn callable(order: &Order) -> Result<Callable, String> {
    let function = order.function.as_ref().ok_or("no function was named")?;
    function.resolve().map_err(|error| error.to_string())
}

/// Calls the function of an order, and reports; the code to end with.
pub(crate) fn carry_out(link: &Link, task: Task) -> Result<i32, String> {
    let callable = task.callable.map_or_else(|| callable(&task.order), Ok)?;
    let code = call_and_report(link, &task.order, |panics, results| {
        let (bytes, handles) = task.arguments;
        let arguments = Decoder::new(&task.body[task.body.len() - bytes..], handles);
        callable.call(panics, arguments, results)
    });
    Ok(code)
}

/// The code to end with.
fn call_and_report(
    link: &Link,
    order: &Order,
    call: impl FnOnce(PanicReport, &mut Encoder<'_>) -> Outcome,
) -> i32 {
    let panics = if order.print_panics {
        PanicReport::Printed
    } else {
        PanicReport::Quiet
    };
    if order.tell_start {
        report(link, STARTED, &[], &[]);
    }
    let mut result = Vec::new();
    let mut results = Encoder::new(&mut result);
    let outcome = call(panics, &mut results);
    let handoff = results.finish();
    match outcome {
        Outcome::Returned => {
            if report(link, RESULT, &result, handoff.handles()) {
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
    let link = LINKS.get(startup::depth() as usize).and_then(OnceLock::get);
    if let Some(link) = link {
        report_panic(link, panic);
    }
}
