//! Waiting for a child to end, and ending it.
//!
//! A port supplies [`Waiter`] over a stable reference to one child, immune to the reuse of its number,
//! [`WaitSet`] over many of them and of streams, [`ready`] over any handles, and [`ExitStatus`]. It MUST NOT reap a child that it was not given.

cfg_select! {
    target_os = "linux" => { mod pidfd; mod ready; mod set; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/wait/mod.rs says what one must supply"); }
}
mod source;
mod status;

pub use pidfd::Waiter;
pub use ready::ready;
pub use set::WaitSet;
pub use source::{Readable, Source, Watch};
pub use status::ExitStatus;
