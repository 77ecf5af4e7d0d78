//! CPython's contenders: one interpreter that does a job when it is told to, and times it itself.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use crate::ours::private_memory;
use crate::race::{Run, say};

const PROGRAM: &str = include_str!("python.py");

/// The interpreter, with its pools.
struct Interpreter {
    child: Child,
    /// Closed, it ends.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The interpreter, started when it is first asked for something, and ended with the last handle.
#[derive(Clone, Default)]
pub struct Python(Rc<RefCell<Option<Interpreter>>>);

/// So many workers its pools have.
pub const WORKERS: usize = 2;

impl Python {
    /// The set-up of a contender that does this job.
    pub fn does(&self, job: &'static str) -> impl FnOnce() -> Result<Run, String> + use<> {
        let python = self.clone();
        move || {
            python.version()?;
            Ok(Box::new(move |pieces| python.order(job, &[pieces])))
        }
    }

    /// The set-up of a contender that sends so many bytes to a worker: its cost is a byte's.
    pub fn bulk(&self, bytes: usize) -> impl FnOnce() -> Result<Run, String> + use<> {
        let set_up = self.does("bytes");
        move || {
            let mut run = set_up()?;
            Ok(Box::new(move |times| Ok(run(times)? / bytes as f64)))
        }
    }

    /// The set-up of a contender that does tasks which take it so many nanoseconds.
    pub fn tasks(&self, nanoseconds: f64) -> impl FnOnce() -> Result<Run, String> + use<> {
        const LOOPS: usize = 100_000;
        let python = self.clone();
        move || {
            python.version()?;
            let mut fastest = f64::INFINITY;
            for _ in 0..5 {
                fastest = fastest.min(python.order("pace", &[LOOPS])?);
            }
            let loops = (nanoseconds * LOOPS as f64 / fastest) as usize;
            Ok(Box::new(move |tasks| {
                python.order("tasks", &[tasks, loops.max(1)])
            }))
        }
    }

    /// The set-up of a contender that maps on so many workers.
    pub fn map_on(&self, workers: usize) -> impl FnOnce() -> Result<Run, String> + use<> {
        self.with("map_on", workers)
    }

    /// The set-up of a contender that sends payloads of so many bytes.
    pub fn payload(&self, bytes: usize) -> impl FnOnce() -> Result<Run, String> + use<> {
        self.with("payload", bytes)
    }

    fn with(
        &self,
        job: &'static str,
        number: usize,
    ) -> impl FnOnce() -> Result<Run, String> + use<> {
        let python = self.clone();
        move || {
            python.version()?;
            Ok(Box::new(move |pieces| python.order(job, &[pieces, number])))
        }
    }

    /// The set-up of a contender whose cost is the memory that one of its idle workers has for itself.
    pub fn idle_memory(&self) -> impl FnOnce() -> Result<Run, String> + use<> {
        let python = self.clone();
        move || {
            python.version()?;
            let pid = python.order("pid", &[0])? as u32;
            Ok(Box::new(move |_| private_memory(pid)))
        }
    }

    /// Has a job done; gives the number that comes back.
    pub fn order(&self, job: &str, numbers: &[usize]) -> Result<f64, String> {
        let mut place = self.0.borrow_mut();
        if place.is_none() {
            *place = Some(Interpreter::start()?);
        }
        let interpreter = place.as_mut().ok_or("CPython is gone")?;
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        let orders = interpreter.orders.as_mut().ok_or("CPython is gone")?;
        writeln!(orders, "{job} {}", numbers.join(" ")).map_err(say)?;
        let mut answer = String::new();
        interpreter.answers.read_line(&mut answer).map_err(say)?;
        match answer.trim().strip_prefix('!') {
            Some(why) => Err(format!("CPython says{why}")),
            None => answer
                .trim()
                .parse()
                .map_err(|_| format!("CPython says {answer:?}")),
        }
    }

    /// Which CPython there is.
    pub fn version(&self) -> Result<String, String> {
        let output = Command::new("python3").arg("--version").output();
        let output = output.map_err(|error| format!("python3 cannot be started: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Interpreter {
    fn start() -> Result<Interpreter, String> {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM, &WORKERS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(say)?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().ok_or("CPython has no output")?;
        Ok(Interpreter {
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        // It ends its workers when it hears of the end. Killed, it would leave them behind.
        self.orders.take();
        let _reaped = self.child.wait();
    }
}
