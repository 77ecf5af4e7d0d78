//! `ci`: all there is. What runs on a change runs here, and nowhere else.

use crate::steps::{Steps, cargo, has_tool, run as run_command};
use crate::{bench, fmt, loom, test, tidy};

pub(crate) fn run(steps: &mut Steps) {
    fmt::run(steps, true);
    steps.run("clippy", || {
        if !has_tool("clippy") {
            return Err(
                "`cargo clippy` is missing; install it with `rustup component add clippy`".into(),
            );
        }
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
