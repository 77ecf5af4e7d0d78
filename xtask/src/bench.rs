//! `bench`: the side-by-side benchmark, built for speed and run. It is a workspace of its own, `crates/multiproc-bench`, so that nothing
//! else compiles the crates that it compares with.
//!
//! `bench --check` looks that it still builds, without those crates, and that it does a job and writes what it should.

use std::ffi::OsStr;
use std::process::Command;

use crate::steps::{Outcome, Steps, cargo, root, run as run_command, target};

/// Two short jobs, one of them with processes that talk.
const SMOKE: [&str; 7] = [
    "--quick",
    "--rounds",
    "1",
    "--only",
    "channel, u64 one way",
    "--only",
    "lock and unlock",
];

pub(crate) fn run(steps: &mut Steps, args: &[&str]) {
    if args == ["--check"] {
        steps.run("bench --check", check);
    } else {
        steps.run("bench", || {
            run_command(bench("run", &[]).arg("--").args(args))
        });
    }
}

/// A cargo command for the benchmark's workspace.
fn bench(verb: &str, flags: &[&str]) -> Command {
    let mut command = cargo(&[verb, "--release"]);
    command
        .args(flags)
        .current_dir(root().join("crates/multiproc-bench"))
        .env("CARGO_TARGET_DIR", target().join("bench"));
    command
}

/// Only the contenders without crates of their own: the others take most of a minute to build on two cores.
const ALONE: &str = "--no-default-features";

fn check() -> Outcome {
    run_command(bench("clippy", &[ALONE]).args(["--", "-D", "warnings"]))?;
    let figures = target().join("bench/smoke.json");
    let bars = target().join("bench/smoke.svg");
    let files = [
        OsStr::new("--json"),
        figures.as_os_str(),
        OsStr::new("--svg"),
        bars.as_os_str(),
    ];
    run_command(bench("run", &[ALONE, "--"]).args(SMOKE).args(files))?;
    for file in [figures, bars] {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        if !text.contains("multiproc") {
            return Err(format!("{} does not name us", file.display()));
        }
    }
    Ok(())
}
