//! The oracle: silent about what is cleaned up in time, and loud about each kind of thing that is not.
#![allow(
    clippy::print_stdout,
    reason = "one test is also a program that it runs"
)]

use std::env;
use std::fs::{self, File};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{self, Child, Command};
use std::thread;
use std::time::Duration;

use multiproc_testkit::{Oracle, Program, alive, descendants, eventually, linger, process_state};

const LONG: Duration = Duration::from_secs(10);

/// Started as a test would by mistake: the handle is given up, nobody waits.
fn leak(command: &mut Command) -> u32 {
    #[expect(clippy::zombie_processes, reason = "this is what the oracle must see")]
    let child = command.spawn().expect("it starts");
    child.id()
}

/// An oracle that does not wait long for what will not go.
fn strict() -> Oracle {
    Oracle::begin().deadline(Duration::from_millis(100))
}

fn complaint_of(oracle: Oracle) -> String {
    match catch_unwind(AssertUnwindSafe(|| oracle.finish())) {
        Ok(()) => panic!("the oracle saw nothing"),
        Err(panic) => *panic.downcast::<String>().expect("a formatted message"),
    }
}

fn sleeper() -> Child {
    Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("sleep starts")
}

#[test]
fn clean_test_passes() {
    let oracle = strict();
    assert!(Command::new("true").status().expect("true runs").success());
    drop(File::open("/dev/null").expect("it opens"));
    oracle.finish();
}

#[test]
fn what_was_there_before_is_not_counted() {
    let mut child = None;
    let mut file = None;
    let oracle = Oracle::after(|| {
        child = Some(sleeper());
        file = Some(File::open("/dev/null").expect("it opens"));
    });
    oracle.finish();
    let mut child = child.expect("it was started");
    child.kill().expect("it is there");
    child.wait().expect("it ends");
}

#[test]
fn what_goes_in_time_is_not_counted() {
    let oracle = Oracle::begin().deadline(LONG);
    let file = File::open("/dev/null").expect("it opens");
    let mut child = sleeper();
    let late = thread::spawn(move || {
        linger(Duration::from_millis(50));
        drop(file);
        child.kill().expect("it is there");
        child.wait().expect("it ends");
    });
    oracle.finish();
    late.join().expect("no panic");
}

#[test]
fn leaked_child_is_reported_and_killed() {
    let oracle = strict();
    let child = leak(Command::new("sleep").arg("1000"));
    let complaint = complaint_of(oracle);
    assert!(
        complaint.contains(&format!("process {}, state S", child)),
        "{complaint}"
    );
    assert!(complaint.contains("sleep 1000"), "{complaint}");
    assert_eq!(process_state(child), None, "reaped");
}

#[test]
fn leaked_grandchild_whose_parent_is_gone_is_reported_and_killed() {
    let oracle = strict();
    let script = "sleep 1000 > /dev/null 2>&1 & echo $!";
    let output = Command::new("sh")
        .args(["-c", script])
        .output()
        .expect("sh runs");
    let pid = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a pid");
    assert!(alive(pid));
    let complaint = complaint_of(oracle);
    assert!(complaint.contains(&format!("process {pid}")), "{complaint}");
    assert_eq!(process_state(pid), None, "reaped");
}

#[test]
fn zombie_is_reported_and_reaped() {
    let oracle = strict();
    let child = leak(&mut Command::new("true"));
    eventually(LONG, "the child is a zombie", || {
        process_state(child) == Some('Z')
    });
    assert!(!alive(child));
    let complaint = complaint_of(oracle);
    assert!(
        complaint.contains(&format!("zombie: process {}, state Z", child)),
        "{complaint}"
    );
    assert_eq!(process_state(child), None, "reaped");
}

#[test]
fn dead_orphans_are_not_counted_where_they_are_expected() {
    let oracle = strict().with_orphans();
    // A child that ends and leaves a process behind, which lasts until its input ends.
    let script = "exec 3<&0; (read end <&3) > /dev/null 2>&1 & echo $!";
    let (input, keep) = std::io::pipe().expect("a pipe");
    let output = Command::new("sh")
        .args(["-c", script])
        .stdin(input)
        .output()
        .expect("sh runs");
    let orphan = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a pid");
    assert!(alive(orphan));
    drop(keep);
    eventually(LONG, "the orphan is our zombie", || {
        process_state(orphan) == Some('Z')
    });
    oracle.finish();
    assert_eq!(process_state(orphan), None, "reaped");
}

#[test]
fn leaked_descriptor_is_reported_with_number_and_target() {
    let oracle = strict();
    let fd = File::open("/dev/null").expect("it opens").into_raw_fd();
    let complaint = complaint_of(oracle);
    assert!(
        complaint.contains(&format!("descriptor {fd}: /dev/null")),
        "{complaint}"
    );
    // SAFETY: the number is that of the file given up above.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

#[test]
fn descriptor_that_became_another_file_is_reported() {
    let mut file = None;
    let oracle = Oracle::after(|| file = Some(File::open("/dev/null").expect("it opens")));
    drop(file.take());
    let other = File::open("/dev/zero").expect("it opens");
    let complaint = complaint_of(oracle.deadline(Duration::from_millis(100)));
    assert!(complaint.contains("/dev/zero"), "{complaint}");
    drop(other);
}

#[test]
fn leaked_entries_are_reported_with_their_path() {
    let oracle = strict();
    let name = format!("multiproc-testkit-{}", process::id());
    let paths = [
        std::path::Path::new("/dev/shm").join(&name),
        env::temp_dir().join(&name),
    ];
    for path in &paths {
        fs::write(path, "").expect("it can be written");
    }
    let complaint = complaint_of(oracle);
    for path in &paths {
        fs::remove_file(path).expect("it is there");
        assert!(
            complaint.contains(&format!("entry {}", path.display())),
            "{complaint}"
        );
    }
}

#[test]
fn drop_checks_too() {
    let complaint = catch_unwind(|| {
        let _oracle = strict();
        leak(Command::new("sleep").arg("1000"));
    });
    assert!(complaint.is_err());
}

#[test]
fn drop_by_a_panic_kills_what_is_left_and_lets_the_panic_pass() {
    let panic = catch_unwind(|| {
        let _oracle = strict();
        panic!("{}", leak(Command::new("sleep").arg("1000")));
    });
    let message = panic
        .expect_err("the panic passes")
        .downcast::<String>()
        .expect("a message");
    assert_eq!(
        process_state(message.parse().expect("a pid")),
        None,
        "killed and reaped"
    );
}

#[test]
fn descendants_are_found_at_any_depth() {
    let oracle = strict().with_orphans();
    let mut child = Command::new("sh")
        .args(["-c", "sh -c 'sleep 1000; true'; true"])
        .spawn()
        .expect("sh starts");
    eventually(LONG, "three generations", || {
        descendants(child.id())
            .iter()
            .any(|p| p.command == "sleep 1000")
    });
    let below = descendants(child.id());
    assert_eq!(below.len(), 2);
    assert_eq!((below[0].ppid, below[1].ppid), (child.id(), below[0].pid));
    for process in below {
        multiproc_testkit::kill(process.pid, multiproc_testkit::SIGKILL).expect("it is there");
    }
    child.wait().expect("it ends");
    oracle.finish();
}

#[test]
fn other_program_waits_for_its_turn_and_one_that_the_test_runs_does_not() {
    const ROLE: &str = "TESTKIT_ROLE_OF_OTHER";
    if env::var_os(ROLE).is_some() {
        Oracle::begin().finish();
        println!("\nhad its turn");
        return;
    }
    let itself = Program::new(env::current_exe().expect("a running test has a path"))
        .args([
            "--exact",
            "other_program_waits_for_its_turn_and_one_that_the_test_runs_does_not",
            "--nocapture",
        ])
        .env(ROLE, "1");
    let oracle = Oracle::begin();
    assert!(itself.run().success().stdout.contains("had its turn"));
    let other = itself
        .env_remove("MULTIPROC_TESTKIT_IN_TURN")
        .deadline(Duration::from_millis(300));
    let panic = catch_unwind(|| other.run()).expect_err("it waits");
    let message = panic.downcast::<String>().expect("a formatted message");
    assert!(
        message.contains("did not end") && !message.contains("had its turn"),
        "{message}"
    );
    oracle.finish();
}
