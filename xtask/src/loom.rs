//! `loom`: the models in `crates/*/tests/loom_*.rs`, each a test file that exists under `--cfg loom` only.
//!
//! Built in a target folder of its own, so that the flag does not rebuild everything else.

use std::env;
use std::fs;

use crate::steps::{Outcome, Steps, cargo, root, run as run_command, target};

/// How often a thread is stopped against its will, unless the caller says otherwise. Most faults show at two.
const PREEMPTIONS: &str = "3";

pub(crate) fn run(steps: &mut Steps) {
    steps.run("loom", models);
}

fn models() -> Outcome {
    let found = find();
    if found.is_empty() {
        return Err("no crates/*/tests/loom_*.rs: there is nothing to run".to_owned());
    }
    let mut command = cargo(&["test", "--release", "--no-fail-fast"]);
    for (package, test) in &found {
        command.args(["--package", package, "--test", test]);
    }
    let flags = env::var("RUSTFLAGS").unwrap_or_default() + " --cfg loom";
    command
        .env("RUSTFLAGS", flags.trim())
        .env("CARGO_TARGET_DIR", target().join("loom"));
    if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
    }
    run_command(&mut command)
}

/// Package and test name of each model.
fn find() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for package in fs::read_dir(root().join("crates"))
        .into_iter()
        .flatten()
        .flatten()
    {
        for file in fs::read_dir(package.path().join("tests"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let file = file.file_name().to_string_lossy().into_owned();
            if let Some(test) = file
                .strip_suffix(".rs")
                .filter(|name| name.starts_with("loom_"))
            {
                found.push((
                    package.file_name().to_string_lossy().into_owned(),
                    test.to_owned(),
                ));
            }
        }
    }
    found.sort();
    found
}
