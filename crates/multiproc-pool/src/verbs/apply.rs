//! One call.

use multiproc_process::function::Function;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::pool::Pool;
use crate::task::{Task, only};

impl Pool {
    /// Runs `function(argument)` in a worker and waits for its result.
    ///
    /// # Errors
    /// [`TaskError`].
    #[doc(alias = "multiprocessing.pool.Pool.apply")]
    pub fn apply<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let job = (self.driver()).run(Function::new(function), [argument], self.call())?;
        only(job)
    }

    /// Has `function(argument)` run in a worker, and returns at once.
    ///
    /// # Errors
    /// Where the task cannot be sent: its argument cannot be encoded, the pool is closed or broken.
    #[doc(alias = "multiprocessing.pool.Pool.apply_async")]
    pub fn apply_async<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Task<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.map_async(function, [argument]).map(Task::new)
    }
}
