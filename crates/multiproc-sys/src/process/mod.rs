//! Starting a child process.
//!
//! A port supplies [`Command`]: an executable image with a name, an environment, a folder and
//! standard streams, started with exactly the handles that are meant for it, in a process group (or
//! session) of its own, with no signal blocked. No code of this process runs between the start and the new image.
//! `own_image` is the running program itself, whatever has become of its file; `own_id` is this process's number at the
//! cost of a load, in a forked child too; the rest tells a process of itself.
//!
//! A port that can fork supplies `fork`; [`Sibling`], which forks children of this process's parent, so that
//! a server can make processes that are another's to wait for; and what makes a forked process stand as one that
//! was started: `settle`, the end without exit handlers, the name that is shown. A port that cannot answers `Unsupported`.

cfg_select! {
    target_os = "linux" => { mod fork; mod own_id; mod posix_spawn; use posix_spawn as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/process/mod.rs says what one must supply"); }
}
pub use fork::{
    Fork, SharedNumber, Sibling, current_folder, exit_now, flush_streams, fork, open_folder,
    open_nowhere, settle, standard_stream, thread_count,
};
pub use imp::{
    Command, FIRST_INHERITED, Stdio, at_exit, check_text, check_variable, inherited, look_after,
    main_stack_size, open_standard_streams, own_image, parent_id, set_name,
};
pub use own_id::own_id;
