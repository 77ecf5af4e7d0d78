//! What to run, and what it left to read when it ended.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fmt};

use crate::oracle::IN_TURN;
use crate::running::Running;

/// A program to run under a deadline: 60 s unless [`deadline`](Self::deadline) says otherwise.
///
/// It gets an empty standard input, leads a process group of its own, and is the root of a tree: everything it starts,
/// and what that starts, whoever its parent is by then. When the deadline passes, the whole tree is killed and the
/// test fails; so it does when the program ends and leaves something of its tree running.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    /// A value, or `None` for a variable that is taken away.
    env: Vec<(OsString, Option<OsString>)>,
    current_dir: Option<PathBuf>,
    deadline: Duration,
}

impl Program {
    /// The program at `path`, looked up in `PATH` where it holds no slash.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            deadline: Duration::from_secs(60),
        }
    }

    /// The example `name`, built in the same profile as the running test.
    ///
    /// # Panics
    /// When it is not built; the message says how to build it.
    #[must_use]
    #[track_caller]
    pub fn example(name: &str) -> Self {
        let test = env::current_exe().expect("a running test has a path");
        // target/PROFILE/deps/TEST-HASH
        let profile = test
            .ancestors()
            .nth(2)
            .expect("a test lies two folders below its profile");
        let path = profile.join("examples").join(name);
        assert!(
            path.is_file(),
            "the example {name:?} is not built: no {}\n\
             build it with `cargo build --examples` in the same profile, or run all tests of the package: `cargo test`",
            path.display()
        );
        Self::new(path)
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment, which is otherwise the test's.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Takes a variable out of its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Starts it in `folder`.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(folder.into());
        self
    }

    /// The time it has from its start to its end.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// As [`start`](Self::start) and [`Running::wait`].
    #[track_caller]
    pub fn run(&self) -> Output {
        self.start().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> Running {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env(IN_TURN, "1");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = &self.current_dir {
            command.current_dir(folder);
        }
        match Running::start(command, self.to_string(), self.deadline) {
            Ok(running) => running,
            Err(error) => panic!("cannot start `{self}`: {error}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.args
            .iter()
            .try_for_each(|arg| write!(f, " {}", arg.display()))
    }
}

/// What a program left to read when it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All that its tree wrote to standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// All that its tree wrote to standard error; what is not UTF-8 is replaced.
    pub stderr: String,
    /// From its start to its end.
    pub elapsed: Duration,
}

impl Output {
    /// This output, of a program that must have succeeded.
    ///
    /// # Panics
    /// When it did not; the message holds all it wrote.
    #[must_use]
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
            elapsed,
        } = self;
        write!(
            f,
            "{status} after {elapsed:?}\n--- stdout\n{stdout}--- stderr\n{stderr}"
        )
    }
}
