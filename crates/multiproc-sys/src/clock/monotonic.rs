//! `CLOCK_MONOTONIC`, the clock of `FUTEX_WAIT_BITSET`, `futex_waitv` and `std::time::Instant`.

use std::time::Duration;

/// The moment at which a wait gives up, or never.
///
/// Kept as nanoseconds since boot so that a wait that is interrupted or woken for nothing goes on
/// towards the same moment, and no sum can overflow: what lies too far ahead is [`Deadline::NEVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    nanos: u64,
}

impl Deadline {
    /// A wait without end.
    pub const NEVER: Deadline = Deadline { nanos: u64::MAX };

    /// The present moment: a wait that only looks.
    #[must_use]
    pub fn now() -> Deadline {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is a live timespec that the call fills; CLOCK_MONOTONIC always exists.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let nanos = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        Deadline { nanos }
    }

    /// `duration` from now.
    #[must_use]
    pub fn after(duration: Duration) -> Deadline {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Deadline {
            nanos: Deadline::now().nanos.saturating_add(nanos),
        }
    }

    /// `duration` from now, or never.
    #[must_use]
    pub fn after_option(duration: Option<Duration>) -> Deadline {
        duration.map_or(Deadline::NEVER, Deadline::after)
    }

    /// The earlier of two.
    #[must_use]
    pub fn or(self, other: Deadline) -> Deadline {
        self.min(other)
    }

    /// So much later. What is too far away to be a number is never.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Deadline {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Deadline {
            nanos: self.nanos.saturating_add(nanos),
        }
    }

    /// Whether the moment has come.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self != Deadline::NEVER && Deadline::now() >= self
    }

    /// The time until then: zero once it has passed, `None` for [`Deadline::NEVER`].
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        (self != Deadline::NEVER)
            .then(|| Duration::from_nanos(self.nanos.saturating_sub(Deadline::now().nanos)))
    }

    /// The time from an earlier moment to this one; zero where it is none.
    #[must_use]
    pub fn since(self, earlier: Deadline) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// The moment in nanoseconds since boot, as every process of this boot counts them.
    #[must_use]
    pub fn nanos(self) -> u64 {
        self.nanos
    }

    /// The moment as the kernel takes absolute timeouts; `None` for [`Deadline::NEVER`].
    pub(crate) fn timespec(self) -> Option<libc::timespec> {
        (self != Deadline::NEVER).then(|| timespec(self.nanos))
    }

    /// The time until then as `ppoll` takes it; `None` for [`Deadline::NEVER`].
    pub(crate) fn remaining_timespec(self) -> Option<libc::timespec> {
        (self != Deadline::NEVER)
            .then(|| timespec(self.nanos.saturating_sub(Deadline::now().nanos)))
    }
}

fn timespec(nanos: u64) -> libc::timespec {
    libc::timespec {
        // u64 nanoseconds are at most 585 years: both parts fit.
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enormous_durations_saturate_to_never() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
        assert_eq!(Deadline::NEVER.remaining(), None);
        assert!(!Deadline::NEVER.has_passed());
    }

    #[test]
    fn zero_has_passed_at_once() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.has_passed());
        assert_eq!(deadline.remaining(), Some(Duration::ZERO));
    }
}
