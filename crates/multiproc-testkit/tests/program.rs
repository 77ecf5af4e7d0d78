//! Programs run under a deadline, and their trees: what goes well, and that each failure is one.
#![allow(
    clippy::print_stdout,
    reason = "one test is also a program that another test reads"
)]

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use multiproc_testkit::{Program, SIGKILL, SIGTERM, alive, eventually};

const LONG: Duration = Duration::from_secs(10);

fn sh(script: &str) -> Program {
    Program::new("/bin/sh").args(["-c", script])
}

/// The message of the panic that `work` must end in.
fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(_) => panic!("it did not fail"),
        Err(panic) => *panic.downcast::<String>().expect("a formatted message"),
    }
}

fn pids(text: &str) -> Vec<u32> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn output_holds_status_and_both_streams() {
    let output = sh("echo out; echo err >&2; exit 3").run();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn success_shows_what_a_failed_program_wrote() {
    let message = panic_of(|| sh("echo out; echo err >&2; exit 3").run().success());
    assert!(message.contains("exit status: 3"), "{message}");
    assert!(
        message.contains("out\n") && message.contains("err\n"),
        "{message}"
    );
}

#[test]
fn status_of_a_killed_program_names_the_signal() {
    use std::os::unix::process::ExitStatusExt;
    let mut running = sh("echo ready; read forever < /dev/zero || exec sleep 1000").start();
    assert_eq!(running.next_line(LONG), "ready");
    running.kill(SIGTERM);
    assert_eq!(running.wait().status.signal(), Some(SIGTERM));
}

#[test]
fn environment_folder_and_input_are_as_set() {
    let script = "echo $ONE ${HOME-none} $(pwd) \"$(cat)\"";
    let output = sh(script)
        .env("ONE", "1")
        .env_remove("HOME")
        .current_dir("/")
        .run();
    assert_eq!(output.stdout, "1 none / \n");
}

#[test]
fn more_output_than_two_pipes_hold_does_not_block() {
    let output = sh("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")
        .run()
        .success();
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (1_000_000, 1_000_000)
    );
}

#[test]
fn lines_come_before_the_end_and_stay_in_the_output() {
    let mut running = sh("echo one; echo two; exec sleep 1000").start();
    assert_eq!(running.next_line(LONG), "one");
    assert_eq!(running.next_line(LONG), "two");
    running.kill(SIGKILL);
    assert_eq!(running.wait().stdout, "one\ntwo\n");
}

#[test]
fn missing_line_is_a_failure_in_time() {
    let message = panic_of(|| {
        sh("echo said >&2; printf half; exec sleep 1000")
            .start()
            .next_line(Duration::from_millis(300))
    });
    assert!(message.contains("wrote no line in time"), "{message}");
    assert!(
        message.contains("half") && message.contains("said"),
        "{message}"
    );

    let message = panic_of(|| sh("printf half").start().next_line(LONG));
    assert!(message.contains("ended its output"), "{message}");
}

#[test]
fn missing_program_is_a_failure() {
    let message = panic_of(|| Program::new("/nowhere/at/all").run());
    assert!(
        message.contains("cannot start `/nowhere/at/all`"),
        "{message}"
    );
}

#[test]
fn missing_example_says_how_to_build_it() {
    let message = panic_of(|| Program::example("no_such_example"));
    assert!(
        message.contains("no_such_example") && message.contains("cargo build --examples"),
        "{message}"
    );
}

#[test]
fn deadline_kills_the_tree_with_grandchild_orphan_and_stopped_process() {
    // A child with a child of its own; an orphan whose parent is gone; one that stops itself; one deaf to signals.
    let script = "sh -c 'echo $$; sh -c \"echo \\$\\$; exec sleep 1000\" & wait' &
        sh -c '(echo; exec sleep 1000) & echo $!'
        sh -c 'echo $$; kill -STOP $$' &
        sh -c 'trap \"\" TERM INT HUP; echo $$; exec sleep 1000' &
        echo $$; wait";
    let start = Instant::now();
    let message = panic_of(|| sh(script).deadline(Duration::from_secs(1)).run());
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    assert!(message.contains("did not end within 1s"), "{message}");
    let (tree, stdout) = message
        .split_once("--- stdout")
        .expect("the output is shown");
    let pids = pids(stdout);
    assert_eq!(pids.len(), 6, "{message}");
    for pid in pids {
        assert!(
            tree.contains(&format!("process {pid}, state")),
            "{pid} is not listed in {message}"
        );
        assert!(!alive(pid), "{pid} is alive: {message}");
    }
}

#[test]
fn process_that_outlives_its_program_is_a_failure() {
    let message = panic_of(|| sh("sh -c 'exec sleep 1000' > /dev/null 2>&1 & echo $!").run());
    assert!(message.contains("ended and left processes"), "{message}");
    assert!(message.contains("sleep 1000"), "{message}");
    let (_, stdout) = message
        .split_once("--- stdout")
        .expect("the output is shown");
    assert!(pids(stdout).iter().all(|&pid| !alive(pid)), "{message}");
}

#[test]
fn drop_kills_the_tree() {
    let mut running = sh("sleep 1000 & echo $!; echo $$; wait").start();
    let pids =
        [running.next_line(LONG), running.next_line(LONG)].map(|line| line.parse().expect("a pid"));
    assert_eq!(pids[1], running.pid());
    drop(running);
    assert_eq!(pids.map(alive), [false, false]);
}

#[test]
fn tree_shows_orphans_until_they_are_gone() {
    let mut running = sh("sleep 1000 & echo $!; wait").start();
    let orphan: u32 = running.next_line(LONG).parse().expect("a pid");
    running.kill(SIGKILL);
    eventually(LONG, "the program is gone and its orphan is not", || {
        let tree: Vec<_> = running.tree().iter().map(|process| process.pid).collect();
        tree == [orphan]
    });
    multiproc_testkit::kill(orphan, SIGKILL).expect("the orphan is there");
    eventually(LONG, "the tree is empty", || running.tree().is_empty());
    assert!(!running.wait().status.success());
}

/// Run by the next test as a program of its own: a harness that waits for its program when it is killed.
#[test]
fn killed_harness_takes_its_program_along() {
    const ROLE: &str = "TESTKIT_ROLE_OF_HARNESS";
    if env::var_os(ROLE).is_some() {
        let running = Program::new("sleep").arg("1000").env_remove(ROLE).start();
        println!("\npid {}", running.pid());
        drop(running.wait());
        return;
    }
    let itself = env::current_exe().expect("a running test has a path");
    let harness = Program::new(itself).args([
        "--exact",
        "killed_harness_takes_its_program_along",
        "--nocapture",
    ]);
    let mut harness = harness.env(ROLE, "1").start();
    let pid = loop {
        if let Some(pid) = harness.next_line(LONG).strip_prefix("pid ") {
            break pid.parse().expect("a pid");
        }
    };
    assert!(alive(pid));
    harness.kill(SIGKILL);
    eventually(LONG, "the program of the killed harness ends", || {
        !alive(pid)
    });
}
