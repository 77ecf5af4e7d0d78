//! What is asked of a pool when it is built.

use std::time::Duration;

use multiproc_process::{Resource, StartMethod};

use crate::worker::Hook;

/// What becomes of a pool when a worker is lost with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureMode {
    /// The task has an error, and the worker is replaced. The default.
    #[default]
    Isolate,
    /// All tasks have the error, and the pool is broken: it takes no more.
    #[doc(alias = "concurrent.futures.process.BrokenProcessPool")]
    BreakAll,
}

/// See the methods of [`Builder`](crate::Builder).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) start_method: Option<StartMethod>,
    pub(crate) grace: Duration,
    pub(crate) initializer: Option<Hook>,
    pub(crate) finalizer: Option<Hook>,
    pub(crate) on_demand: bool,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_tasks: Option<u64>,
    pub(crate) max_memory: Option<u64>,
    pub(crate) max_pending: Option<usize>,
    pub(crate) start_limit: u32,
    pub(crate) limits: Vec<(Resource, u64)>,
    pub(crate) stderr_tail: Option<usize>,
    pub(crate) niceness: Option<i32>,
    pub(crate) affinity: Option<Vec<usize>>,
    pub(crate) failure_mode: FailureMode,
    /// Whether workers are threads of this process.
    pub(crate) threads: bool,
    /// How many tasks a timeline is kept of, if one is.
    pub(crate) timeline: Option<usize>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            name: "PoolWorker".to_string(),
            start_method: None,
            grace: Duration::from_secs(1),
            initializer: None,
            finalizer: None,
            on_demand: false,
            idle_timeout: None,
            max_tasks: None,
            max_memory: None,
            max_pending: None,
            start_limit: 10,
            limits: Vec::new(),
            stderr_tail: None,
            niceness: None,
            affinity: None,
            failure_mode: FailureMode::Isolate,
            threads: false,
            timeline: None,
        }
    }
}
