//! Streams of bytes between processes that were not started by each other: local ones with a path, and TCP.
//!
//! A port supplies [`owner_only`], and [`Acceptor`] and [`Stream`], none of whose calls waits but for the connecting ones, which take
//! a deadline. A local stream passes handles beside its bytes and knows the user at its other end; a TCP stream does
//! neither. Nothing here is authenticated or encrypted: that is for who uses it.

cfg_select! {
    target_os = "linux" => { mod sockets; use sockets as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/stream/mod.rs says what one must supply"); }
}
pub(crate) use imp::local_address;
pub use imp::{Acceptor, HANDLES_A_SEND, MAX_PATH, Stream, User, owner_only};
