//! `fmt`: formats every Rust file of the tree.
//!
//! `cargo fmt` follows `mod` lines, and does not see those that a macro such as `cfg_select!` chooses among.

use std::process::Command;

use crate::steps::{Outcome, Steps, has_tool, root};
use crate::tidy;

const EDITION: &str = "2024";

/// Formats, or only checks whether there is anything to format.
pub(crate) fn run(steps: &mut Steps, check: bool) {
    steps.run("fmt", || format(check));
}

fn format(check: bool) -> Outcome {
    if !has_tool("fmt") {
        return Err("`rustfmt` is missing; install it with `rustup component add rustfmt`".into());
    }
    let mut command = Command::new("rustfmt");
    command.args(["--edition", EDITION]).current_dir(root());
    if check {
        command.arg("--check");
    }
    match command.args(tidy::sources()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("rustfmt cannot be started: {error}")),
    }
}
