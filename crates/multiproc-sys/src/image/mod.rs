//! Loaded images, and addresses in them that mean the same in another process running the same file.
//!
//! A port supplies [`Location`] (an address as an image's identity and an offset), `locate`, `resolve`
//! (back to an address, only where the offset lies in the asked-for kind of memory of an image with
//! that identity), and `main_identity` and `identity_of` (equal in two processes only if they run, or have loaded, the same build).

cfg_select! {
    target_os = "linux" => { mod elf; use elf as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/image/mod.rs says what one must supply"); }
}
pub(crate) use imp::constructors_after;
pub use imp::{Location, Region, identity_of, locate, main_identity, resolve};
