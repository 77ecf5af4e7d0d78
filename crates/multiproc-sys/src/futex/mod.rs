//! Waiting on 32-bit words in memory that processes share.
//!
//! A port supplies `wait`, `wait_any` and `wake` over words mapped by several processes at different
//! addresses, `Woken`, and `MAX_WORDS`. A wait may end for nothing; callers look at the word again.

cfg_select! {
    target_os = "linux" => { mod linux; use linux as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/futex/mod.rs says what one must supply"); }
}
pub use imp::{MAX_WORDS, Woken, wait, wait_any, wake};
