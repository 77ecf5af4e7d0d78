//! The guarantee that a child does not outlive its parent.
//!
//! A port supplies `share` (a handle, the same for every child of this process, which is released
//! when this process ends by any means) and `hold` (called in the child with that handle: from then
//! on the child and its process group are killed when the parent ends, without any code of the child
//! having to run; busy, stopped, or with signals blocked; it gives a handle whose end is the parent's);
//! where the platform forks, `after_fork`, by which a forked child comes to the handle, and `close_copy`.

cfg_select! {
    target_os = "linux" => { mod sigio; use sigio as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/lifeline/mod.rs says what one must supply"); }
}
pub use imp::{after_fork, close_copy, hold, share, share_again};
