//! Who is taken for a child before `main`, and who is not.

#[allow(dead_code, reason = "each test program uses some of it")]
mod fixtures;

use std::path::PathBuf;

use fixtures::{assert_lives, begin, build, program};
use multiproc_testkit::{Output, Program};

const TRIGGER: &str = "MULTIPROC_CHILD";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn without_hook() -> PathBuf {
    build(
        "life",
        "dev",
        &["--no-default-features"],
        &[],
        "life-without-hook",
    )
}

fn with_hook() -> PathBuf {
    build("life", "dev", &[], &[], "life-with-hook")
}

#[test]
fn without_the_hook_a_forgotten_init_is_an_error_before_anything_is_started() {
    let (oracle, life) = begin(without_hook);
    let output = program(&life).run().success();
    let (main, error) = output.stdout.split_once('\n').unwrap();
    assert_eq!(main, "main");
    assert!(
        error.starts_with("error: a process cannot be started: "),
        "{error}"
    );
    assert!(
        error.contains("`init()` was not called first in `main`"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "no child has run: {error}");
    oracle.finish();
}

#[test]
fn without_the_hook_init_takes_its_place() {
    let (oracle, life) = begin(without_hook);
    assert_lives(&program(&life).env("CALL_INIT", "1").run().success().stdout);
    oracle.finish();
}

#[test]
fn with_the_hook_init_does_nothing() {
    let (oracle, life) = begin(with_hook);
    assert_lives(&program(&life).env("CALL_INIT", "1").run().success().stdout);
    oracle.finish();
}

#[track_caller]
fn assert_refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(70), "{output}");
    assert_eq!(output.stdout, "", "nothing of the program runs");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    assert!(output.stderr.starts_with("multiproc: "), "{output}");
    assert!(output.stderr.contains(TRIGGER), "{output}");
    assert!(output.stderr.contains(why), "{output}");
}

#[test]
fn a_program_told_by_hand_that_it_is_a_child_refuses() {
    let (oracle, life) = begin(with_hook);
    let told = |what: &str| {
        program(&life)
            .env(TRIGGER, format!("{VERSION}:{what}"))
            .run()
    };
    assert_refused(&told("1:1"), "the parent ended");
    for malformed in ["", "1", "1:", "one:1", "1:1:1"] {
        assert_refused(&told(malformed), "malformed");
    }

    // By its true parent, without the handles of a child, and with files in their place.
    let by_parent = |files: &str| {
        let script = format!("{TRIGGER}={VERSION}:$$:1 \"$0\" {files}; exit $?");
        Program::new("/bin/sh")
            .args(["-c", &script])
            .arg(&life)
            .run()
    };
    assert_refused(&by_parent("3<&- 4<&-"), "Bad file descriptor");
    assert_refused(&by_parent("3</dev/null 4</dev/null"), "on non-socket");
    oracle.finish();
}

#[test]
fn a_trigger_of_another_version_is_left_to_that_version() {
    let (oracle, life) = begin(with_hook);
    for other in ["", "1", "999.0.0:1:1", &VERSION[1..], VERSION] {
        assert_lives(&program(&life).env(TRIGGER, other).run().success().stdout);
    }
    oracle.finish();
}
