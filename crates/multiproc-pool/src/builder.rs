//! A pool to be made.

use std::num::NonZero;
use std::thread;

use crate::error::Error;
use crate::pool::Pool;

/// A pool to be made. Made by [`Pool::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `build`"]
pub struct Builder {
    workers: Option<usize>,
    name: String,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            workers: None,
            name: "PoolWorker".to_string(),
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

    /// Makes the pool: starts the workers, and returns without waiting until they are ready.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn build(self) -> Result<Pool, Error> {
        let processors = || thread::available_parallelism().map_or(1, NonZero::get);
        Pool::start(self.workers.unwrap_or_else(processors), self.name)
    }
}
