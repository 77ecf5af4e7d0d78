//! A child that is killed before each single system call of its own start, and of its end: its parent has an error
//! or the result, whichever it must be, and nothing is left.
//!
//! A process traces a parent, and with it all that the parent starts (`ptrace`): the first child is killed before it
//! does anything, the next before its first system call, and so on, until one has ended undisturbed. What a child does
//! between two system calls nobody else can see.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::ptr;
use std::time::{Duration, Instant};

use libc::{c_int, c_uint, c_void, pid_t};
use multiproc_process::{Error, Process, StartMethod, active_children};
use multiproc_testkit::{Oracle, within};
use serde::{Deserialize, Serialize};

/// For all of it; a traced start takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(120);
/// More than a child has system calls.
const MOST: usize = 2000;

/// What became of a start: what its function returned, or the signal that ended it, whether the error is one of the
/// start, and its words.
type Outcome = Result<u8, (Option<i32>, bool, String)>;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Case {
    by_server: bool,
    /// Whether `spawn` waits for the start.
    waits: bool,
}

fn outcome(result: Result<u8, Error>) -> Outcome {
    result.map_err(|error| {
        let signal = error.exit_status().and_then(|status| status.signal());
        (signal, error.is_start(), error.to_string())
    })
}

/// Starts children until one was not disturbed: what became of each, and the longest time that it took.
fn parent(case: Case) -> (Vec<Outcome>, Duration) {
    let traced = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        !status.contains("TracerPid:\t0\n")
    };
    while !traced() {
        std::thread::yield_now();
    }
    let (mut outcomes, mut longest) = (Vec::new(), Duration::ZERO);
    while outcomes.len() < MOST {
        let method = if case.by_server {
            StartMethod::ForkServer
        } else {
            StartMethod::Spawn
        };
        let mut builder = Process::builder().start_method(method);
        if case.waits {
            builder = builder.start_timeout(LIMIT);
        }
        let begun = Instant::now();
        let started = builder.spawn(|n: u8| n + 1, 4);
        let (result, undisturbed) = match started {
            Ok(child) => {
                let result = child.join_timeout(LIMIT);
                let status = child.exit_status().unwrap();
                (result, status.is_some_and(|status| status.success()))
            }
            Err(error) => (Err(error), false),
        };
        longest = longest.max(begun.elapsed());
        outcomes.push(outcome(result));
        if undisturbed {
            break;
        }
    }
    assert_eq!(active_children().len(), 0);
    (outcomes, longest)
}

/// What is traced, and who of it is to be killed when.
struct Tracer {
    case: Case,
    parent: pid_t,
    /// Who came from whom, and who stopped before that was told.
    born: HashMap<pid_t, pid_t>,
    early: HashSet<pid_t>,
    /// How many system calls each child may begin still.
    left: HashMap<pid_t, usize>,
    victims: usize,
}

/// Starts a parent and traces it; what that says, or why it cannot be traced.
fn trace(case: Case) -> Result<(Vec<Outcome>, Duration), String> {
    let process = Process::spawn(parent, case).unwrap();
    let pid = process.pid().cast_signed();
    let options = libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_EXITKILL;
    if let Err(error) = ptrace(libc::PTRACE_SEIZE, pid, options.try_into().unwrap()) {
        process.kill().unwrap();
        process.join().unwrap_err();
        return Err(error.to_string());
    }
    Tracer {
        case,
        parent: pid,
        born: HashMap::new(),
        early: HashSet::new(),
        left: HashMap::new(),
        victims: 0,
    }
    .run();
    // Whose status the tracing has taken; its result is there.
    Ok(process.join().unwrap())
}

impl Tracer {
    /// Until the parent has ended.
    fn run(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: `status` is live.
            let process = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            assert!(process > 0, "waitpid: {}", io::Error::last_os_error());
            if libc::WIFSTOPPED(status) {
                self.stopped(process, status);
            } else if process == self.parent {
                return;
            }
        }
    }

    fn stopped(&mut self, process: pid_t, status: c_int) {
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let mut born = 0_usize;
                let told = ptrace(
                    libc::PTRACE_GETEVENTMSG,
                    process,
                    (&raw mut born).expose_provenance(),
                );
                told.unwrap();
                self.was_born(pid_t::try_from(born).unwrap(), process);
                self.go_on(process, 0);
            }
            libc::PTRACE_EVENT_STOP
                if process != self.parent && !self.born.contains_key(&process) =>
            {
                self.early.insert(process);
            }
            0 if signal == libc::SIGTRAP | 0x80 => {
                if begins_a_call(process) {
                    self.count(process);
                }
                self.go_on(process, 0);
            }
            0 => self.go_on(process, signal),
            _ => self.go_on(process, 0),
        }
    }

    fn was_born(&mut self, process: pid_t, by: pid_t) {
        self.born.insert(process, by);
        // The server, in whose case it is the parent's only child of its own making, is nobody's victim.
        let is_child = (by == self.parent) != self.case.by_server;
        if is_child && leads_its_threads(process) && by_main(by, self.parent, &self.born) {
            self.left.insert(process, self.victims);
            self.victims += 1;
            if self.victims == 1 {
                kill(process);
            }
        }
        if self.early.remove(&process) {
            self.go_on(process, 0);
        }
    }

    /// One that is about to make a system call.
    fn count(&mut self, process: pid_t) {
        if let Some(left) = self.left.get_mut(&process) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                kill(process);
            }
        }
    }

    /// Until its next system call, where those are counted; one that was killed is gone, perhaps.
    fn go_on(&self, process: pid_t, signal: c_int) {
        let how = match self.left.contains_key(&process) {
            true => libc::PTRACE_SYSCALL,
            false => libc::PTRACE_CONT,
        };
        let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
        if let Err(error) = ptrace(how, process, signal.try_into().unwrap()) {
            assert!(gone(&error), "{error}");
        }
    }
}

/// Whether it is the parent or the parent's own child that has forked, and not a child under test.
fn by_main(by: pid_t, parent: pid_t, born: &HashMap<pid_t, pid_t>) -> bool {
    by == parent || born.get(&by) == Some(&parent)
}

/// And not a thread of another process.
fn leads_its_threads(process: pid_t) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| status.contains(&format!("Tgid:\t{process}\n")))
}

fn begins_a_call(process: pid_t) -> bool {
    // SAFETY: a plain C structure of which all zeroes is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let place = ptr::from_mut(&mut info).cast::<c_void>();
    let size = ptr::without_provenance_mut::<c_void>(size_of_val(&info));
    // SAFETY: the process is stopped and ours to trace; `info` has the size that is said.
    let told = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, process, size, place) };
    told > 0 && info.op == libc::PTRACE_SYSCALL_INFO_ENTRY
}

fn ptrace(request: c_uint, process: pid_t, data: usize) -> io::Result<()> {
    let data = ptr::with_exposed_provenance_mut::<c_void>(data);
    // SAFETY: of the requests that are made here only one writes, to a live place that it is given.
    match unsafe { libc::ptrace(request, process, ptr::null_mut::<c_void>(), data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn kill(process: pid_t) {
    // SAFETY: takes no pointer; a process that is traced is there until it is waited for.
    assert_eq!(unsafe { libc::kill(process, libc::SIGKILL) }, 0);
}

fn dies_at_each_step(case: Case) {
    // The fork server ends with the parent, and may be this process's to reap then.
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    let oracle = oracle.with_orphans();
    let tracer = Process::spawn(trace, case).unwrap();
    let traced = within(LIMIT, move || tracer.join()).unwrap();
    oracle.finish();
    let (outcomes, longest) = match traced {
        Ok(traced) => traced,
        Err(why) => {
            // Past the harness, which shows what a test prints only if it fails.
            let _nobody_reads = writeln!(io::stderr(), "NOT TESTED: {case:?}: cannot trace: {why}");
            return;
        }
    };
    let first_result = outcomes.iter().position(Result::is_ok).unwrap();
    let _nobody_reads = writeln!(
        io::stderr(),
        "FIGURE {case:?}: killed before each of {} system calls, {first_result} of them before the result was \
         sent; known after {longest:?} at most",
        outcomes.len() - 1
    );
    assert!(first_result > 20, "{outcomes:?}");
    // What such a child costs beside a bare fork; the other's are the loader's, nearly all.
    const MOST: usize = if cfg!(debug_assertions) { 39 } else { 33 };
    assert!(!case.by_server || outcomes.len() <= MOST, "{outcomes:?}");
    let (lost, sent) = outcomes.split_at(first_result);
    for outcome in sent {
        assert_eq!(*outcome, Ok(5), "what was sent stands");
    }
    for outcome in lost {
        let (signal, of_start, words) = outcome.as_ref().unwrap_err();
        assert_eq!(*signal, Some(libc::SIGKILL), "{words}");
        assert!(case.waits || !of_start, "{words}");
    }
    let of_start = lost.iter().filter(|lost| matches!(lost, Err((_, true, _))));
    assert_eq!(of_start.count() > 20, case.waits, "{outcomes:?}");
    assert!(longest < LIMIT);
}

#[test]
fn a_spawned_child_may_die_at_each_step_of_its_start() {
    for waits in [false, true] {
        dies_at_each_step(Case {
            by_server: false,
            waits,
        });
    }
}

#[test]
fn a_child_of_the_fork_server_may_die_at_each_step_of_its_start() {
    for waits in [false, true] {
        dies_at_each_step(Case {
            by_server: true,
            waits,
        });
    }
}
