//! Typed channels between processes.
//!
//! [`channel`] makes one: what is sent at its [`Sender`] comes out of its [`Receiver`], in another process or
//! in this one. Both ends are serde values: put one into the argument of a function that runs in another
//! process, into its result, or into a message of another channel, and it works there. [`duplex`] makes two ends
//! that talk to each other, and [`bounded`] a channel that holds so many messages. Of a [`Queue`] there are no ends:
//! whoever has it puts and takes. [`wait`] waits for many of them, and for processes and moments; `send_async` and
//! `recv_async` are futures on any executor.
//!
//! ```
//! use multiproc_channel::channel;
//! use multiproc_process::Process;
//!
//! let (sender, receiver) = channel()?;
//! let squares = |(sender, up_to): (multiproc_channel::Sender<u64>, u64)| {
//!     (1..=up_to).try_for_each(|n| sender.send(n * n)).is_ok()
//! };
//! let child = Process::spawn(squares, (sender, 4))?;
//! assert_eq!(receiver.iter().collect::<Result<Vec<_>, _>>()?, [1, 4, 9, 16]);
//! assert!(child.join()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - A sender may be cloned, and a sent one is one more. There is one receiver: sending it *moves* it, and
//!   the local one then answers that it has [moved](ChannelError::is_moved).
//! - Messages from one sender arrive in order; each arrives wholly or not at all, whatever its length and
//!   whoever is killed when. Handles inside a message (arrays, senders, files) arrive with it.
//! - A channel holds a bounded number of bytes. A full one blocks, times out, or says so, as asked.
//! - Receiving ends with `Disconnected` when the last sender is gone and everything was received, and
//!   sending does when the receiver is gone. The kernel counts them, so this is right after `kill -9`, and for
//!   ends that are in flight inside a message.
//! - What could not be sent is given back.
//!
//! Long runs of bytes or numbers are best sent as [`Bytes`] or [`Bulk`]. An array, a lock or other shared memory that is sent
//! again and again costs no descriptor: a receiver keeps what it was sent twice, at most 64 of them and for as long as the
//! sender has it; when that is gone, until it next waits.
//!
//! While both sides keep up, a message costs no allocation but the value's own, and the system is called
//! once a millisecond at most.
//!
//! # How it works
//!
//! A [`Transport`] carries messages as bytes and handles; all of them meet one contract (`src/transport.rs`).
//! Over [`Transport::Ring`], [`multiproc_shm::ring`] carries the bytes. What surrounds it, and what each death leaves behind, is in
//! `src/ring/README.md`; how queues work, in `src/queue/README.md`.
//!
//! # Features
//!
//! - `ipc`: `Transport::Ipc`, which carries messages over ipc-channel, and `ipc::Carried`, in which ipc-channel's own
//!   ends travel inside messages. Off unless asked for.

mod builder;
mod bulk;
mod channel;
mod duplex;
mod encoding;
mod error;
mod future;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod id;
#[cfg(feature = "ipc")]
pub mod ipc;
mod iter;
mod line;
mod outside;
mod peer;
mod queue;
mod reactor;
mod ring;
mod seat;
mod transport;
mod wait;
mod words;

pub use builder::ChannelBuilder;
pub use bulk::Bulk;
pub use channel::{Receiver, Sender, bounded, channel, channel_with_capacity};
pub use duplex::{Duplex, duplex};
pub use error::{
    ChannelError, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError,
    TrySendError,
};
pub use future::{RecvFuture, RecvStream, SendFuture};
pub use iter::{IntoIter, Iter, TryIter};
pub use peer::PeerEnd;
pub use queue::{
    Iter as QueueIter, JoinError, JoinableQueue, Queue, QueueBuilder, SimpleQueue, TaskDoneError,
};
pub use transport::Transport;
pub use wait::wait;

/// Long runs of bytes, as messages or in them.
pub use multiproc_shm::Bytes;

// What `wait` takes besides.
pub use multiproc_sync::Deadline;
pub use multiproc_sys::wait::{Readable, Source, Watch};
