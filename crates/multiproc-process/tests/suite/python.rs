//! What Python's processes do that no other file here looks at, or what is done in its place.
#![allow(clippy::print_stdout, reason = "what children tell")]

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use multiproc_process::{
    Process, StartMethod, Stdio, active_children, current_process, get_start_method,
};
use multiproc_testkit::{alive, eventually, forever, within};
use multiproc_wire::Descriptor;

use super::{LIMIT, join, oracle};

fn a_child_is_called_process_and_a_number_and_reads_nothing() {
    let oracle = oracle();
    let child = Process::spawn(
        |()| {
            let read = std::io::read_to_string(std::io::stdin()).unwrap();
            (current_process().name().to_string(), read)
        },
        (),
    );
    let child = child.unwrap();
    let number = child.name().strip_prefix("Process-").unwrap();
    assert!(number.parse::<u64>().is_ok(), "{number}");
    let name = child.name().to_string();
    assert_eq!(join(child).unwrap(), (name, String::new()));
    oracle.finish();
}

fn a_daemonic_child_may_have_children_which_are_not() {
    let oracle = oracle();
    let child = Process::builder().daemon(true).spawn(
        |()| {
            let below = Process::spawn(|()| 7, ()).unwrap();
            (below.handle().is_daemon(), below.join().unwrap())
        },
        (),
    );
    let child = child.unwrap();
    assert!(child.handle().is_daemon());
    assert_eq!(join(child).unwrap(), (false, 7));
    oracle.finish();
}

/// Starts a daemonic child, which idles, and another, which ends when it is told a line; and ends.
fn leave_two_behind(_: ()) {
    let daemon = Process::builder().daemon(true).spawn(|()| forever(), ());
    let daemon: Process = daemon.unwrap();
    println!("{}", daemon.pid());
    let other = Process::builder().stdin(Stdio::inherit()).spawn(
        |()| {
            std::io::stdin().read_line(&mut String::new()).unwrap();
            println!("waited for");
        },
        (),
    );
    drop((daemon, other.unwrap()));
}

fn the_end_of_a_program_kills_its_daemons_and_waits_for_others() {
    let oracle = oracle();
    let (input, output) = std::io::pipe().unwrap();
    let (told, mut tell) = std::io::pipe().unwrap();
    let builder = Process::builder().stdin(told).stdout(output);
    let parent = builder.spawn(leave_two_behind, ()).unwrap();
    let mut lines = BufReader::new(input).lines();
    let daemon = lines.next().unwrap().unwrap().parse().unwrap();
    eventually(LIMIT, "the daemon is gone", || !alive(daemon));
    assert!(parent.is_alive().unwrap(), "it waits for the other");
    tell.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "waited for");
    join(parent).unwrap();
    drop((lines, tell));
    oracle.finish();
}

fn a_child_ends_with_its_function_whatever_its_threads_do_and_runs_exit_handlers() {
    extern "C" fn say() {
        println!("at the end");
        std::io::stdout().flush().unwrap();
    }
    let oracle = oracle();
    let (input, output) = std::io::pipe().unwrap();
    let child = Process::builder().stdout(output).spawn(
        |()| {
            // SAFETY: a function for the life of the program.
            unsafe { libc::atexit(say) };
            std::thread::spawn(|| forever());
        },
        (),
    );
    join(child.unwrap()).unwrap();
    let said = std::io::read_to_string(input).unwrap();
    // A forked one has its parent's, which are not its own to run.
    let runs = !matches!(get_start_method(), StartMethod::Fork(_));
    assert_eq!(said, if runs { "at the end\n" } else { "" });
    oracle.finish();
}

/// Starts a command and a child, which stay, and tells their numbers.
fn with_company(_: ()) {
    let (end, _open) = std::io::pipe().unwrap();
    let mut command = Command::new("cat").stdin(end).spawn().unwrap();
    let child: Process = Process::spawn(|()| forever(), ()).unwrap();
    println!("{}\n{}", command.id(), child.pid());
    command.wait().unwrap();
}

fn a_child_that_is_killed_takes_along_what_it_has_started() {
    let oracle = oracle().with_orphans();
    let (input, output) = std::io::pipe().unwrap();
    let child = Process::builder().stdout(output).spawn(with_company, ());
    let child = child.unwrap();
    let lines = BufReader::new(input).lines().take(2);
    let started: Vec<u32> = lines.map(|line| line.unwrap().parse().unwrap()).collect();
    child.kill().unwrap();
    eventually(LIMIT, "all are gone", || {
        !started.iter().any(|pid| alive(*pid))
    });
    within(LIMIT, move || child.join().unwrap_err());
    oracle.finish();
}

fn more_descriptors_are_passed_than_a_packet_takes() {
    let oracle = oracle();
    let open = || Descriptor::from(std::fs::File::open("/dev/null").unwrap());
    let files: Vec<Descriptor> = (0..300).map(|_| open()).collect();
    let child = Process::spawn(|files: Vec<Descriptor>| files.len(), files);
    assert_eq!(join(child.unwrap()).unwrap(), 300);
    assert_eq!(active_children().len(), 0);
    oracle.finish();
}

cases![
    a_child_is_called_process_and_a_number_and_reads_nothing,
    a_daemonic_child_may_have_children_which_are_not,
    the_end_of_a_program_kills_its_daemons_and_waits_for_others,
    a_child_ends_with_its_function_whatever_its_threads_do_and_runs_exit_handlers,
    a_child_that_is_killed_takes_along_what_it_has_started,
    more_descriptors_are_passed_than_a_packet_takes,
];
