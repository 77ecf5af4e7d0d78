//! Nameless memory that can be handed to other processes, and mappings of it.
//!
//! A port supplies `create` (memory that has no name, cannot be resized by anybody, and whose every
//! byte is there: writing to it never faults), `create_reserving`, `reserve_more` and `release` (of which part is there
//! only while it is used), `length` (how long received memory is, once it is certain that no peer can shorten it), `identity` (which it is)
//! and `Mapping`; `reserve_file` and `file_length`, the same for memory that is a file without a name; `Named`,
//! memory with one, for strangers; `freeze` (never written again by anybody, if nobody can write to it now) and
//! `Frozen`, a mapping of such memory; `reopen` and `reclaim`, whether memory is nobody else's any more.
//! Of private memory it has `reserve` and `zeroes`: what is about to be filled is to come in large pages.

cfg_select! {
    target_os = "linux" => { mod file; mod headroom; mod memfd; mod named; mod private; mod reclaim; mod sealed; use memfd as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/map/mod.rs says what one must supply"); }
}
pub use file::{file_length, reserve_file};
pub use imp::{Mapping, create, create_reserving, identity, length, release, reserve_more};
pub use named::{Named, check_name};
pub use private::{reserve, zeroes};
pub use reclaim::{Reclaimed, reclaim, reopen};
pub use sealed::{Frozen, freeze};
