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
//! and no configuration but what the function sets up. The function runs on a thread of its own, named
//! as the process is, with a stack as large as that of a main thread. The child leads a process group of
//! its own, and no descriptor reaches it but its standard streams and what its argument carries.
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
//! # Features
//!
//! - `auto-init` (on by default): the hook before `main`. Without it, the program calls [`init`] first in
//!   `main`; forgotten, every start is an error.

mod builder;
mod capture;
mod child;
mod current;
mod error;
pub mod function;
mod handle;
mod joining;
mod method;
mod panics;
mod process;
mod reaper;
mod registry;
mod restrictions;
mod startup;
mod stdio;

pub use builder::Builder;
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use error::Error;
pub use handle::{ChildHandle, active_children, wait_any};
pub use joining::Joining;
pub use multiproc_sys::handle::{AsHandle, BorrowedHandle};
pub use multiproc_sys::limits::Resource;
pub use multiproc_sys::wait::ExitStatus;
pub use process::Process;
pub use registry::EXIT_WAIT;
pub use startup::{MAX_DEPTH, init, is_child};
pub use stdio::{Stdio, TAIL};
