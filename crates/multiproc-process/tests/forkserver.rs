//! The suite, with children that a server forks.

mod suite;

use multiproc_process::StartMethod;

/// Whether a child has no descriptor but those it was given.
const CHILDREN_ARE_CLOSED: bool = true;

fn method() -> StartMethod {
    StartMethod::ForkServer
}

fn run(case: fn(())) {
    case(());
}
