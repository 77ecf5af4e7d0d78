//! A child's life as its parent sees it: results, panics, deaths, waits, circumstances.
#![allow(
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what children do"
)]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use multiproc_process::{Process, StartMethod, Stdio, get_start_method};
use multiproc_testkit::{eventually, within};
use serde::{Deserialize, Serialize};

use super::{LIMIT, idle, join, oracle};

fn the_result_comes_back() {
    let oracle = oracle();
    let sum = Process::spawn(
        |(a, b): (u64, Vec<u64>)| a + b.iter().sum::<u64>(),
        (1, vec![2, 3]),
    );
    assert_eq!(join(sum.unwrap()).unwrap(), 6);
    let unit = Process::spawn(|_: String| (), "text".to_string()).unwrap();
    join(unit).unwrap();
    oracle.finish();
}

fn results_and_arguments_of_any_size_never_block() {
    let oracle = oracle();
    let echo = Process::spawn(|text: String| text + "!", "x".repeat(20 << 20)).unwrap();
    let text = join(echo).unwrap();
    assert_eq!(text.len(), (20 << 20) + 1);
    // The child ends although nobody has read its result.
    let child = Process::spawn(|()| vec![7_u32; 1 << 20], ()).unwrap();
    let child = within(LIMIT, move || {
        while child.is_alive().unwrap() {
            std::thread::yield_now();
        }
        child
    });
    assert_eq!(join(child).unwrap().len(), 1 << 20);
    oracle.finish();
}

fn a_panic_comes_back_with_message_and_place() {
    let oracle = oracle();
    let child = Process::builder()
        .print_panics(false)
        .env("RUST_BACKTRACE", "1")
        .spawn(|n: i32| assert_eq!(n, 4, "not four"), 3)
        .unwrap();
    let error = join(child).unwrap_err();
    let panic = error.panic().expect("a panic");
    assert!(panic.message.contains("not four"), "{panic}");
    assert!(panic.location.as_ref().unwrap().contains("life.rs"));
    assert!(
        panic.backtrace.as_ref().unwrap().contains("life"),
        "{panic}"
    );
    assert!(error.to_string().contains("not four"), "{error}");
    oracle.finish();
}

fn an_end_without_a_result_tells_how() {
    let oracle = oracle();
    let code = Process::<()>::spawn(|()| std::process::exit(3), ()).unwrap();
    let error = join(code).unwrap_err();
    assert_eq!(error.exit_status().unwrap().code(), Some(3));
    assert!(error.to_string().contains("exit code 3"), "{error}");

    let abort = Process::<()>::spawn(|()| std::process::abort(), ()).unwrap();
    let error = join(abort).unwrap_err();
    assert_eq!(error.exit_status().unwrap().signal(), Some(libc::SIGABRT));

    // SAFETY: not safe at all; the process it is done in dies of it, which is what the test wants.
    let crash = Process::spawn(
        |()| unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        (),
    );
    let error = join(crash.unwrap()).unwrap_err();
    assert!(error.to_string().contains("SIGSEGV"), "{error}");
    assert_eq!(
        error.exit_status().unwrap().exitcode(),
        Some(-libc::SIGSEGV)
    );
    oracle.finish();
}

fn killed_and_terminated_children_end_at_once() {
    let oracle = oracle();
    let child = Process::spawn(idle, ()).unwrap();
    assert!(child.is_alive().unwrap());
    assert_eq!(child.exit_status().unwrap(), None);
    child.terminate().unwrap();
    let error = within(LIMIT, move || {
        let error = child.join().unwrap_err();
        child.terminate().unwrap();
        child.kill().unwrap();
        assert!(!child.is_alive().unwrap());
        error
    });
    assert_eq!(error.exit_status().unwrap().signal(), Some(libc::SIGTERM));
    oracle.finish();
}

fn a_wait_with_a_timeout_ends_and_can_be_repeated() {
    let oracle = oracle();
    let (input, mut output) = std::io::pipe().unwrap();
    let child = Process::builder()
        .stdin(input)
        .spawn(|()| std::io::read_to_string(std::io::stdin()).unwrap(), ())
        .unwrap();
    let error = child.join_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(child.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
    output.write_all(b"done").unwrap();
    drop(output);
    assert_eq!(child.join_timeout(LIMIT).unwrap(), "done");
    assert!(child.exit_status().unwrap().unwrap().success());
    let again = child.join().unwrap_err();
    assert!(again.to_string().contains("joined before"), "{again}");
    drop(child);
    oracle.finish();
}

fn a_child_starts_as_it_was_asked_to() {
    let oracle = oracle();
    let (mut input, output) = std::io::pipe().unwrap();
    let child = Process::builder()
        .name("the-namesake")
        .env("GIVEN", "value")
        .env_remove("PATH")
        .cwd("/")
        .stdout(output)
        .stderr(Stdio::null())
        .spawn(
            |()| {
                println!("{}", std::env::current_dir().unwrap().display());
                eprintln!("this goes nowhere");
                let given = std::env::var("GIVEN").unwrap();
                let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
                let command = std::fs::read_to_string("/proc/self/cmdline").unwrap();
                let thread = std::thread::current().name().map(str::to_string);
                let none =
                    std::env::var("PATH").is_err() && std::env::var("MULTIPROC_CHILD").is_err();
                (
                    given,
                    comm,
                    command,
                    thread,
                    none,
                    multiproc_process::is_child(),
                )
            },
            (),
        )
        .unwrap();
    assert_eq!(child.name(), "the-namesake");
    let mut printed = String::new();
    input.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "/\n");
    let expected = ["value", "the-namesake\n", "the-namesake\0"].map(String::from);
    let [given, comm, mut command] = expected;
    // A copy has the arguments of its parent.
    if let StartMethod::Fork(_) = get_start_method() {
        command = std::fs::read_to_string("/proc/self/cmdline").unwrap();
    }
    // It runs on the main thread, which has no name.
    assert_eq!(
        join(child).unwrap(),
        (given, comm, command, None, true, true)
    );
    drop(input);
    oracle.finish();
}

fn what_cannot_be_started_is_an_error() {
    let oracle = oracle();
    let lost = Process::builder()
        .cwd("/no/such/folder")
        .spawn(|()| (), ())
        .unwrap_err();
    assert!(
        lost.is_start() && lost.to_string().contains("No such file"),
        "{lost}"
    );
    let odd = Process::builder()
        .name("a\0b")
        .spawn(|()| (), ())
        .unwrap_err();
    assert!(odd.is_start(), "{odd}");
    let odd = Process::builder()
        .env("A=B", "")
        .spawn(|()| (), ())
        .unwrap_err();
    assert!(odd.is_start(), "{odd}");
    oracle.finish();
}

/// A value whose encoding fails, and one whose decoding does.
#[derive(Debug, Default)]
struct Stubborn;
impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}
impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Stubborn)
    }
}

#[derive(Debug, Serialize)]
struct OneWay(u8);
impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("never"))
    }
}

fn what_cannot_travel_is_an_error_that_says_which_way() {
    let oracle = oracle();
    let error = Process::spawn(|_: Stubborn| (), Stubborn).unwrap_err();
    assert!(error.to_string().contains("Stubborn"), "{error}");
    let error = join(Process::spawn(|()| Stubborn, ()).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("could not send its result"),
        "{error}"
    );
    let error = join(Process::spawn(|_: OneWay| (), OneWay(1)).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("could not take its arguments"),
        "{error}"
    );
    let error = join(Process::spawn(|()| OneWay(1), ()).unwrap()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("sent a result that cannot be taken"),
        "{error}"
    );
    oracle.finish();
}

fn a_dropped_child_runs_on_and_is_reaped() {
    let oracle = oracle();
    let (mut input, output) = std::io::pipe().unwrap();
    let child = Process::builder()
        .stdout(output)
        .spawn(|()| print!("still here"), ())
        .unwrap();
    drop(child);
    let mut printed = String::new();
    input.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "still here");
    drop(input);
    oracle.finish();
}

fn the_end_is_told_once_on_another_thread() {
    let oracle = oracle();
    let (tell, told) = std::sync::mpsc::channel();
    let child = Process::spawn(|()| (), ()).unwrap();
    let also = tell.clone();
    child.on_end(move || also.send(1).unwrap()).unwrap();
    join(child).unwrap();
    assert_eq!(told.recv_timeout(LIMIT), Ok(1));
    drop(tell);
    assert!(told.recv_timeout(LIMIT).is_err(), "told once");
    oracle.finish();
}

fn each_who_asks_is_told_of_the_end_whatever_another_does() {
    let oracle = oracle();
    let (tell, told) = std::sync::mpsc::channel();
    let child = Process::spawn(idle, ()).unwrap();
    child.on_end(|| panic!("a careless listener")).unwrap();
    child.on_end(move || tell.send(1).unwrap()).unwrap();
    child.kill().unwrap();
    assert_eq!(told.recv_timeout(LIMIT), Ok(1));
    drop(child);
    // The thread that told them goes on: it reaps the next one, which the oracle sees.
    drop(Process::spawn(|()| (), ()).unwrap());
    oracle.finish();
}

/// Forks without exec, and has the copy start a child, drop it, and see it reaped.
fn fork(_: ()) -> bool {
    // What reaps this process's own children is there before, and has nothing to do.
    let child = Process::spawn(|()| (), ()).unwrap();
    let trace = format!("/proc/{}", child.pid());
    drop(child);
    eventually(LIMIT, "it is reaped", || !std::fs::exists(&trace).unwrap());
    // SAFETY: the other threads of this process hold nothing that the copy needs.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        let seen = std::panic::catch_unwind(|| {
            let child = Process::spawn(|()| (), ()).unwrap();
            let trace = format!("/proc/{}", child.pid());
            drop(child);
            eventually(LIMIT, "the child is reaped", || {
                !std::fs::exists(&trace).unwrap()
            });
        });
        // SAFETY: takes no pointer. The copy ends without what its original does at its end.
        unsafe { libc::_exit(i32::from(seen.is_err())) }
    }
    let mut status = 0;
    // SAFETY: `status` is live.
    unsafe { libc::waitpid(copy, &raw mut status, 0) };
    status == 0
}

fn a_forked_process_reaps_children_of_its_own() {
    // A fork server of the copy's ends with it, after it.
    let oracle = oracle().with_orphans();
    assert!(join(Process::spawn(fork, ()).unwrap()).unwrap());
    oracle.finish();
}

fn children_have_children_up_to_a_depth() {
    fn nest(levels: u32) -> Result<u32, String> {
        if levels == 0 {
            return Ok(0);
        }
        let child = Process::spawn(nest, levels - 1).map_err(|error| error.to_string())?;
        child
            .join()
            .map_err(|error| error.to_string())?
            .map(|below| below + 1)
    }
    let oracle = oracle();
    assert_eq!(join(Process::spawn(nest, 3).unwrap()).unwrap(), Ok(3));
    let error = join(Process::spawn(nest, 100).unwrap())
        .unwrap()
        .unwrap_err();
    assert!(error.contains("16 levels"), "{error}");
    oracle.finish();
}

fn a_limit_on_open_files_is_an_error_and_leaks_nothing() {
    let oracle = oracle();
    // In a child, so that the limit is its own.
    let told = join(
        Process::spawn(
            |()| {
                let limit = libc::rlimit {
                    rlim_cur: 20,
                    rlim_max: 20,
                };
                // SAFETY: `limit` is live.
                unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
                let mut children = vec![];
                let error = loop {
                    match Process::spawn(idle, ()) {
                        Ok(child) => children.push(child),
                        Err(error) => break error,
                    }
                };
                let before = children.len();
                for child in children.drain(..) {
                    child.kill().unwrap();
                    child.join().unwrap_err();
                }
                // And it works again.
                Process::spawn(|n: u8| n, 5).unwrap().join().unwrap();
                (before, error.to_string())
            },
            (),
        )
        .unwrap(),
    );
    let (before, error) = told.unwrap();
    assert!(
        before > 0 && error.contains("Too many open files"),
        "{before}: {error}"
    );
    oracle.finish();
}

fn joins_by_several_threads_keep_their_own_deadlines() {
    let oracle = oracle();
    let child = Process::spawn(idle, ()).unwrap();
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| child.join());
        let begun = Instant::now();
        assert!(
            child
                .join_timeout(Duration::from_millis(10))
                .unwrap_err()
                .is_timeout()
        );
        assert!(begun.elapsed() < LIMIT);
        child.kill().unwrap();
        assert!(patient.join().unwrap().is_err());
    });
    drop(child);
    oracle.finish();
}

cases![
    the_result_comes_back,
    results_and_arguments_of_any_size_never_block,
    a_panic_comes_back_with_message_and_place,
    an_end_without_a_result_tells_how,
    killed_and_terminated_children_end_at_once,
    a_child_starts_as_it_was_asked_to,
    what_cannot_be_started_is_an_error,
    what_cannot_travel_is_an_error_that_says_which_way,
    a_dropped_child_runs_on_and_is_reaped,
    the_end_is_told_once_on_another_thread,
    each_who_asks_is_told_of_the_end_whatever_another_does,
    a_forked_process_reaps_children_of_its_own,
    children_have_children_up_to_a_depth,
    a_limit_on_open_files_is_an_error_and_leaks_nothing,
    joins_by_several_threads_keep_their_own_deadlines,
];

cases_of_closed_children![a_wait_with_a_timeout_ends_and_can_be_repeated,];
