//! What the tasks of one call have in common, as a worker keeps it.
//!
//! It comes encoded, before the first of those tasks, and is decoded when that asks for it: what goes wrong
//! then is that task's affair, and a crash costs that task.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use multiproc_process::function::{Method, MethodRef};
use multiproc_wire::Decoder;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::job::Handles;

enum Kept {
    Encoded { bytes: Vec<u8>, handles: Handles },
    Decoded(Rc<dyn Any>),
    Unusable(String),
}

thread_local! {
    static KEPT: RefCell<HashMap<u32, Kept>> = RefCell::default();
}

/// A state has come.
pub(super) fn keep(key: u32, bytes: Vec<u8>, handles: Handles) {
    KEPT.with_borrow_mut(|kept| kept.insert(key, Kept::Encoded { bytes, handles }));
}

/// A state could not be taken in.
pub(super) fn spoil(key: u32, why: String) {
    KEPT.with_borrow_mut(|kept| kept.insert(key, Kept::Unusable(why)));
}

/// A state is not needed any more.
pub(super) fn forget(key: u32) {
    // Its own drop is the user's code.
    let gone = KEPT.with_borrow_mut(|kept| kept.remove(&key));
    drop(gone);
}

/// How a state is sent: the function that all tasks call, and what it is called with.
#[derive(Serialize)]
pub(crate) struct Stated<'a, S>(pub(crate) MethodRef, pub(crate) &'a S);

struct Shared<S, A, R> {
    call: fn(&mut S, A) -> R,
    state: RefCell<S>,
}

/// What a worker calls for each task: the function of the call with the state and the argument.
pub(crate) fn call<S, A, R>((Key(shared), argument): (Key<S, A, R>, A)) -> R {
    // Tasks run one after the other.
    let mut state = shared.state.borrow_mut();
    (shared.call)(&mut state, argument)
}

/// What a worker calls for some items that are to be folded, beginning with a copy of the state.
pub(crate) fn fold<T: Clone, A>((Key(shared), items): (Key<T, A, ()>, Vec<A>)) -> T {
    let mut sum = shared.state.borrow().clone();
    for item in items {
        (shared.call)(&mut sum, item);
    }
    sum
}

/// What a key stands for, in the worker.
pub(crate) struct Key<S, A, R>(Rc<Shared<S, A, R>>);

impl<'de, S, A, R> Deserialize<'de> for Key<S, A, R>
where
    S: DeserializeOwned + 'static,
    A: DeserializeOwned + 'static,
    R: 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = u32::deserialize(deserializer)?;
        find(key).map(Key).map_err(D::Error::custom)
    }
}

fn find<S, A, R>(key: u32) -> Result<Rc<Shared<S, A, R>>, String>
where
    S: DeserializeOwned + 'static,
    A: DeserializeOwned + 'static,
    R: 'static,
{
    let taken = KEPT.with_borrow_mut(|kept| kept.remove(&key));
    let (kept, found) = match taken {
        None => return Err("the state of the call is not here".to_string()),
        Some(Kept::Decoded(shared)) => (Kept::Decoded(Rc::clone(&shared)), Ok(shared)),
        Some(Kept::Unusable(why)) => (Kept::Unusable(why.clone()), Err(why)),
        // Not under the borrow, since it is the user's code.
        Some(Kept::Encoded { bytes, handles }) => match decoded::<S, A, R>(&bytes, handles) {
            Ok(shared) => {
                let shared: Rc<dyn Any> = Rc::new(shared);
                (Kept::Decoded(Rc::clone(&shared)), Ok(shared))
            }
            Err(why) => (Kept::Unusable(why.clone()), Err(why)),
        },
    };
    KEPT.with_borrow_mut(|all| all.insert(key, kept));
    let odd = |_| "the state of the call is another's".to_string();
    found?.downcast().map_err(odd)
}

fn decoded<S, A, R>(bytes: &[u8], handles: Handles) -> Result<Shared<S, A, R>, String>
where
    S: DeserializeOwned + 'static,
    A: DeserializeOwned + 'static,
    R: 'static,
{
    let lost = |error: &dyn std::fmt::Display| format!("the state of the call is lost: {error}");
    let mut decoder = Decoder::new(bytes, handles);
    let method: MethodRef = decoder.decode().map_err(|error| lost(&error))?;
    let call = Method::<S, A, R>::resolve(&method).map_err(|error| lost(&error))?;
    let state = decoder.only().map_err(|error| lost(&error))?;
    Ok(Shared {
        call,
        state: RefCell::new(state),
    })
}
