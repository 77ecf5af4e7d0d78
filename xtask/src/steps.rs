//! Steps: named, timed, summed up; and the commands they run.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, iter};

#[cfg(test)]
mod tests;

/// What came of a step: nothing more to say, or why it failed.
pub(crate) type Outcome = Result<(), String>;

/// The steps run so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    outcome: Outcome,
}

impl Steps {
    /// Runs one step. One that fails does not keep the next from running: a verb tells all it finds at once.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> Outcome) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let outcome = outcome.unwrap_or_else(|panic| Err(message(&*panic)));
        let step = Step {
            name: name.to_owned(),
            took: start.elapsed(),
            outcome,
        };
        println!("{step}");
        self.done.push(step);
    }

    /// Sums up, and fails when a step has failed.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n== summary");
        for step in &self.done {
            // The first line says what failed; the rest was said when it did.
            println!("{}", step.to_string().lines().next().unwrap_or_default());
        }
        ExitCode::from(u8::from(self.done.iter().any(|step| step.outcome.is_err())))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            took,
            outcome,
        } = self;
        match outcome {
            Ok(()) => write!(f, "== {name}: ok, {took:.1?}"),
            Err(why) => write!(f, "== {name}: FAILED, {took:.1?}: {why}"),
        }
    }
}

/// What a panic said.
fn message(panic: &dyn Any) -> String {
    let literal = || panic.downcast_ref::<&str>().map(|&text| text.to_owned());
    let formatted = panic.downcast_ref::<String>().cloned();
    formatted
        .or_else(literal)
        .unwrap_or_else(|| "panicked".to_owned())
}

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the workspace")
}

/// The folder that cargo builds into, by where it built this program: `…/PROFILE/xtask`.
pub(crate) fn target() -> PathBuf {
    let program = env::current_exe().expect("a running program has a path");
    program
        .ancestors()
        .nth(2)
        .expect("it lies below the target folder")
        .to_owned()
}

/// A cargo command in the workspace's folder: the cargo that runs this program.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Shows `command`, runs it, and fails when it does.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let words = iter::once(Path::new("cargo").as_os_str()).chain(command.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    println!("$ {}", line.join(" "));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("cannot be started: {error}")),
    }
}

/// Whether `cargo TOOL` is there.
pub(crate) fn has_tool(tool: &str) -> bool {
    let mut command = cargo(&[tool, "--version"]);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
