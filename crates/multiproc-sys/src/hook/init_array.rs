//! `.init_array`: a table of functions that the C library calls in order before `main`.

use std::ffi::{OsString, c_char, c_int};
use std::ptr;

/// A function in the table: it is passed the program's arguments (how many, what) and environment.
pub type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// Has `$hook: fn(Start)` called before `main`.
///
/// The entry is kept by the linker as long as something of the crate it stands in is used. `$hook` runs
/// while the image is still being initialised: it may use the standard library, and must return at
/// once unless the process was started for it.
#[macro_export]
macro_rules! before_main {
    ($hook:path) => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static BEFORE_MAIN: $crate::hook::Constructor = {
            extern "C" fn call(
                count: ::std::ffi::c_int,
                arguments: *const *const ::std::ffi::c_char,
                environment: *const *const ::std::ffi::c_char,
            ) {
                $hook($crate::hook::Start::new(&BEFORE_MAIN, count, arguments, environment))
            }
            call
        };
    };
}

/// The start of the program, as one of the functions in the table sees it.
#[derive(Debug)]
pub struct Start {
    slot: &'static Constructor,
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
}

impl Start {
    #[doc(hidden)]
    #[must_use]
    pub fn new(
        slot: &'static Constructor,
        count: c_int,
        arguments: *const *const c_char,
        environment: *const *const c_char,
    ) -> Start {
        Start { slot, count, arguments, environment }
    }

    /// Calls the functions behind this one in its image's table, which will be called by nobody else
    /// if this one ends the process rather than return: so that C++ statics, say, are constructed.
    ///
    /// # Safety
    /// Called by the hook that was given this value, which does not return afterwards.
    pub unsafe fn run_remaining(self) {
        for function in crate::image::constructors_after(ptr::from_ref(self.slot).addr()) {
            let function = ptr::with_exposed_provenance::<()>(function);
            // SAFETY: an entry of the image's table of constructors.
            let function: Constructor = unsafe { std::mem::transmute(function) };
            function(self.count, self.arguments, self.environment);
        }
    }
}

/// Whether this program was started with more rights than its starter has (set-user-id and the like).
#[must_use]
pub fn started_with_privileges() -> bool {
    // SAFETY: takes no pointer.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Removes a variable from the environment and gives its value.
///
/// # Safety
/// No other thread runs that could read the environment.
#[must_use]
pub unsafe fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: no other thread could be reading the environment (the caller's promise).
    unsafe { std::env::remove_var(name) };
    Some(value)
}
