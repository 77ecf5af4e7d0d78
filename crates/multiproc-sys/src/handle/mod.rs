//! Owned and borrowed kernel handles.
//!
//! A port supplies `OwnedHandle`, `BorrowedHandle` and `AsHandle`: the standard library's types for
//! what the platform passes between processes; `poll`, and `poll_slice` for any number.

cfg_select! {
    target_os = "linux" => { mod descriptor; use descriptor as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/handle/mod.rs says what one must supply"); }
}
pub use imp::{AsHandle, BorrowedHandle, Interest, OwnedHandle, Readiness, poll, poll_slice};
