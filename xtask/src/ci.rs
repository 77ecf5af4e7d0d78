//! `ci`: all there is. What runs on a change runs here, and nowhere else.

use crate::steps::{Outcome, Steps, cargo, has_tool, run as run_command};
use crate::{bench, loom, test, tidy};

pub(crate) fn run(steps: &mut Steps) {
    steps.run("fmt", || {
        needs("fmt", "rustfmt")?;
        run_command(&mut cargo(&["fmt", "--all", "--check"]))
    });
    steps.run("clippy", || {
        needs("clippy", "clippy")?;
        run_command(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    steps.run("clippy, feature ipc", || {
        run_command(&mut cargo(&[
            "clippy",
            "--package",
            "multiproc-channel",
            "--features",
            "ipc",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    steps.run("doc", || {
        run_command(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    });
    tidy::run(steps);
    test::run(steps);
    loom::run(steps);
    bench::run(steps, &["--check"]);
}

fn needs(tool: &str, component: &str) -> Outcome {
    if has_tool(tool) {
        return Ok(());
    }
    Err(format!(
        "`cargo {tool}` is missing; install it with `rustup component add {component}`"
    ))
}
