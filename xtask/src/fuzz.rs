//! `fuzz`: hostile bytes for every decoder of what a peer sends.
//!
//! The tests named `hostile_…` give each decoder mutated messages by the million, with the compiler that is there; the
//! targets in `fuzz/` let libFuzzer look for new paths, where a nightly compiler and `cargo-fuzz` are there.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use multiproc_testkit::COUNT;

use crate::steps::{Outcome, Steps, cargo, root, run as run_command, target};

/// How many inputs each decoder gets, unless [`COUNT`] says otherwise.
const INPUTS: &str = "10_000_000";
/// How long libFuzzer looks at each target, in seconds, unless `MULTIPROC_FUZZ_SECONDS` says otherwise.
const SECONDS: &str = "30";

pub(crate) fn run(steps: &mut Steps) {
    steps.run("hostile bytes", hostile);
    if !has_cargo_fuzz() {
        println!(
            "\n== libFuzzer: NOT RUN, it needs a nightly compiler and cargo-fuzz \
             (`rustup toolchain install nightly`, `cargo install cargo-fuzz`)"
        );
        return;
    }
    for name in targets() {
        steps.run(&format!("libFuzzer {name}"), || libfuzzer(&name));
    }
}

/// Optimised, but with every check of a debug build: an overflow is a finding.
fn hostile() -> Outcome {
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--release",
        "--no-fail-fast",
    ]);
    command
        .args(["--", "hostile", "--nocapture", "--test-threads=2"])
        .env("CARGO_TARGET_DIR", target().join("hostile"))
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    if env::var_os(COUNT).is_none() {
        command.env(COUNT, INPUTS);
    }
    run_command(&mut command)
}

fn has_cargo_fuzz() -> bool {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The targets' names: those of their files.
fn targets() -> Vec<String> {
    let entries = fs::read_dir(root().join("fuzz/fuzz_targets"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

/// New inputs go to the target folder; what is kept is the corpus of regressions alone.
fn libfuzzer(name: &str) -> Outcome {
    let found = target().join("fuzz-corpus").join(name);
    fs::create_dir_all(&found).map_err(|error| error.to_string())?;
    let seconds = env::var("MULTIPROC_FUZZ_SECONDS").unwrap_or_else(|_| SECONDS.to_owned());
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "fuzz", "run", name])
        .arg(&found)
        .args(Some(root().join("fuzz/corpus").join(name)).filter(|folder| folder.is_dir()))
        .args([
            "--",
            &format!("-max_total_time={seconds}"),
            "-malloc_limit_mb=64",
        ])
        .arg("-print_final_stats=0")
        .current_dir(root());
    run_command(&mut command)
}
