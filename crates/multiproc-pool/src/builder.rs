//! A pool to be made.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use multiproc_process::function::Function;
use multiproc_wire::{Descriptor, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::driver::Limits;
use crate::error::{Error, Kind, TaskError};
use crate::pool::Pool;
use crate::worker::Initializer;

/// A pool to be made. Made by [`Pool::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `build`"]
pub struct Builder {
    workers: Option<usize>,
    name: String,
    limits: Limits,
    initializer: Option<Result<Initializer, TaskError>>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        let limits = Limits {
            task: None,
            grace: Duration::from_secs(1),
        };
        Builder {
            workers: None,
            name: "PoolWorker".to_string(),
            limits,
            initializer: None,
        }
    }

    /// How many workers; as many as the program may use processors where it is not said.
    #[doc(alias = "processes")]
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = Some(workers);
        self
    }

    /// How the names of the workers begin; a number follows.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// Has each worker call `function(argument)` once, before its first task. A worker in which that panics
    /// ends; where ten in a row do, the pool gives up, and its tasks' errors say what the panic was.
    #[doc(alias = "initargs")]
    pub fn initializer<A>(mut self, function: fn(A), argument: A) -> Builder
    where
        A: Serialize + DeserializeOwned + 'static,
    {
        self.initializer = Some(encoded(function, &argument));
        self
    }

    /// How long a task may run. One that runs for longer is ended with its worker (`SIGTERM`, and `SIGKILL`
    /// after the [grace](Self::grace)), which is replaced: [`TaskError::TimedOut`](crate::TaskError::TimedOut).
    /// No other task is affected. As long as they like, where it is not said.
    ///
    /// # Differences from Python
    /// Python has no such limit.
    pub fn task_timeout(mut self, timeout: Duration) -> Builder {
        self.limits.task = Some(timeout);
        self
    }

    /// How long a worker that is asked to end may take, before it is killed: one second where it is not said.
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.limits.grace = grace;
        self
    }

    /// Makes the pool: starts the workers, and returns without waiting until they are ready.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn build(self) -> Result<Pool, Error> {
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        let initializer = self
            .initializer
            .transpose()
            .map_err(|error| Error::new(Kind::Initializer(error)))?;
        Pool::start(
            self.workers.unwrap_or_else(processors),
            self.name,
            self.limits,
            initializer,
        )
    }
}

fn encoded<A>(function: fn(A), argument: &A) -> Result<Initializer, TaskError>
where
    A: Serialize + DeserializeOwned + 'static,
{
    let function = Function::new(function).reference();
    let function = function.map_err(|error| TaskError::Function(error.to_string()))?;
    let mut bytes = Vec::new();
    let handoff = encode(argument, &mut bytes).map_err(TaskError::Encode)?;
    let handles = handoff
        .handles()
        .iter()
        .cloned()
        .map(Descriptor::shared)
        .collect();
    handoff.sent();
    Ok(Initializer {
        function,
        argument: bytes,
        handles,
    })
}
