//! What a parent can do to its children, and what processes know of each other.
#![allow(clippy::print_stdout, reason = "what children tell")]

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use multiproc_process::{
    AsHandle, Process, Stdio, active_children, cpu_count, current_process, is_child,
    parent_process, wait_any,
};
use multiproc_testkit::{alive, eventually, process_state, within};

use super::{LIMIT, idle, oracle};

/// Far below what the end of a program may wait for its children.
const SOON: Duration = Duration::from_secs(30);

/// The child, and what it prints.
fn printing<R>(function: fn(()) -> R) -> (Process<R>, BufReader<PipeReader>)
where
    R: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    let (input, output) = std::io::pipe().unwrap();
    let child = Process::builder().stdout(output).spawn(function, ());
    (child.unwrap(), BufReader::new(input))
}

fn line(input: &mut impl BufRead) -> String {
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    line.trim_end().to_string()
}

fn an_interrupted_child_ends_by_the_signal() {
    let oracle = oracle();
    let (child, mut output) = printing(|()| {
        // A shell has its background commands, and so this test perhaps, ignore it.
        // SAFETY: the default disposition is a valid one.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        println!("ready");
        idle(());
    });
    assert_eq!(line(&mut output), "ready");
    child.interrupt().unwrap();
    let child = within(LIMIT, move || {
        let error = child.join().unwrap_err();
        assert_eq!(error.exit_status().unwrap().signal(), Some(libc::SIGINT));
        child
    });
    child.interrupt().unwrap();
    child.suspend().unwrap();
    child.resume().unwrap();
    drop((child, output));
    oracle.finish();
}

fn a_suspended_child_stands_still_with_its_group_until_it_is_resumed() {
    let oracle = oracle();
    let (child, mut output) = printing(|()| {
        let (end, _open) = std::io::pipe().unwrap();
        let mut command = Command::new("cat").stdin(end).spawn().unwrap();
        println!("{}", command.id());
        command.wait().unwrap();
    });
    let command: u32 = line(&mut output).parse().unwrap();
    child.suspend().unwrap();
    for pid in [child.pid(), command] {
        eventually(LIMIT, "it stops", || process_state(pid) == Some('T'));
    }
    assert!(child.is_alive().unwrap());
    assert!(child.join_timeout(Duration::ZERO).unwrap_err().is_timeout());
    child.resume().unwrap();
    for pid in [child.pid(), command] {
        eventually(LIMIT, "it goes on", || process_state(pid) == Some('S'));
    }
    child.suspend().unwrap();
    let stopped = || process_state(child.pid()) == Some('T');
    eventually(LIMIT, "it stops again", stopped);
    child.terminate().unwrap();
    assert!(child.is_alive().unwrap(), "the request waits");
    child.kill().unwrap();
    let error = within(LIMIT, move || child.join().unwrap_err());
    // Which of the two a kernel delivers first is its own affair.
    let by = error.exit_status().unwrap().signal();
    assert!(
        [Some(libc::SIGKILL), Some(libc::SIGTERM)].contains(&by),
        "{error}"
    );
    eventually(LIMIT, "its group is gone", || !alive(command));
    drop(output);
    oracle.with_orphans().finish();
}

fn the_first_of_several_children_to_end_is_told() {
    let oracle = oracle();
    let children: Vec<_> = (0..3).map(|_| Process::spawn(idle, ()).unwrap()).collect();
    assert_eq!(wait_any(&children, Some(Duration::ZERO)).unwrap(), []);
    let short = Some(Duration::from_millis(10));
    assert_eq!(wait_any(&children, short).unwrap(), []);
    children[1].kill().unwrap();
    assert_eq!(wait_any(&children, Some(LIMIT)).unwrap(), [1]);
    // Ready for ever, before and after it is reaped.
    assert!(children[1].join().is_err());
    let some = [&children[1], &children[2]];
    assert_eq!(wait_any(&some, Some(LIMIT)).unwrap(), [0]);

    // Others beside processes, and processes of any type.
    let (input, mut output) = std::io::pipe().unwrap();
    let other = Process::spawn(|()| 1, ()).unwrap();
    assert_eq!(within(LIMIT, move || other.join()).unwrap(), 1);
    output.write_all(b"!").unwrap();
    let ended = children[1].handle();
    let things: [&dyn AsHandle; 3] = [&input, &children[0], &ended];
    assert_eq!(wait_any(things, None).unwrap(), [0, 2]);

    let none: [&Process; 0] = [];
    assert_eq!(wait_any(none, None).unwrap(), []);
    for child in &children {
        child.kill().unwrap();
        child.join().unwrap_err();
    }
    assert_eq!(wait_any(&children, None).unwrap(), [0, 1, 2]);
    drop((children, ended, input, output));
    oracle.finish();
}

fn the_end_of_a_program_does_not_wait_for_a_detached_child_which_ends_with_it() {
    let oracle = oracle().with_orphans();
    let begun = Instant::now();
    let (parent, mut output) = printing(|()| {
        let (child, mut output) = printing(|()| {
            println!("{}", std::process::id());
            idle(());
        });
        println!("{}", line(&mut output));
        child.detach();
    });
    let grandchild = line(&mut output).parse().unwrap();
    parent.join_timeout(SOON).unwrap();
    eventually(LIMIT, "the child is gone", || !alive(grandchild));
    assert!(begun.elapsed() < SOON);
    drop((parent, output));
    oracle.finish();
}

fn a_detached_child_that_ends_is_reaped() {
    let oracle = oracle();
    Process::spawn(|()| (), ()).unwrap().detach();
    oracle.finish();
}

fn children_that_run_are_listed_whoever_holds_them() {
    let oracle = oracle();
    assert_eq!(active_children().len(), 0);
    let named = |name: &str| Process::builder().name(name).spawn(idle, ()).unwrap();
    let held = named("held");
    drop(named("dropped"));
    named("detached").detach();
    let ended = Process::builder().name("ended").spawn(|()| (), ()).unwrap();
    // Seen by nobody but the list, which reaps it.
    assert_eq!(wait_any([&ended], Some(LIMIT)).unwrap(), [0]);

    let active = active_children();
    let names: Vec<&str> = active.iter().map(|child| child.name()).collect();
    assert_eq!(names, ["held", "dropped", "detached"]);
    assert_eq!(active[0].pid(), held.pid());
    for child in &active {
        assert!(child.is_alive().unwrap() && !child.is_daemon());
        assert_eq!(child.wait(Some(Duration::ZERO)).unwrap(), None);
        child.kill().unwrap();
        let status = child.wait(Some(LIMIT)).unwrap().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
    assert_eq!(active_children().len(), 0);
    drop((active, held, ended));
    oracle.finish();
}

fn a_forked_copy_has_no_children() {
    let oracle = oracle();
    let copied = |()| {
        let child = Process::spawn(idle, ()).unwrap();
        assert_eq!(active_children().len(), 1);
        // SAFETY: the other threads of this process hold nothing that the copy needs.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            let none = active_children().is_empty();
            // SAFETY: takes no pointer. The copy ends without what its original does at its end.
            unsafe { libc::_exit(i32::from(!none)) }
        }
        let mut status = 0;
        // SAFETY: `status` is live.
        unsafe { libc::waitpid(copy, &raw mut status, 0) };
        child.kill().unwrap();
        child.join().unwrap_err();
        status
    };
    let child = Process::spawn(copied, ()).unwrap();
    assert_eq!(within(LIMIT, move || child.join()).unwrap(), 0);
    oracle.finish();
}

/// Name, number, and the same of the parent.
fn who() -> (String, u32, Option<(String, u32)>) {
    let own = current_process();
    let parent = parent_process().map(|parent| {
        assert!(parent.is_alive());
        (parent.name().to_string(), parent.pid())
    });
    (own.name().to_string(), own.pid(), parent)
}

fn a_process_knows_itself_and_its_parent() {
    let oracle = oracle();
    let (name, pid, above) = who();
    assert_eq!(pid, std::process::id());
    assert_eq!(above.is_some(), is_child());
    assert_eq!(name == "MainProcess", !is_child());
    let here = (name, pid);
    let child = Process::builder()
        .name("child")
        .spawn(
            |()| {
                let below = Process::builder()
                    .name("below")
                    .spawn(|()| who(), ())
                    .unwrap();
                (who(), below.join().unwrap())
            },
            (),
        )
        .unwrap();
    let pid = child.pid();
    let (child, below) = within(LIMIT, move || child.join().unwrap());
    assert_eq!(child, ("child".to_string(), pid, Some(here)));
    assert_eq!(below.0, "below");
    assert_eq!(below.2, Some(("child".to_string(), pid)));
    oracle.finish();
}

fn at_least_one_process_can_compute() {
    let here = cpu_count();
    assert!(here >= 1);
    let child = Process::builder()
        .stderr(Stdio::null())
        .spawn(|()| cpu_count(), ())
        .unwrap();
    assert_eq!(within(LIMIT, move || child.join()).unwrap(), here);
}

cases![
    an_interrupted_child_ends_by_the_signal,
    a_suspended_child_stands_still_with_its_group_until_it_is_resumed,
    the_first_of_several_children_to_end_is_told,
    the_end_of_a_program_does_not_wait_for_a_detached_child_which_ends_with_it,
    a_detached_child_that_ends_is_reaped,
    children_that_run_are_listed_whoever_holds_them,
    a_forked_copy_has_no_children,
    a_process_knows_itself_and_its_parent,
    at_least_one_process_can_compute,
];
