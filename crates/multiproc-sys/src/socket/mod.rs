//! Private pairs of message sockets, over which descriptors can travel.
//!
//! A port supplies [`Socket`]: a pair of ends with no name, through which whole messages of bytes and
//! handles pass in order; each arrives wholly or not at all, and each side learns of the other's end
//! (however it came) when what was sent before has been read. [`Meeting`] and [`Packets`] are the same under a path,
//! for a library that knows no other way to meet.

cfg_select! {
    target_os = "linux" => { mod packets; pub(crate) mod rights; mod seqpacket; use seqpacket as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/socket/mod.rs says what one must supply"); }
}
#[cfg(any(test, fuzzing))]
pub use imp::fuzzing;
pub(crate) use imp::peer;
pub use imp::{MAX_BYTES, MAX_HANDLES, Received, Socket};
pub use packets::{Meeting, Packets};
