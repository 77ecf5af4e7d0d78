//! Looking a number of times before going to sleep: as often as has paid off lately.

use std::sync::OnceLock;

/// How long to look for something before sleeping.
///
/// A wake-up from sleep takes microseconds, so looking for about that long is worth it where the
/// other side answers at once, and a waste where it does not. Each success lengthens the next search a
/// little beyond what it took, each failure halves it.
#[derive(Clone, Debug)]
pub struct Spin {
    limit: u32,
}

/// Tried on two processors with a peer that answers at once: round trips below 0.2 µs need some 200
/// looks, and beyond 2,000 (about 40 µs) a sleeping peer does not become awake any sooner.
const MAX: u32 = 2_000;

/// Below this a search does not see even a peer that answers at once, and would never grow again.
const MIN: u32 = 100;

impl Spin {
    /// Begins with the longest search.
    #[must_use]
    pub const fn new() -> Spin {
        Spin { limit: MAX }
    }

    /// Looks until `ready` answers true or the search has been long enough, and returns the last
    /// answer. On a single processor it looks once: nobody could answer meanwhile.
    pub fn until(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        if alone() {
            return false;
        }
        for looks in 0..self.limit {
            std::hint::spin_loop();
            if ready() {
                self.limit = self.limit.max(looks * 2).min(MAX);
                return true;
            }
        }
        self.limit = (self.limit / 2).max(MIN);
        false
    }
}

impl Default for Spin {
    fn default() -> Spin {
        Spin::new()
    }
}

/// Whether this process runs on a single processor. Under the model checker it does: a loop of looks
/// has no end there.
fn alone() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    cfg!(loom)
        || *ALONE.get_or_init(|| std::thread::available_parallelism().is_ok_and(|n| n.get() == 1))
}
