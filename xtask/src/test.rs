//! `test`: the tiers that `cargo test` runs, the same tests under nextest, and the examples.

use crate::examples;
use crate::steps::{Steps, cargo, has_tool, run as run_command};

pub(crate) fn run(steps: &mut Steps) {
    // With no target named, cargo runs unit tests, integration tests and doctests, and builds the examples that tests run.
    steps.run("cargo test", || {
        run_command(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))
    });
    // What nobody compiles unasked.
    steps.run("cargo test, feature ipc", || {
        run_command(&mut cargo(&[
            "test",
            "--package",
            "multiproc-channel",
            "--features",
            "ipc",
            "--test",
            "conformance",
            "--test",
            "ipc",
        ]))
    });
    if has_tool("nextest") {
        steps.run("nextest", || {
            run_command(&mut cargo(&[
                "nextest",
                "run",
                "--workspace",
                "--no-fail-fast",
            ]))
        });
    } else {
        println!("\n== nextest: NOT RUN, cargo-nextest is missing (`cargo install cargo-nextest`)");
    }
    examples::run(steps);
}
