//! A pool of worker processes.
//!
//! ```
//! use multiproc_pool::Pool;
//!
//! let pool = Pool::new(4)?;
//! assert_eq!(pool.map(|n: u64| n * n, 1..=9)?, [1, 4, 9, 16, 25, 36, 49, 64, 81]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A task is a plain `fn(A) -> R`, to which a closure that captures nothing coerces. Several arguments are
//! a tuple; what is shared travels as a handle among them. A task that can fail returns a
//! `Result<R, E>` of its own.
//!
//! # What is promised
//!
//! - **A worker's death costs one task**, the one it ran: [`TaskError::WorkerLost`]. The worker is
//!   replaced. What it had not started is run by another; what it had finished is delivered.
//! - **A panic is an error of its task**; the worker lives on.
//! - **No worker idles while a task is not started.** Tasks that wait at one worker are given to another
//!   that has nothing. So a long task strands nobody, and two tasks that wait for each other meet
//!   where there are two workers.
//! - **A task is started at most once**, unless its call asks for [retries](Policy::retries).
//! - **A crash loop ends.** Where ten workers in a row end before they are ready, the pool gives up:
//!   [`TaskError::RestartLimit`].
//! - **Nothing waits for somebody else's code.** Results never block a worker, however late they are collected;
//!   [callbacks](Task::callback) have a thread of their own.
//! - **Workers end with the program**, however it ends.
//!
//! # What to use for what
//!
//! | to … | use |
//! |---|---|
//! | run one function | [`Pool::apply`], [`Pool::apply_async`] |
//! | run one over many items | [`Pool::map`], [`Pool::map_async`]; [`Pool::map_results`] for each item's error |
//! | take items as results are asked for | [`Pool::imap`], [`Pool::imap_unordered`] |
//! | give all items something large, or something to keep | [`Pool::map_with`] |
//! | make one value of many | [`Pool::fold`], [`Pool::map_reduce`] |
//! | change a shared array in place | [`Pool::for_each_chunk_mut`] |
//! | do something in each worker | [`Pool::broadcast`], [`Builder::initializer`], [`Builder::finalizer`] |
//! | limit time, begin again, send in chunks | [`Pool::with`] and [`Policy`], or the [`Builder`] |
//! | submit, and wait for some | [`Executor`], [`wait`], [`as_completed`] |
//! | do the same on threads | [`Pool::threads`] |
//!
//! # What tasks cannot borrow
//!
//! A task is in another process: a reference to a local variable means nothing there, and there is no `scope` for
//! that. Items may be borrowed (`words.iter()`), since they are encoded; what is to be read by all is a
//! state or a shared array, and what is to be changed by all is the latter, in pieces.
//!
//! # Seeing it
//!
//! [`Pool::stats`] tells how much is done and what each worker did, at no cost; [`MapTask::get_with_progress`] how far a map is,
//! and with the feature `indicatif` as a bar (`get_with_bar`). A pool [built](Builder::timeline) with a timeline keeps
//! which worker ran which task when: [`Pool::timeline`].
//!
//! With the feature `tracing`, a call that is made in a span of the crate `tracing` has each of its tasks run in a span `task` at
//! level INFO, whose fields name that one: `parent_pid`, `parent_id`, `parent_name` and `parent_target`. No more than
//! that crosses: neither the values of its fields nor the spans around it. A worker that is a process has
//! no subscriber but what its [initializer](Builder::initializer) sets up.
//!
//! # Waiting inside a task
//!
//! A task runs in another process, which has no handle to the pool. It cannot wait for a task of the same
//! pool, and so cannot deadlock on one.

#![forbid(unsafe_code)]

mod argument;
mod builder;
mod completion;
mod driver;
mod error;
mod executor;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod job;
mod policy;
mod pool;
mod protocol;
mod scheduler;
mod settings;
mod task;
mod verbs;
mod view;
mod worker;

pub use argument::Argument;
pub use builder::{Builder, Verdict};
pub use completion::{AsCompleted, ReturnWhen, Waitable, Waited, as_completed, wait};
pub use error::{Error, TaskError};
pub use executor::Executor;
pub use multiproc_process::{ExitStatus, StartMethod};
pub use multiproc_wire::{Failure, Panic};
pub use policy::{Chunks, Policy};
pub use pool::Pool;
pub use settings::FailureMode;
pub use task::{MapTask, Task};
pub use verbs::Imap;
pub use view::{
    Progress, SlowTask, Stats, TaskOutcome, TaskSpan, Timeline, WorkerSpan, WorkerStats,
};
pub use worker::cancelled;
