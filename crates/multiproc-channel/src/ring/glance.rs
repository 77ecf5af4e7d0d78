//! When to ask the kernel whether the other side is still there.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Says about once a millisecond that it is time, and at each message where they are rarer.
///
/// A fast sender looks at the clock every 64 messages, which costs it a third of a nanosecond a message;
/// asking the kernel at each would cost 300. Relaxed throughout: a lost update is a question more or less.
#[derive(Debug)]
pub(super) struct Glance {
    epoch: Instant,
    left: AtomicU32,
    last: AtomicU64,
}

impl Glance {
    const MESSAGES: u32 = 64;

    pub(super) fn new() -> Glance {
        Glance {
            epoch: Instant::now(),
            left: AtomicU32::new(0),
            last: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether to ask now.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            return false;
        }
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.last.swap(now, Ordering::Relaxed) != now;
        self.left
            .store(if due { 0 } else { Glance::MESSAGES }, Ordering::Relaxed);
        due
    }
}
