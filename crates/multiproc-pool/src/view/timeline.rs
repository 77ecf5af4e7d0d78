//! Which worker ran which task when.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{svg, trace};

/// Which worker of a pool ran which task when: what [`Pool::timeline`](crate::Pool::timeline) gives. All moments are
/// counted from when the pool was made.
///
/// When a task began and ended is what its worker says, by the clock that all processes of a machine share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeline {
    /// When this was asked for.
    pub until: Duration,
    /// The number of the parent's process.
    pub pid: u32,
    /// All workers whose tasks are known, in the order of their starts.
    pub workers: Vec<WorkerSpan>,
    /// Tasks in the order in which they were heard of; those that run now come last.
    pub tasks: Vec<TaskSpan>,
    /// How many tasks, older than these, are not known any more.
    pub forgotten: u64,
    /// How many tasks are left out since what their worker said of their times cannot be.
    pub implausible: u64,
}

/// The life of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSpan {
    /// Its seat: the worker that replaces one has the same.
    pub seat: usize,
    /// The number of its process.
    pub pid: u32,
    /// When it was started.
    pub started: Duration,
    /// When it was ready for a task, if it was.
    pub ready: Option<Duration>,
    /// When it was seen to have ended, if it has.
    pub ended: Option<Duration>,
}

/// A task's run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskSpan {
    /// Its worker's place among the workers.
    pub worker: usize,
    /// The number of its call: the first of the pool is 1.
    pub call: u64,
    /// Its place among the items of the call; of a task of several, the first one's.
    pub item: usize,
    /// How many items it is: more than one where they go in [chunks](crate::Policy::chunksize).
    pub items: usize,
    /// The types of its function, such as `fn(u64) -> f64`.
    pub function: &'static str,
    /// When it began. Of one that runs now, or was lost with its worker, the earliest it can have been.
    pub started: Duration,
    /// When it ended. Of one that runs now, when this was asked for; of one that was lost, when its worker was
    /// seen to have ended.
    pub ended: Duration,
    /// What became of it.
    pub outcome: TaskOutcome,
}

/// What became of a task that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// It returned.
    Returned,
    /// It panicked.
    Panicked,
    /// Its argument or its result could not be passed.
    Failed,
    /// Its worker ended.
    Lost,
    /// It runs.
    Running,
}

impl TaskOutcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            TaskOutcome::Returned => "returned",
            TaskOutcome::Panicked => "panicked",
            TaskOutcome::Failed => "failed",
            TaskOutcome::Lost => "lost with its worker",
            TaskOutcome::Running => "running",
        }
    }
}

impl Timeline {
    /// The timeline as a Chrome trace: JSON that `chrome://tracing` and <https://ui.perfetto.dev> open.
    #[must_use]
    pub fn to_chrome_trace(&self) -> String {
        trace::render(self)
    }

    /// The timeline as a picture that needs nothing else: a lane for each seat, with its workers and their tasks on a
    /// common axis of time. Tasks that are less than a pixel wide are drawn together.
    #[must_use]
    pub fn to_svg(&self) -> String {
        svg::render(self)
    }

    /// Writes [`to_chrome_trace`](Self::to_chrome_trace) into a file.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn write_chrome_trace(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.to_chrome_trace())
    }

    /// Writes [`to_svg`](Self::to_svg) into a file.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn write_svg(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.to_svg())
    }
}
