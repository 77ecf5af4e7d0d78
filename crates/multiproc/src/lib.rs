//! Python's `multiprocessing`, in Rust: functions in other processes, arrays that processes share,
//! channels between them, and pools of worker processes.
//!
//! ```
//! use multiproc::{Pool, Process, SharedArray};
//!
//! fn cube(array: &SharedArray<i32>, i: usize) {
//!     let mut a = array.lock().unwrap();
//!     a[i] = a[i].pow(3);
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // a pool
//!     let pool = Pool::new(4)?;
//!     assert_eq!(pool.map(|n: u64| n * n, 1..=9)?, [1, 4, 9, 16, 25, 36, 49, 64, 81]);
//!
//!     // processes and a shared array
//!     let array = SharedArray::from_slice(&[2, 3, 4, 5])?;
//!     let children: Vec<_> = (0..array.len())
//!         .map(|i| Process::spawn(|(array, i)| cube(&array, i), (array.clone(), i)))
//!         .collect::<Result<_, _>>()?;
//!     for child in children {
//!         child.join()?;
//!     }
//!     assert_eq!(array.to_vec()?, [8, 27, 64, 125]);
//!     Ok(())
//! }
//! ```
//!
//! Nothing is added to `main`, to a function or to a test: the same program is started again, and a hook
//! before its `main` sees that it is a child and runs the function.
//!
//! # What to use for what
//!
//! | to … | use |
//! |---|---|
//! | run one function in another process and get its result | [`Process::spawn`], [`Process::join`], or `.await` |
//! | wait for the first of several processes, see which there are | [`wait_any`], [`active_children`] |
//! | have processes start at the cost of a fork, with state loaded once | [`StartMethod::ForkServer`], [`set_forkserver_preload`] |
//! | choose how all processes start | [`set_start_method`] |
//! | give that process a name, an environment, a folder, other standard streams, limits | [`Process::builder`] |
//! | run a function over many items, or many tasks one after the other | [`Pool`] |
//! | fill or change a large shared array with all workers, in place | [`Pool::for_each_chunk_mut`] |
//! | submit tasks and see to it that they are finished, wait for some of many | [`Executor`], [`pool::wait`], [`pool::as_completed`] |
//! | see what a pool does, how long tasks take and where | [`Pool::stats`], [`Pool::timeline`], [`MapTask::get_with_progress`] |
//! | let processes read and write the same elements, or one value | [`SharedArray`], [`Mutex`], [`RwLock`] |
//! | let them all read what nobody changes any more | [`FrozenArray`] |
//! | share bytes with a program that was started by itself | [`SharedMemory`] |
//! | let them count, or change elements one by one, without a lock | [`RawArray`], [`RawValue`] |
//! | let them change one array piece by piece at the same time | [`ArrayGuard::lend`](multiproc_shm::ArrayGuard::lend), [`ArrayPieces`] |
//! | let one process at a time do something, or a few | [`Lock`], [`RLock`], [`Semaphore`], [`BoundedSemaphore`] |
//! | let processes wait for something to happen | [`Event`], [`Condition`], [`Barrier`], [`Once`] |
//! | pass values from one process to another while both run | [`channel()`], [`bounded`] |
//! | let two processes talk to each other | [`duplex`] |
//! | send many bytes or numbers at the speed of a copy | [`Bytes`], [`Bulk`] |
//! | wait for channels, queues, processes and moments at once | [`channel::wait`] |
//! | hand messages from many processes to whichever of many is free | [`Queue`], [`JoinableQueue`], [`SimpleQueue`] |
//! | talk to a process that was started elsewhere | [`Listener`], [`Client`] |
//! | pass an open file, socket or pipe to another process | [`Descriptor`] |
//! | let any error travel out of a function | [`Failure`] |
//!
//! # Functions and their arguments
//!
//! A function that another process is to run is a plain `fn(A) -> R`, to which a closure that captures
//! nothing coerces; one that captures does not compile. Argument and result travel by serde; several
//! arguments are a tuple. What is shared (an array, a value, a sender) is an argument like any other: a
//! handle to the same memory arrives, not a copy.
//!
//! ```
//! # use multiproc::Process;
//! let child = Process::spawn(|(base, exponent): (u64, u32)| base.pow(exponent), (3, 4))?;
//! assert_eq!(child.join()?, 81);
//! # Ok::<(), multiproc::process::Error>(())
//! ```
//!
//! # When something goes wrong
//!
//! A function may return any `Result` that serde can carry. [`Failure`] is the error type to which `?`
//! turns every other:
//!
//! ```
//! # use multiproc::{Failure, Process};
//! fn lines(path: String) -> Result<usize, Failure> {
//!     Ok(std::fs::read_to_string(path)?.lines().count())
//! }
//! let child = Process::spawn(lines, "/no/such/file".to_string())?;
//! let failure = child.join()?.unwrap_err();
//! assert!(failure.message().contains("No such file"));
//! # Ok::<(), multiproc::process::Error>(())
//! ```
//!
//! A panic is an error value with message, place and backtrace ([`Panic`]). So is a death: a function that
//! crashes, is killed or calls `exit` costs nobody but itself, and its caller learns how it ended.
//!
//! ```
//! # use multiproc::Process;
//! let child = Process::<()>::spawn(|()| std::process::abort(), ())?;
//! let error = child.join().unwrap_err();
//! assert!(error.to_string().contains("SIGABRT"), "{error}");
//! # Ok::<(), multiproc::process::Error>(())
//! ```
//!
//! # What a child sees
//!
//! The parent's environment, folder and standard output and error, and an empty standard input. `main` did
//! not run there: statics are fresh, and there is no logger and no configuration but what the function
//! sets up. A child never outlives its parent, even one that is killed.
//!
//! # Features
//!
//! All but `ndarray`, `indicatif`, `tracing` and `ipc` are on by default; each works alone.
//!
//! - `process`: [`Process`].
//! - `pool`: [`Pool`], [`Executor`]; brings `process`.
//! - `shm`: [`SharedArray`], [`Mutex`], and the locks, semaphores, events, conditions and barriers.
//! - `ndarray`: the guards of shared arrays, and frozen arrays, as views of the crate `ndarray`.
//! - `indicatif`: a progress bar for a map, `MapTask::get_with_bar`.
//! - `tracing`: tasks run in spans that name the span their call was made in ([`pool`]).
//! - `channel`: [`channel()`], [`Sender`], [`Receiver`], [`duplex`], [`Queue`].
//! - `ipc`: channels over ipc-channel, and its ends inside messages; see `channel::ipc`.
//! - `connection`: [`Listener`], [`Client`], [`Connection`].
//! - `auto-init`: the hook before `main`. Without it a program calls [`init`] first in `main`; forgotten,
//!   every start is an error that says so.
//!
//! # Crates
//!
//! Each part is a crate of its own for those who need no more, and is found here as a module too:
//! [`process`], [`pool`], [`shm`], [`mod@channel`], [`connection`]. Those hold what is rarely named, such as builders and error
//! types.
#![forbid(unsafe_code)]

// Processes.
#[cfg(feature = "process")]
#[doc(inline)]
pub use multiproc_process::{
    EXIT_WAIT, ExitStatus, ForkPromise, MemoryCap, Process, Resource, StartMethod, Stdio,
    active_children, cpu_count, current_process, force_start_method, get_start_method, init,
    is_child, parent_process, set_executable, set_forkserver_preload, set_start_method, wait_any,
};

// Pools of worker processes.
#[cfg(feature = "pool")]
#[doc(inline)]
pub use multiproc_pool::{
    Chunks, Executor, FailureMode, MapTask, Policy, Pool, Task, TaskError, cancelled,
};

// Memory that processes share.
#[cfg(feature = "shm")]
#[doc(inline)]
pub use multiproc_shm::{
    ArrayPieces, Barrier, BoundedSemaphore, Condition, Event, FrozenArray, Lock, Mutex, Once,
    RLock, RawArray, RawValue, RwLock, Semaphore, SharedArray, SharedMemory, SharedValue,
};

// Messages between processes.
#[cfg(feature = "channel")]
#[doc(inline)]
pub use multiproc_channel::{
    Bulk, Bytes, Duplex, JoinableQueue, Queue, Receiver, Sender, SimpleQueue, bounded, channel,
    duplex,
};

// Connections between processes that did not start each other.
#[cfg(feature = "connection")]
#[doc(inline)]
pub use multiproc_connection::{Client, Connection, Listener};

// Errors and open files that travel.
#[doc(inline)]
pub use multiproc_wire::{Descriptor, Failure, FailureError, Panic, as_descriptor};

// The parts, whole.
#[cfg(feature = "channel")]
pub use multiproc_channel as channel;
#[cfg(feature = "connection")]
pub use multiproc_connection as connection;
#[cfg(feature = "pool")]
pub use multiproc_pool as pool;
#[cfg(feature = "process")]
pub use multiproc_process as process;
#[cfg(feature = "shm")]
pub use multiproc_shm as shm;

/// The examples of README.md, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
