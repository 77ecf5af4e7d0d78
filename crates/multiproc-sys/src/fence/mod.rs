//! Fences between processes of which one side pays for both: one that writes and then reads all the time, and one that
//! does so now and then.
//!
//! A port supplies `register`, by which a process agrees to be interrupted for it, and `heavy`: after that, each
//! thread of each process that has registered has passed a sequentially consistent fence at whatever it was doing. A
//! port that has none answers `false` to both, and the busy side passes a fence of its own.

cfg_select! {
    target_os = "linux" => { mod membarrier; use membarrier as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/fence/mod.rs says what one must supply"); }
}
pub use imp::{heavy, register};
