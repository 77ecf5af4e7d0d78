//! A cap on the memory that a process and all that it starts use together, kept by the kernel.
//!
//! A port supplies [`Home`], where this process may make such groups, and [`MemoryGroup`], one of them: a process
//! enters it by itself before it does anything else, what it starts is in it too, and the kernel tells whether it has
//! killed there for want of memory. A group is removed with its value, or, while somebody is left in it, later; one
//! whose maker was killed by whoever makes the next. A port without such groups answers `Unsupported`.

cfg_select! {
    target_os = "linux" => { mod v2; use v2 as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/cgroup/mod.rs says what one must supply"); }
}
pub use imp::{Home, MemoryGroup, enter, remove_left};

#[cfg(test)]
mod tests;
