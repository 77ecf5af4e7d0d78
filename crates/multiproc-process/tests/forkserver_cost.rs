//! What a start by the fork server asks of the kernel, counted: system calls of those who have it made, and pages that the
//! child takes. The child's own system calls are counted in `start_steps.rs`.
#![expect(
    clippy::print_stdout,
    reason = "by a line a program says that it has begun"
)]

use std::io::Write;
use std::time::Duration;

use multiproc_process::{Process, StartMethod};
use multiproc_testkit::{Oracle, Program, SIGKILL, mark, system_calls, within};

const LIMIT: Duration = Duration::from_secs(60);
const STARTS: u32 = 50;
/// Where the test runs as the program that is counted.
const ROLE: &str = "MULTIPROC_PROCESS_COUNTED";
/// The line by which it says that it has begun.
const BEGUN: &str = "starts are made";

fn starts(_: ()) {
    for _ in 0..STARTS {
        let builder = Process::builder().start_method(StartMethod::ForkServer);
        builder.spawn(|()| (), ()).unwrap().join().unwrap();
    }
}

fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    !status.contains("TracerPid:\t0\n")
}

fn oracle() -> Oracle {
    Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap())
}

/// Past the harness, which shows what a test prints only if it fails.
fn report(what: &str) {
    // Without a standard error there is no report.
    let _nobody_reads = writeln!(std::io::stderr(), "FIGURE of each start: {what}");
}

#[test]
fn a_start_makes_so_many_system_calls_and_no_more() {
    if std::env::var_os(ROLE).is_some() {
        starts(());
        println!("\n{BEGUN}");
        // Until then no child comes or goes that would be traced.
        while !is_traced() {
            std::thread::yield_now();
        }
        loop {
            mark(true);
            starts(());
            mark(false);
        }
    }
    let oracle = oracle();
    let program = Program::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_start_makes_so_many_system_calls_and_no_more"])
        .arg("--nocapture")
        .env(ROLE, "1");
    let mut running = program.deadline(LIMIT).start();
    // What libtest says comes before.
    while running.next_line(LIMIT) != BEGUN {}
    let threads = system_calls(running.pid());
    running.kill(SIGKILL);
    assert!(!running.wait().status.success());
    oracle.finish();
    let parent = threads.iter().find(|calls| calls.marked).unwrap();
    let server = threads.iter().find(|calls| calls.name == "multiproc-fork");
    // Memory that the allocator is given, or gives back, is none of a start's. In a debug build each handle is looked at
    // before it is closed.
    let memory = [libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap];
    for (calls, who, most) in [(parent, "parent", 28), (server.unwrap(), "server", 22)] {
        let memory: u64 = memory.iter().map(|number| calls.of(*number)).sum();
        let each = (calls.all() - memory).div_ceil(STARTS.into());
        report(&format!("{each} system calls of the {who}"));
        assert!(each <= most, "{calls:?}");
    }
}

/// Of the children of this process that were reaped.
fn page_faults() -> u32 {
    // SAFETY: a plain C structure of which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is live, and the call fills it.
    let told = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    assert_eq!(told, 0);
    usage.ru_minflt.try_into().unwrap()
}

#[test]
fn a_child_takes_so_many_pages_and_no_more() {
    /// Some are of code, and depend on where that lies; half as many again as were counted.
    const MOST: u32 = if cfg!(debug_assertions) { 87 } else { 70 };
    let counted = |()| {
        starts(());
        let before = page_faults();
        starts(());
        (page_faults() - before) / STARTS
    };
    let oracle = oracle();
    let child = Process::spawn(counted, ()).unwrap();
    let each = within(LIMIT, move || child.join()).unwrap();
    oracle.finish();
    report(&format!("{each} page faults of the child"));
    assert!(each <= MOST, "{each}");
}
