//! Moments on the clock that waits are measured with.
//!
//! A port supplies [`Deadline`] over a clock that never jumps and that goes on counting while the
//! program is stopped.

cfg_select! {
    target_os = "linux" => { mod monotonic; use monotonic as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/clock/mod.rs says what one must supply"); }
}
pub use imp::Deadline;
