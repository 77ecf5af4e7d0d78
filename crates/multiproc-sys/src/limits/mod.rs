//! What a process may use, set by itself for itself and for all that it starts from then on.
//!
//! A port supplies [`Resource`], of which a process may be given so much and no more, and the functions;
//! where the platform has no such thing, an error that says so. Each error says what was asked for.

cfg_select! {
    target_os = "linux" => { mod linux; use linux as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/limits/mod.rs says what one must supply"); }
}
pub use imp::{
    Resource, address_space_in_use, memory_in_use, set_affinity, set_limit, set_niceness, set_umask,
};
