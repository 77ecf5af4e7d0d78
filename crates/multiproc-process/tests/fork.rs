//! The suite, with children that are forked: each case in a process of its own, which has no thread but the one
//! that runs it and the one that waits for it.

mod suite;

use std::time::Duration;

use multiproc_process::{ForkPromise, Process, StartMethod};
use multiproc_testkit::within;

const LIMIT: Duration = Duration::from_secs(120);

/// Whether a child has no descriptor but those it was given.
const CHILDREN_ARE_CLOSED: bool = false;

fn method() -> StartMethod {
    // SAFETY: what the cases hold while they start children is theirs, and not used by those.
    StartMethod::Fork(unsafe { ForkPromise::alone() })
}

fn run(case: fn(())) {
    let alone = Process::builder()
        .start_method(StartMethod::Spawn)
        // Cases take their turns here, and not among programs.
        .env("MULTIPROC_TESTKIT_IN_TURN", "1")
        .spawn(case, ());
    let alone = alone.unwrap();
    within(LIMIT, move || alone.join()).unwrap();
}
