//! Start a function in another process, and get back what it returns.
//!
//! ```
//! use multiproc_process::Process;
//!
//! let child = Process::spawn(|n: u64| n * n, 12)?;
//! assert_eq!(child.join()?, 144);
//! # Ok::<(), multiproc_process::Error>(())
//! ```
//!
//! The function is a plain `fn(A) -> R`, to which a closure that captures nothing coerces; what it needs
//! is passed as its argument (several as a tuple) and travels by serde. Nothing has to be added to
//! `main`: the same program is started again, and before its `main` a hook sees that it is a child, and
//! runs the function.
//!
//! # What a child is
//!
//! A new process running the same image, with the parent's environment, folder and standard output and
//! error; its standard input is empty. `main` did *not* run in it: statics are fresh, there is no logger
//! and no configuration but what the function sets up. The function runs on the main thread, which
//! has no name for [`std::thread::current`]; a panic is printed below the name of the process. The child leads
//! a process group of its own, and no descriptor reaches it but its standard streams and what its argument
//! carries.
//!
//! # Start methods
//!
//! That is what a child is by [`StartMethod::Spawn`], and, but for what `StartMethod` tells, by
//! [`ForkServer`](StartMethod::ForkServer), where a child costs a fork instead of a start, and may find state that was
//! [preloaded](set_forkserver_preload) once for all. By [`Fork`](StartMethod::Fork) it is a copy of its
//! parent, descriptors included, that calls a function or [a closure](Builder::fork). [`set_start_method`] chooses for
//! all children, [`Builder::start_method`] for one. All that follows holds for each.
//!
//! # What is promised
//!
//! - **A child never outlives its parent.** When the parent ends, even by `SIGKILL`, the kernel kills the
//!   child and its process group, busy, stopped or with signals blocked.
//! - **A start never hangs.** A child that dies at any step of its start is an error of
//!   [`join`](Process::join).
//! - **Joining never hangs on a result.** A result of any size is out of the child before it ends.
//! - **A panic is an error value** with message, place and backtrace. So is a death: exit code or signal,
//!   and what the child last wrote to standard error if that is [captured](Stdio::captured).
//! - Dropping a [`Process`] neither blocks nor kills; the child is reaped when it ends.
//!
//! # At the end of the program
//!
//! Children that still run when the program ends by returning from `main` or by `exit` are waited for, up
//! to [`EXIT_WAIT`]; [daemonic](Builder::daemon) ones are killed; [detached](Process::detach) ones end with
//! it, as all do when it ends in another way.
//!
//! # Signals
//!
//! The library installs no handler and ignores no signal. Each child leads a process group of its own, so that what a
//! terminal sends reaches the program alone: Ctrl-C ends it, and the kernel then ends the rest, without a word from
//! any. Ctrl-Z stops the program alone, too; its children run on until they need it, and
//! [`suspend`](Process::suspend) is there for a program that wants them stopped.
//!
//! # Differences from Python
//!
//! - A process is started when it is made, once; there is no subclass, no `run`, no group. Its name is given to
//!   the builder, and is `Process-N` else, without the numbers of its ancestors.
//! - Methods can be called by any thread, and handles sent to any; a process cannot join itself, having no handle to
//!   itself. `join` gives what the function returned, once, and says by an error what went wrong or that time is up.
//! - There is no `close`: what a `Process` holds is given back when it is dropped.
//! - An uncaught panic is exit code 101, as that of a Rust program, and not 1. `exit(n)` is `n`, a signal
//!   `-n` in [`ExitStatus::exitcode`]. A status is never lost: there is no 255 for that.
//! - The child ends when its function has returned, and does not wait for threads that this has left; it does
//!   wait for its own children, and runs exit handlers (none by `Fork`: its parent's would be among them).
//! - A daemonic child may have children; it is killed, not terminated, at the end of the program, and whether it is
//!   daemonic is not inherited. A child that is not is waited for with a bound, [`EXIT_WAIT`].
//! - No child outlives its parent, and `kill` takes the process group along, so that nothing is orphaned; so a
//!   [`parent_process`] can be asked whether it lives, and not be joined.
//! - The sentinel is the process's end, whoever still holds what the child had open.
//! - An interrupt (`SIGINT`) ends a child that does not handle it, and no exception is thrown in it.
//! - There is no tracker of resources, since nothing has a name that could be left behind.
//! - Nothing like `authkey` exists: what connects parent and child has no name that others could find.
//! - `Spawn` is what is used unless asked otherwise, on each platform; there is no context object. Whoever uses
//!   [`get_start_method`] does not fix the choice, and a lock is not tied to one method.
//! - Handles travel in any message between processes, not only at the start.
//! - The fork server passes any number of descriptors, its children's statuses are the kernel's, and Ctrl-C does not
//!   reach it, rather than being ignored there and in its children.
//! - A program whose `main` starts children without a condition needs none: `main` does not run in a child.
//!
//! # Features
//!
//! - `auto-init` (on by default): the hook before `main`. Without it, the program calls [`init`] first in
//!   `main`; forgotten, every start is an error.

mod builder;
mod capture;
mod child;
mod current;
mod error;
mod executable;
mod fork;
mod forkserver;
pub mod function;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handle;
mod helper;
mod joining;
mod memory;
mod method;
mod panics;
mod process;
mod reaper;
mod registry;
mod restrictions;
mod start_method;
mod startup;
mod stdio;

pub use builder::Builder;
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use error::Error;
pub use executable::set_executable;
pub use forkserver::set_forkserver_preload;
pub use handle::{ChildHandle, active_children, wait_any};
pub use joining::Joining;
pub use memory::MemoryCap;
pub use multiproc_sys::handle::{AsHandle, BorrowedHandle};
pub use multiproc_sys::limits::Resource;
pub use multiproc_sys::wait::ExitStatus;
pub use process::Process;
pub use registry::EXIT_WAIT;
pub use start_method::{
    ForkPromise, StartMethod, force_start_method, get_start_method, set_start_method,
};
pub use startup::{MAX_DEPTH, init, is_child};
pub use stdio::{Stdio, TAIL};
