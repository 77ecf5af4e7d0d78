//! What holds of a child whichever way it came to be: each file in this folder, run for each start method by
//! `spawn.rs`, `forkserver.rs` and `fork.rs`. Their `run` runs a case where `method` can be used.

/// Makes a test of each of these functions.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod cases {
            $(
                #[test]
                fn $name() {
                    crate::run(|()| {
                        multiproc_process::force_start_method(crate::method());
                        super::$name();
                    });
                }
            )*
        }
    };
}

/// The same of those that hold only where a child has no descriptor of its parent's but those it was given.
macro_rules! cases_of_closed_children {
    ($($name:ident),* $(,)?) => {
        mod cases_of_closed_children {
            $(
                #[test]
                fn $name() {
                    if crate::CHILDREN_ARE_CLOSED {
                        crate::run(|()| {
                            multiproc_process::force_start_method(crate::method());
                            super::$name();
                        });
                    }
                }
            )*
        }
    };
}

mod awaited;
mod control;
mod life;
mod python;
mod restrictions;
mod streams;
