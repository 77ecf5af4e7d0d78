//! Code of ours that runs before `main`.
//!
//! A port supplies the macro [`before_main!`](crate::before_main), which has a function called when the
//! image that it is in starts, once arguments and environment can be read; [`Start`], which it is
//! given; `take_variable` and `replace_environment`; and `started_with_privileges`.

cfg_select! {
    target_os = "linux" => { mod init_array; use init_array as imp; }
    _ => { compile_error!("multiproc-sys: no port for this platform; src/hook/mod.rs says what one must supply"); }
}
pub use imp::{
    Constructor, Start, Title, replace_environment, started_with_privileges, take_variable,
};
