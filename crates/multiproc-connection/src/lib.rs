//! Connections between processes that did not start each other: [`Listener`] and [`Client`].
//!
//! A listener waits at an [`Address`], a Unix socket or a TCP port. A client that has the same [`Key`] connects, and
//! each side gets a typed [`Connection`].
//!
//! ```
//! use multiproc_connection::{Address, Client, Connection, Key, Listener};
//! use multiproc_process::Process;
//!
//! fn client((address, key): (Address, Key)) {
//!     let mut connection: Connection<String, usize> = Client::connect(&address, &key).unwrap();
//!     connection.send(&"how long is this?".into()).unwrap();
//!     assert_eq!(connection.recv().unwrap(), 17);
//! }
//!
//! let key = Key::random()?;
//! let mut listener = Listener::local(&key)?;
//! let child = Process::spawn(client, (listener.address().clone(), key))?;
//!
//! let mut connection: Connection<usize, String> = listener.accept()?;
//! let question = connection.recv()?;
//! connection.send(&question.len())?;
//! assert!(connection.recv().unwrap_err().is_disconnected());
//! child.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - Both sides prove that they have the key before anything else, by HMAC-SHA256 over random bytes of both, their
//!   roles, and all they have said of themselves. Nothing is decoded before that, and no descriptor taken in.
//! - A peer that is silent, slow, wrong or gone costs a listener one descriptor for a bounded time, and delays nobody.
//! - A message arrives wholly or not at all. One that is too long, or is no value of the type asked for, is an error
//!   of that message; the connection goes on.
//! - Memory is taken for bytes that have come, not for what a peer claims.
//! - Files, sockets and shared objects travel over a Unix socket between processes of the same build; elsewhere they
//!   are an error, and nothing of their message is sent.
//!
//! # What is not promised
//!
//! - **Nothing is encrypted, and messages carry no authentication of their own.** Over TCP, who can read the network
//!   reads all messages, and who can change what is on the way can change, drop, repeat or add messages after the
//!   handshake. Use TCP within one machine, or inside a tunnel. The kernel keeps others out of a Unix socket.
//! - Who overhears a handshake can try keys on it: take a [random](Key::random) one.
//! - A value of the wrong type may happen to decode as another: name a [protocol](Settings::protocol).
//!
//! # How it works
//!
//! `handshake` says what is proved and why it holds, `inbox` how messages are framed; neither knows of a socket.

#![forbid(unsafe_code)]

mod address;
mod key;
mod settings;

mod handshake;
mod hello;
mod pending;

mod client;
mod listener;

mod connection;
mod halves;
mod inbox;

mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use address::Address;
pub use client::Client;
pub use connection::{Connection, Peer};
pub use error::{Error, ErrorKind};
pub use halves::{RecvHalf, SendHalf};
pub use key::Key;
pub use listener::{Listener, Refusal};
pub use settings::Settings;
