//! A flag that processes share and `poll` sees: a handle that is readable while it is raised.
//!
//! A port supplies `Flag`. Raising and lowering never wait, and either may be done twice.

cfg_select! {
    target_os = "linux" => { mod eventfd; use eventfd as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/flag/mod.rs says what one must supply"); }
}
pub use imp::Flag;
