//! Looking a number of times before going to sleep: as often as has paid off lately.

use std::sync::OnceLock;

use multiproc_sync::primitive::spin_loop;

/// How long to look for something before sleeping.
///
/// A sleep and its wake-up take microseconds, so looking for about that long is worth it where the
/// other side answers soon, and a waste where it does not. Each success lengthens the next search to twice
/// what it took, each failure halves it; now and then a failure is followed by a long search all the
/// same, since only that finds out that answers come sooner again.
#[derive(Clone, Debug)]
pub struct Spin {
    limit: u32,
    failures: u32,
}

/// Tried with two processes on two processors: a peer that answers at once is seen within some ten looks,
/// and a wake-up takes as long as 300 (processor awake) to 2,500 (halted, virtual machine).
const MAX: u32 = 2_000;

/// What a peer takes that answers at once but has its processor's other work to do.
const MIN: u32 = 100;

/// So many failures are followed by a long search.
const RETRY: u32 = 16;

impl Spin {
    /// Begins with the longest search.
    #[must_use]
    pub const fn new() -> Spin {
        Spin {
            limit: MAX,
            failures: 0,
        }
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
            spin_loop();
            if ready() {
                self.limit = self.limit.max(looks * 2).min(MAX);
                return true;
            }
        }
        self.failures = self.failures.wrapping_add(1);
        let retry = self.failures.is_multiple_of(RETRY);
        self.limit = if retry {
            MAX
        } else {
            (self.limit / 2).max(MIN)
        };
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
