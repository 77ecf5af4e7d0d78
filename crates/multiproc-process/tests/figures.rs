//! What a start costs, beside what it cannot cost less than; each pair measured in turns, in one run.

use std::io::Write;
use std::process::{Command, Stdio as CommandStdio};
use std::time::{Duration, Instant};

use multiproc_process::{Process, StartMethod};
use multiproc_testkit::{Oracle, Percentiles};

/// A few in a debug build, which says little, and is said to be one.
const ROUNDS: usize = if cfg!(debug_assertions) { 100 } else { 1000 };
const BUILD: &str = if cfg!(debug_assertions) {
    " (debug build)"
} else {
    ""
};

/// Tells the program, started by hand, to do nothing at the place where a child would begin.
const NOTHING: &str = "MULTIPROC_TEST_NOTHING";

/// As the hook before `main`: a program that ends there, and does no more.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn end() {
        if std::env::var_os(NOTHING).is_some() {
            // SAFETY: takes no pointer.
            unsafe { libc::exit(0) };
        }
    }
    end
};

fn timed(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

/// Measures in turns, and reports both and the ratio of their medians.
fn beside(what: [&str; 2], ours: impl Fn(), bare: impl Fn()) {
    let [mut first, mut second] = what.map(|what| Percentiles::new(format!("{what}{BUILD}")));
    for _ in 0..ROUNDS {
        first.add(timed(&ours));
        second.add(timed(&bare));
    }
    first.report();
    second.report();
    let ratio = first.p50().as_secs_f64() / second.p50().as_secs_f64();
    // Without a standard error there is no report.
    let _nobody_reads = writeln!(
        std::io::stderr(),
        "FIGURE {} / {}{BUILD}: ratio of medians {ratio:.2}",
        what[0],
        what[1]
    );
}

fn start_and_join(method: StartMethod) {
    let child = Process::builder().start_method(method).spawn(|()| (), ());
    child.unwrap().join().unwrap();
}

/// One test: two at once would measure each other.
#[test]
fn starts_beside_what_they_cannot_cost_less_than() {
    let oracle = Oracle::after(|| {
        start_and_join(StartMethod::Spawn);
        start_and_join(StartMethod::ForkServer);
    });
    a_start_beside_a_command_of_the_same_program();
    // In a process as small as the server, and with one thread: what a fork costs is what there is to copy.
    let apart = Process::spawn(|()| a_start_by_the_fork_server_beside_a_fork(), ());
    apart.unwrap().join().unwrap();
    oracle.finish();
}

fn a_start_beside_a_command_of_the_same_program() {
    let program = std::env::current_exe().unwrap();
    beside(
        ["Spawn, start and join", "Command of the same program"],
        || start_and_join(StartMethod::Spawn),
        || {
            let mut command = Command::new(&program);
            command.env(NOTHING, "1").stdin(CommandStdio::null());
            assert!(command.status().unwrap().success());
        },
    );
}

fn a_start_by_the_fork_server_beside_a_fork() {
    beside(
        ["ForkServer, start and join", "fork, _exit and waitpid"],
        || start_and_join(StartMethod::ForkServer),
        || {
            // SAFETY: the copy does nothing but end.
            let copy = unsafe { libc::fork() };
            if copy == 0 {
                // SAFETY: takes no pointer.
                unsafe { libc::_exit(0) };
            }
            // SAFETY: a null status is allowed.
            unsafe { libc::waitpid(copy, std::ptr::null_mut(), 0) };
        },
    );
}
