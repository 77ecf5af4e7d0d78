//! One call in each worker.

use multiproc_process::function::Function;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TaskError;
use crate::pool::Pool;
use crate::task::MapTask;

impl Pool {
    /// Runs `function(argument)` once in each worker, before whatever else it is sent from then on, and waits for all
    /// results, one for each worker. Workers that are started for others later do not run it: what all of them need is
    /// for the [initializer](crate::Builder::initializer). One that dies before it has begun it is replaced, and its
    /// replacement runs it.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(3)?;
    /// let mut pids = pool.broadcast(|()| std::process::id(), ())?;
    /// pids.sort_unstable();
    /// pids.dedup();
    /// assert_eq!(pids.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn broadcast<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.broadcast_async(function, argument)?.get()
    }

    /// As [`broadcast`](Self::broadcast), and returns at once.
    ///
    /// # Errors
    /// Where the tasks cannot be sent: the argument cannot be encoded, the pool is closed or broken.
    pub fn broadcast_async<A, R>(
        &self,
        function: fn(A) -> R,
        argument: A,
    ) -> Result<MapTask<R>, TaskError>
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.driver()
            .send_to_each(Function::new(function), &argument, self.policy())
    }
}
