//! `.init_array`: a table of functions that the C library calls in order before `main`.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsString, c_char, c_int};
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
                $hook($crate::hook::Start::new(
                    &BEFORE_MAIN,
                    count,
                    arguments,
                    environment,
                ))
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
        Start {
            slot,
            count,
            arguments,
            environment,
        }
    }

    /// Where the program's name stands in its arguments, to be shown another.
    #[must_use]
    pub fn title(&self) -> Title {
        if self.count < 1 {
            return Title {
                start: ptr::null_mut(),
                length: 0,
            };
        }
        // SAFETY: the C library passes so many pointers to C strings, which stay for the life of the process.
        let start = unsafe { self.arguments.read() };
        // SAFETY: as above.
        let length = unsafe { CStr::from_ptr(start) }.to_bytes().len() + 1;
        Title {
            start: start.cast_mut(),
            length,
        }
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

/// The memory that the program's name was put in, of which tools show what is there now.
#[derive(Debug)]
pub struct Title {
    start: *mut c_char,
    length: usize,
}

impl Title {
    /// Shows `name` in place of all arguments, as far as there is room: that of the name it was started with.
    ///
    /// # Safety
    /// The program was started with no other argument, and no other thread reads arguments meanwhile.
    pub unsafe fn show(&self, name: &[u8]) {
        // Two bytes are not the name's: its end, and a last one, which is not 0 and so tells the kernel
        // that a name was put here, which ends where its text does.
        let Some(most) = self.length.checked_sub(2) else {
            return;
        };
        let mut text = vec![0; self.length];
        let length = name.len().min(most);
        text[..length].copy_from_slice(&name[..length]);
        text[self.length - 1] = b'.';
        // SAFETY: `length` bytes from `start` on are the argument's own, writable, and read by nobody
        // meanwhile (the caller's promise). They are a C string before and after.
        unsafe {
            self.start
                .cast::<u8>()
                .copy_from_nonoverlapping(text.as_ptr(), text.len())
        };
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

/// Makes `wanted` the environment. What cannot be set, a name with `=` in it, is left out.
///
/// # Safety
/// As [`take_variable`].
pub unsafe fn replace_environment(wanted: &BTreeMap<OsString, OsString>) {
    for (name, value) in std::env::vars_os() {
        match wanted.get(&name) {
            Some(same) if *same == value => {}
            // SAFETY: no other thread could be reading the environment (the caller's promise).
            _ => unsafe { std::env::remove_var(name) },
        }
    }
    for (name, value) in wanted {
        let settable = !name.is_empty() && !name.as_encoded_bytes().contains(&b'=');
        if settable && std::env::var_os(name).is_none() {
            // SAFETY: as above. The value was in an environment or checked for one, and has no NUL byte.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
