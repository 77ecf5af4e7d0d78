//! What is mapped in this process, by its id, so that it is mapped once.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

type ById<S> = HashMap<[u64; 2], Weak<S>>;

pub(crate) struct Registry<S>(OnceLock<Mutex<ById<S>>>);

impl<S> Registry<S> {
    pub(crate) const fn new() -> Registry<S> {
        Registry(OnceLock::new())
    }

    fn lock(&self) -> MutexGuard<'_, ById<S>> {
        self.0
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: [u64; 2]) -> Option<Arc<S>> {
        self.lock().get(&id).and_then(Weak::upgrade)
    }

    /// All there are.
    pub(crate) fn all(&self) -> Vec<Arc<S>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Enters what was just mapped. Another thread may have mapped it meanwhile: that one stays, and the
    /// caller's is dropped.
    pub(crate) fn enter(&self, id: [u64; 2], new: Arc<S>) -> Arc<S> {
        let mut by_id = self.lock();
        let known = by_id.get(&id).and_then(Weak::upgrade);
        if let Some(known) = known {
            // Before `new`, whose drop locks too.
            drop(by_id);
            return known;
        }
        by_id.insert(id, Arc::downgrade(&new));
        new
    }

    /// For the drop of what has this id, which may by now stand for a younger mapping of the same memory.
    pub(crate) fn leave(&self, id: [u64; 2]) {
        let mut by_id = self.lock();
        if by_id
            .get(&id)
            .is_some_and(|known| known.strong_count() == 0)
        {
            by_id.remove(&id);
        }
    }
}

/// 128 bits from the standard library's source of hash keys, which the system's generator seeds.
pub(crate) fn random_id() -> [u64; 2] {
    [(); 2].map(|()| RandomState::new().build_hasher().finish())
}
