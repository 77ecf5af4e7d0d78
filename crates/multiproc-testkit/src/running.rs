//! A started program: its lines as they come, its tree, its end.
//!
//! # Threads
//! One thread starts the program, reads the reaper's report and reaps the reaper; one reads standard output, one standard
//! error, so that no pipe ever fills. All three write into one [`State`] and announce every change; whoever waits, waits there.
//! The starting thread lives until the reaper has ended, because the reaper dies with it.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::process::{ProcessInfo, descendants, kill};
use crate::program::Output;
use crate::reaper::{self, REPORT_NUMBER};

/// How long the rest of a tree may outlive its program before it counts as left behind.
const SETTLE: Duration = Duration::from_secs(5);
/// How long a killed tree may take to be gone: the kernel gives memory back first, 0.1 s per GB.
const KILLED: Duration = Duration::from_secs(20);
/// Between two rounds of killing, for processes started while the round before was running.
const KILL_AGAIN: Duration = Duration::from_millis(2);

/// A started [`Program`](crate::Program). Dropped, it kills and reaps its whole tree.
#[derive(Debug)]
pub struct Running {
    what: String,
    pid: u32,
    reaper: u32,
    started: Instant,
    deadline: Duration,
    /// How much of standard output [`next_line`](Self::next_line) has handed out.
    read: usize,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stdout: Stream,
    stderr: Stream,
    end: Option<(ExitStatus, Instant)>,
    /// No process of the tree is left and the reaper is reaped.
    gone: bool,
}

#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    closed: bool,
}

impl Running {
    pub(crate) fn start(command: Command, what: String, deadline: Duration) -> io::Result<Self> {
        let started = Instant::now();
        let shared = Arc::new(Shared::default());
        let (tell, told) = mpsc::sync_channel(1);
        let keeper = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match start_under_reaper(command) {
                Ok((pid, mut child, report)) => {
                    let pipes = (child.stdout.take(), child.stderr.take());
                    let _always_heard = tell.send(Ok((pid, child.id(), pipes)));
                    keep(&shared, child, report);
                }
                Err(error) => {
                    let _always_heard = tell.send(Err(error));
                }
            })
        };
        let answer = told.recv().expect("the starting thread answers");
        let (pid, reaper, (stdout, stderr)) = match answer {
            Ok(parts) => parts,
            Err(error) => {
                let _answered = keeper.join();
                return Err(error);
            }
        };
        let stdout = stdout.map(|pipe| shared.read(pipe, |state| &mut state.stdout));
        let stderr = stderr.map(|pipe| shared.read(pipe, |state| &mut state.stderr));
        let threads = [Some(keeper), stdout, stderr]
            .into_iter()
            .flatten()
            .collect();
        Ok(Self {
            what,
            pid,
            reaper,
            started,
            deadline,
            read: 0,
            shared,
            threads,
        })
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends `signal` to the program, not to the rest of its tree. After its end, nothing happens.
    pub fn kill(&self, signal: i32) {
        // Between its reaping and the note of its end its id is free; the kernel hands out every other id before it again.
        if self.shared.lock().end.is_none() {
            let _ended_by_itself = kill(self.pid, signal);
        }
    }

    /// The processes of its tree that are alive: the program, what it started, and orphans of those.
    #[must_use]
    pub fn tree(&self) -> Vec<ProcessInfo> {
        if self.shared.lock().gone {
            return Vec::new();
        }
        descendants(self.reaper)
            .into_iter()
            .filter(ProcessInfo::is_alive)
            .collect()
    }

    /// The next line that its tree writes to standard output, without the line's end.
    ///
    /// # Panics
    /// When no whole line has come after `deadline` or by the program's own, or when the output ends. The tree is killed
    /// then, and the message holds all it wrote.
    #[track_caller]
    pub fn next_line(&mut self, deadline: Duration) -> String {
        let until = (Instant::now() + deadline).min(self.started + self.deadline);
        let from = self.read;
        let line = |stream: &Stream| stream.bytes[from..].iter().position(|&byte| byte == b'\n');
        let state = self.shared.wait(until, |state| {
            state.stdout.closed || line(&state.stdout).is_some()
        });
        let Some(length) = line(&state.stdout) else {
            let why = if state.stdout.closed {
                "ended its output"
            } else {
                "wrote no line in time"
            };
            drop(state);
            self.fail(why);
        };
        let text = String::from_utf8_lossy(&state.stdout.bytes[from..from + length]).into_owned();
        drop(state);
        self.read += length + 1;
        text
    }

    /// Waits for its end and for the end of its tree. The output holds every line, those already read included.
    ///
    /// # Panics
    /// When it has not ended by its deadline, or when something of its tree is alive 5 s after its end. The tree is
    /// killed then, and the message holds all it wrote.
    #[must_use]
    #[track_caller]
    pub fn wait(self) -> Output {
        let state = self
            .shared
            .wait(self.started + self.deadline, |state| state.end.is_some());
        let Some((status, ended)) = state.end else {
            drop(state);
            self.fail(&format!("did not end within {:?}", self.deadline));
        };
        drop(state);
        let state = self.shared.wait(Instant::now() + SETTLE, State::is_over);
        if !state.is_over() {
            drop(state);
            self.fail("ended and left processes, or its output open");
        }
        let (stdout, stderr) = state.texts();
        Output {
            status,
            stdout,
            stderr,
            elapsed: ended - self.started,
        }
    }

    #[track_caller]
    fn fail(&self, why: &str) -> ! {
        let tree = self.tree();
        self.kill_tree();
        let (stdout, stderr) = self.shared.lock().texts();
        let mut message = format!("`{}` {why}; killed:\n", self.what);
        for process in tree {
            message += &format!("  {process}\n");
        }
        panic!("{message}--- stdout\n{stdout}--- stderr\n{stderr}");
    }

    /// Kills what is below the reaper until nothing is left, stopped processes and orphans included.
    fn kill_tree(&self) {
        let until = Instant::now() + KILLED;
        loop {
            let again = Instant::now() + KILL_AGAIN;
            if self.shared.wait(again, |state| state.gone).gone || Instant::now() > until {
                break;
            }
            for process in self.tree() {
                let _ended_by_itself = kill(process.pid, libc::SIGKILL);
            }
        }
        // A process outside the tree may have been given the pipes; it is not waited for.
        drop(
            self.shared
                .wait(Instant::now() + KILL_AGAIN, State::is_over),
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_tree();
        if self.shared.lock().is_over() {
            for thread in self.threads.drain(..) {
                let _is_over = thread.join();
            }
        }
    }
}

impl Shared {
    /// A panic while the state is held leaves it whole: every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `holds` or `until`; the caller looks which it was.
    fn wait(&self, until: Instant, holds: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), left, |state| !holds(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Reads `pipe` to its end on a thread of its own.
    fn read(
        self: &Arc<Self>,
        mut pipe: impl Read + Send + 'static,
        stream: fn(&mut State) -> &mut Stream,
    ) -> JoinHandle<()> {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                shared.change(|state| stream(state).bytes.extend_from_slice(&chunk[..length]));
            }
            drop(pipe);
            shared.change(|state| stream(state).closed = true);
        })
    }
}

impl State {
    fn is_over(&self) -> bool {
        self.gone && self.stdout.closed && self.stderr.closed
    }

    fn texts(&self) -> (String, String) {
        let text = |stream: &Stream| String::from_utf8_lossy(&stream.bytes).into_owned();
        (text(&self.stdout), text(&self.stderr))
    }
}

/// Starts `command` below a reaper: the program's id, the reaper, and what the reaper reports.
fn start_under_reaper(mut command: Command) -> io::Result<(u32, Child, PipeReader)> {
    let (mut report, writer) = io::pipe()?;
    let fd = writer.as_raw_fd();
    // SAFETY: `split` makes system calls only (see its header), on both sides of its fork.
    unsafe { command.pre_exec(move || reaper::split(fd)) };
    let mut child = command.spawn()?;
    drop(writer);
    match read_number(&mut report).and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) => Ok((pid, child, report)),
        None => {
            child.wait()?;
            Err(io::Error::other(
                "its reaper could not close its descriptors (close_range, Linux 5.9)",
            ))
        }
    }
}

fn keep(shared: &Shared, mut reaper: Child, mut report: PipeReader) {
    if let Some(status) = read_number(&mut report) {
        let end = (ExitStatus::from_raw(status), Instant::now());
        shared.change(|state| state.end = Some(end));
    }
    // The end of the report is the end of the tree.
    let _nothing_more = read_number(&mut report);
    let _reaped = reaper.wait();
    drop(report);
    shared.change(|state| state.gone = true);
}

fn read_number(report: &mut PipeReader) -> Option<i32> {
    let mut bytes = [0; REPORT_NUMBER];
    report.read_exact(&mut bytes).ok()?;
    Some(i32::from_ne_bytes(bytes))
}
