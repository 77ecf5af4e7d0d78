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

use std::time::Duration;

use multiproc_process::{Error, Process, Stdio};
use multiproc_testkit::{Oracle, forever, within};

const LIMIT: Duration = Duration::from_secs(60);

fn idle(_: ()) {
    forever()
}

/// The oracle, once what a process keeps for good (the lifeline, the threads and what they wait on) is there.
fn oracle() -> Oracle {
    Oracle::after(|| {
        let child = Process::builder()
            .stdout(Stdio::captured())
            .spawn(|()| (), ());
        let child = child.unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}

fn join<R: serde::de::DeserializeOwned + Send + 'static>(child: Process<R>) -> Result<R, Error> {
    within(LIMIT, move || child.join())
}

mod awaited;
mod control;
mod life;
mod python;
mod restrictions;
mod streams;
