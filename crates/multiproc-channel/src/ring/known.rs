//! The sending ends that are in this process: a sender that arrives again is one more handle of the end
//! that is there, not one more mapping and two more open files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::sender::Port;
use crate::id::Id;

static ENDS: OnceLock<Mutex<HashMap<Id, Weak<Port>>>> = OnceLock::new();

fn ends() -> MutexGuard<'static, HashMap<Id, Weak<Port>>> {
    ENDS.get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// The process's end of a channel, if it has one.
pub(super) fn find(id: Id) -> Option<Arc<Port>> {
    ends().get(&id).and_then(Weak::upgrade)
}

/// From now on `end` is found. Where another thread was faster both work, and this one is found by nobody.
pub(super) fn enter(id: Id, end: &Arc<Port>) {
    let mut ends = ends();
    let known = ends.entry(id).or_default();
    if known.strong_count() == 0 {
        *known = Arc::downgrade(end);
    }
}

/// An end of this channel is gone; a younger one may be there.
pub(super) fn leave(id: Id) {
    let mut ends = ends();
    if ends.get(&id).is_some_and(|end| end.strong_count() == 0) {
        ends.remove(&id);
    }
}
