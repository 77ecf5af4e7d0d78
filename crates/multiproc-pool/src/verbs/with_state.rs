//! Many items that are worked on with something they have in common, which is sent once.

use multiproc_process::function::{Function, Method};
use multiproc_wire::{Handoff, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::driver::Call;
use crate::error::TaskError;
use crate::job::{MAX_BYTES, MAX_HANDLES, State};
use crate::pool::Pool;
use crate::task::{MapTask, all};
use crate::view::recorder::Looks;
use crate::worker::state::{self, Stated};

impl Pool {
    /// As [`map`](Self::map), with something that all items need and that is large, or takes long to make: each worker is
    /// sent `state` once, before its first item, and so is one that takes the place of another.
    ///
    /// What the function changes of it stays for the next item in that worker, and goes with the call: it is for scratch
    /// buffers, caches, generators of random numbers, open connections. A panic leaves it as it was then.
    ///
    /// ```
    /// use multiproc_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let words: Vec<String> = ["nought", "one", "two"].map(String::from).into();
    /// let found = pool.map_with(&words, |words: &mut Vec<String>, n: usize| words[n].clone(), [2, 0])?;
    /// assert_eq!(found, ["two", "nought"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](Self::map); where the state cannot be encoded. Where a worker cannot decode it, that is the error of
    /// each item there.
    pub fn map_with<S, A, R, I>(
        &self,
        state: &S,
        function: fn(&mut S, A) -> R,
        items: I,
    ) -> Result<Vec<R>, TaskError>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let (key, call) = self.call_with(state, function)?;
        let items = items.into_iter().map(|item| (key, item));
        let function = Function::new(state::call::<S, A, R>);
        all(self.driver().run(function, items, call)?)
    }

    /// As [`map_with`](Self::map_with), and returns at once.
    ///
    /// # Errors
    /// Where the items cannot be sent, or the state: one cannot be encoded, the pool is closed or broken.
    pub fn map_with_async<S, A, R, I>(
        &self,
        state: &S,
        function: fn(&mut S, A) -> R,
        items: I,
    ) -> Result<MapTask<R>, TaskError>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator,
        I::Item: Argument<A>,
    {
        let (key, call) = self.call_with(state, function)?;
        let items = items.into_iter().map(|item| (key, item));
        let function = Function::new(state::call::<S, A, R>);
        self.driver().send(function, items, call)
    }

    /// A call of that function, and how its tasks name the state.
    fn call_with<S, A, R>(
        &self,
        state: &S,
        function: fn(&mut S, A) -> R,
    ) -> Result<(u32, Call), TaskError>
    where
        S: Serialize + DeserializeOwned + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let looks = Looks::stated::<S, A, A, R>();
        self.stated(state, Method::new(function), looks)
    }

    /// A call whose tasks have that in common, and how they name it.
    pub(super) fn stated<S, A, R>(
        &self,
        state: &S,
        method: Method<S, A, R>,
        looks: Looks,
    ) -> Result<(u32, Call), TaskError>
    where
        S: Serialize + 'static,
        A: 'static,
        R: 'static,
    {
        let method = method.reference();
        let method = method.map_err(|error| TaskError::Function(error.to_string()))?;
        let mut bytes = Vec::new();
        let handoff: Handoff =
            encode(&Stated(method, state), &mut bytes).map_err(TaskError::Encode)?;
        let (length, limit) = (bytes.len(), MAX_BYTES);
        if length > limit {
            return Err(TaskError::TooLarge { length, limit });
        }
        let handles = handoff.handles().to_vec();
        let (count, limit) = (handles.len(), MAX_HANDLES);
        if count > limit {
            return Err(TaskError::TooManyHandles { count, limit });
        }
        let key = self.driver().new_key();
        let state = State {
            key,
            looks,
            bytes,
            handles,
        };
        let call = Call {
            state: Some((state, handoff)),
            ..self.call()
        };
        Ok((key, call))
    }
}
