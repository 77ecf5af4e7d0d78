//! Standard streams that lead to the parent.
#![allow(
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what children do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;
use std::time::Duration;

use multiproc_process::{Process, Resource, Stdio, TAIL};
use multiproc_testkit::{alive, eventually, within};

use super::{LIMIT, join, oracle};

fn the_last_words_of_a_child_that_dies_are_in_its_error() {
    let oracle = oracle();
    let builder = Process::builder().stderr(Stdio::captured());
    let child = builder.limit(Resource::CoreSize, 0).spawn(
        |()| -> () {
            eprintln!("the reactor is hot");
            std::process::abort()
        },
        (),
    );
    let error = join(child.unwrap()).unwrap_err();
    assert_eq!(error.stderr_tail(), Some("the reactor is hot\n"));
    let text = error.to_string();
    assert!(text.contains("SIGABRT"), "{text}");
    assert!(
        text.ends_with("standard error:\nthe reactor is hot"),
        "{text}"
    );

    let silent = Process::builder()
        .stderr(Stdio::captured())
        .spawn(|()| -> () { std::process::exit(4) }, ());
    let error = join(silent.unwrap()).unwrap_err();
    assert_eq!(error.stderr_tail(), Some(""));
    assert!(error.to_string().ends_with("returned"), "{error}");
    let elsewhere = Process::builder()
        .stderr(Stdio::null())
        .spawn(|()| -> () { std::process::exit(4) }, ());
    assert_eq!(join(elsewhere.unwrap()).unwrap_err().stderr_tail(), None);
    oracle.finish();
}

fn a_captured_panic_is_told_once() {
    let oracle = oracle();
    let child = Process::builder()
        .name("the reactor")
        .stderr(Stdio::captured())
        .spawn(|()| -> () { panic!("no way") }, ());
    let error = join(child.unwrap()).unwrap_err();
    let printed = error.stderr_tail().unwrap();
    assert!(printed.contains("no way"), "{printed}");
    assert!(printed.contains("process the reactor:\n"), "{printed}");
    assert_eq!(error.to_string().matches("no way").count(), 1, "{error}");
    oracle.finish();
}

fn a_start_that_fails_tells_the_last_words_too() {
    let oracle = oracle();
    let error = Process::builder()
        .stderr(Stdio::captured())
        .name("a name")
        .niceness(99)
        .start_timeout(LIMIT)
        .spawn(|()| (), ())
        .unwrap_err();
    assert!(error.is_start() && error.stderr_tail() == Some(""));
    // Nothing is left of what was made for a child that never was.
    for stream in [Stdio::captured(), Stdio::piped()] {
        let lost = Process::builder()
            .stderr(stream)
            .cwd("/no/such/folder")
            .spawn(|()| (), ());
        assert!(lost.unwrap_err().is_start());
    }
    let odd = Process::builder()
        .stdin(Stdio::captured())
        .spawn(|()| (), ())
        .unwrap_err();
    assert!(
        odd.to_string()
            .contains("standard input cannot be captured"),
        "{odd}"
    );
    oracle.finish();
}

/// Writes far more than a pipe holds, and a word at the end.
fn talk(last: String) {
    let line = "all work and no play\n".repeat(1000);
    for _ in 0..200 {
        print!("{line}");
        eprint!("{line}");
    }
    print!("{last}");
    eprint!("{last}");
}

fn a_child_that_writes_without_end_never_waits_and_its_last_bytes_are_kept() {
    let oracle = oracle();
    let child = Process::builder()
        .stdout(Stdio::captured_last(10))
        .stderr(Stdio::captured())
        .spawn(talk, "the end".to_string())
        .unwrap();
    let child = within(LIMIT, move || {
        child.join().unwrap();
        child
    });
    assert_eq!(child.stdout_tail().unwrap(), b"ay\nthe end");
    let kept = child.stderr_tail().unwrap();
    assert_eq!(kept.len(), TAIL);
    assert!(kept.ends_with(b"play\nthe end"));
    assert!(child.take_stdout().is_none(), "captured, not piped");
    drop(child);

    // Also when nobody holds it any more.
    let dropped = Process::builder()
        .stdout(Stdio::captured())
        .stderr(Stdio::captured())
        .spawn(talk, String::new())
        .unwrap();
    let pid = dropped.pid();
    drop(dropped);
    eventually(LIMIT, "it ends", || !alive(pid));
    oracle.finish();
}

fn a_text_cut_within_a_character_begins_with_the_next() {
    let oracle = oracle();
    let child = Process::builder().stderr(Stdio::captured_last(5)).spawn(
        |()| -> () {
            eprint!("äöü");
            std::process::exit(1)
        },
        (),
    );
    let error = join(child.unwrap()).unwrap_err();
    assert_eq!(error.stderr_tail(), Some("öü"));
    oracle.finish();
}

fn whom_a_child_leaves_behind_with_its_streams_is_not_waited_for() {
    let oracle = oracle().with_orphans();
    let (input, keep) = std::io::pipe().unwrap();
    let child = Process::builder()
        .stdin(input)
        .stderr(Stdio::captured())
        .spawn(
            |()| -> () {
                let mut cat = Command::new("cat");
                let cat = cat.stdout(std::process::Stdio::null()).spawn().unwrap();
                eprint!("{}", cat.id());
                std::process::exit(1)
            },
            (),
        );
    let error = join(child.unwrap()).unwrap_err();
    let left: u32 = error.stderr_tail().unwrap().parse().unwrap();
    assert!(alive(left));
    drop(keep);
    oracle.finish();
}

fn piped_streams_are_the_parents_to_use() {
    let oracle = oracle();
    let child = Process::builder()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn(
            |()| {
                for line in std::io::stdin().lines() {
                    println!("{}", line.unwrap().to_uppercase());
                }
                eprint!("done");
            },
            (),
        )
        .unwrap();
    let mut input = child.take_stdin().unwrap();
    let mut output = BufReader::new(child.take_stdout().unwrap());
    let mut error = child.take_stderr().unwrap();
    assert!(child.take_stdin().is_none() && child.take_stdout().is_none());
    assert!(child.take_stderr().is_none() && child.stderr_tail().is_none());
    for (asked, answer) in [("one", "ONE\n"), ("two", "TWO\n")] {
        writeln!(input, "{asked}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, answer);
    }
    drop(input);
    let mut rest = String::new();
    error.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "done");
    join(child).unwrap();
    drop((output, error));
    oracle.finish();
}

fn joining_does_not_wait_for_streams_that_nobody_took() {
    let oracle = oracle();
    let child = Process::builder()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn(
            |()| {
                let read = std::io::read_to_string(std::io::stdin()).unwrap();
                talk("the end".to_string());
                read
            },
            (),
        )
        .unwrap();
    // Bounded, it changes nothing: the child goes on waiting for its input.
    assert!(child.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
    child.take_stdin().unwrap().write_all(b"input").unwrap();
    let child = within(LIMIT, move || {
        assert_eq!(child.join().unwrap(), "input");
        child
    });
    assert!(child.stdout_tail().unwrap().ends_with(b"the end"));
    drop(child);
    let open = Process::builder()
        .stdin(Stdio::piped())
        .spawn(|()| std::io::read_to_string(std::io::stdin()).unwrap(), ());
    assert_eq!(join(open.unwrap()).unwrap(), "");
    oracle.finish();
}

cases![
    the_last_words_of_a_child_that_dies_are_in_its_error,
    a_captured_panic_is_told_once,
    a_start_that_fails_tells_the_last_words_too,
    a_child_that_writes_without_end_never_waits_and_its_last_bytes_are_kept,
    a_text_cut_within_a_character_begins_with_the_next,
    whom_a_child_leaves_behind_with_its_streams_is_not_waited_for,
    piped_streams_are_the_parents_to_use,
    joining_does_not_wait_for_streams_that_nobody_took,
];
