//! Builds, checks and tests of the workspace: `cargo xtask VERB`.
//!
//! One file per verb. A verb is a list of steps; every step is run, named and timed, and one that fails fails the verb.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod bench;
mod chaos;
mod ci;
mod examples;
mod fmt;
mod fuzz;
mod loom;
mod steps;
mod test;
mod tidy;

use std::env;
use std::process::ExitCode;

use steps::Steps;

const USAGE: &str = "\
usage: cargo xtask VERB
  ci        all there is: fmt, clippy, docs, tidy, test, loom
  test      unit tests, tests with real processes, doctests; the same under nextest; examples
  examples  each example, and whether it prints what it must
  fmt       formats every Rust file, also those that `cargo fmt` does not find
  tidy      rules of the tree that no compiler checks
  loom      the models of lock-free code
  chaos     workers killed at every moment, some minutes of it; `chaos 5` takes five times as long
  bench     the side-by-side benchmark; `bench --help` for its options, `--check` for whether it still runs
  fuzz      hostile bytes for every decoder of what a peer sends, ten million each
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut steps = Steps::default();
    match args[..] {
        ["ci"] => ci::run(&mut steps),
        ["test"] => test::run(&mut steps),
        ["examples"] => examples::run(&mut steps),
        ["fmt"] => fmt::run(&mut steps, false),
        ["tidy"] => tidy::run(&mut steps),
        ["loom"] => loom::run(&mut steps),
        ["chaos", ref args @ ..] => chaos::run(&mut steps, args),
        ["bench", ref args @ ..] => bench::run(&mut steps, args),
        ["fuzz"] => fuzz::run(&mut steps),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    steps.finish()
}
