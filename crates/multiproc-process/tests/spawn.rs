//! The suite, with children that are started anew.

mod suite;

use multiproc_process::StartMethod;

/// Whether a child has no descriptor but those it was given.
const CHILDREN_ARE_CLOSED: bool = true;

fn method() -> StartMethod {
    StartMethod::Spawn
}

fn run(case: fn(())) {
    case(());
}
