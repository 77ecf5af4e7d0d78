//! A pool in a program in which a panic aborts, built by the test as its user would: a panic is the error of its own
//! task, with message and place, and the worker that it ends is replaced.

use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use multiproc_testkit::{Oracle, Program};

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/aborting");
/// For a build from nothing on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(600);

/// The program, with nothing in its environment that would change what it says.
fn build() -> Program {
    // The versions that the workspace is built with are on this machine already.
    let lock = "/Cargo.lock";
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    fs::copy(workspace.to_owned() + lock, PACKAGE.to_owned() + lock).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aborting");
    let _its_words = Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--offline", "--manifest-path"])
        .arg(Path::new(PACKAGE).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .deadline(BUILD_LIMIT)
        .run()
        .success();
    Program::new(target.join("debug/aborting"))
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE")
}

#[test]
fn a_panic_that_aborts_is_the_error_of_its_task_alone() {
    let mut program = None;
    let oracle = Oracle::after(|| program = Some(build()));
    let output = program.unwrap().run().success();
    let lines: Vec<&str> = output.stdout.lines().collect();
    let [panics @ .., few, ended, initializer] = &lines[..] else {
        panic!("{:?}", output.stdout)
    };
    let expected = [3, 10, 17, 24]
        .map(|n| format!("{n}: {n} is not to be worked on; the place is told: true"));
    assert_eq!(*panics, expected);
    assert_eq!(*few, "two workers or fewer: true");
    assert_eq!(*ended, "each panic has ended its worker: true");
    assert!(initializer.contains("there is no model"), "{initializer}");
    oracle.finish();
}
