//! Which process it was, and whether it can still run: for who finds a note of it in shared memory and is
//! not its parent.
//!
//! The kernel tells of a *thread's* death at once ([`robust`](crate::robust)), while others of its process
//! may run for some microseconds more, or for good. Whoever takes over what the process as a whole was
//! using waits until it is *over*.
//!
//! A port supplies [`Identity`]: never the same for two processes, though their numbers may be.

cfg_select! {
    target_os = "linux" => { mod proc; use proc as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/identity/mod.rs says what one must supply"); }
}
pub use imp::Identity;
pub(crate) use imp::forget_after_fork;
