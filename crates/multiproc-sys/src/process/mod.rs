//! Starting a child process.
//!
//! A port supplies [`Command`]: an executable image with a name, an environment, a folder and
//! standard streams, started with exactly the handles that are meant for it, in a process group (or
//! session) of its own, with no signal blocked. No code of this process runs between the start and the new image.
//! `own_image` is the running program itself, whatever has become of its file; the rest tells a process
//! of itself.

cfg_select! {
    target_os = "linux" => { mod posix_spawn; use posix_spawn as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/process/mod.rs says what one must supply"); }
}
pub use imp::{
    Command, FIRST_INHERITED, Stdio, at_exit, inherited, main_stack_size, open_standard_streams,
    own_image, parent_id, set_name,
};
