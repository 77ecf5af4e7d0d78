//! Harness for tests with real processes; unpublished, and dependent on no other crate of the workspace.
//!
//! What it does
//! - [`Program`] runs a program under a deadline and takes its whole tree down with it.
//! - [`Oracle`] fails a test that leaves a process, zombie, descriptor, shared-memory or temporary entry behind.
//! - [`eventually`] and [`within`] put a deadline on every wait; [`linger`] and [`forever`] are tasks that take time.
//! - [`descendants`], [`process_state`], [`alive`] look at processes, [`kill`] sends them a signal.
//! - [`hostile`] gives a decoder millions of inputs that nobody means well with, and [`CountingAllocator`] counts their cost.
//! - [`system_calls`] counts what threads of other processes ask of the kernel.
//! - [`Percentiles`] sums up measured durations for the suite's own report.
//!
//! What it does not do
//! - It does not find programs that are not built: [`Program::example`] says how to build one.
//! - It does not count threads.
//!
//! Linux only: what it sees comes from `/proc`. Needs Linux 5.9 (`close_range`).
//!
//! ```
//! use multiproc_testkit::{Oracle, Program};
//!
//! let oracle = Oracle::begin();
//! let output = Program::new("/bin/sh").args(["-c", "echo hello"]).run();
//! assert_eq!(output.stdout, "hello\n");
//! oracle.finish();
//! ```

mod calls;
mod hostile;
mod oracle;
mod percentiles;
mod process;
mod program;
mod reaper;
mod running;
mod wait;

pub use calls::{Calls, mark, system_calls};
pub use hostile::{COUNT, CountingAllocator, hostile};
pub use oracle::Oracle;
pub use percentiles::Percentiles;
pub use process::{ProcessInfo, alive, descendants, kill, process_state};
pub use program::{Output, Program};
pub use running::Running;
pub use wait::{eventually, forever, linger, within};

pub use libc::{
    SIGABRT, SIGBUS, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1,
};
