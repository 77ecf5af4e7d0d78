//! Signals by number and name.
//!
//! A port supplies the constants that stand for "end, please", "end now", "interrupt", "stop", "go on" and "this
//! process cannot go on", `name`, and `as_at_start_of_main`: what the standard library does to signals before `main`.

cfg_select! {
    target_os = "linux" => { mod unix; use unix as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/signal/mod.rs says what one must supply"); }
}
pub use imp::{ABORT, INTERRUPT, KILL, RESUME, SUSPEND, TERMINATE, as_at_start_of_main, name};
