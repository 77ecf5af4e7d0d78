//! What a taker is told when what it takes was left behind in the middle of a change.

use std::error::Error;
use std::fmt;

/// The lock is taken, and a holder before this one died or panicked while it held it: what the lock
/// protects may be half changed.
///
/// The guard is inside; whoever can repair or does not mind takes it out with
/// [`into_inner`](Self::into_inner). The lock answers so until its poison is cleared.
///
/// # Differences from Python
/// Python's locks notice no death: a lock whose holder was killed stays locked for ever.
pub struct PoisonError<G> {
    guard: G,
    owner: Option<u32>,
}

impl<G> PoisonError<G> {
    /// An error that holds `guard` and names the process that left the lock poisoned.
    pub fn new(guard: G, owner: Option<u32>) -> PoisonError<G> {
        PoisonError { guard, owner }
    }

    /// The process that died or panicked. `None` where it died too early to leave its name.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// The guard.
    pub fn get_ref(&self) -> &G {
        &self.guard
    }

    /// The guard, to change through.
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.guard
    }

    /// Takes the guard out: access as if nothing had happened.
    #[must_use]
    pub fn into_inner(self) -> G {
        self.guard
    }

    /// The same error around something made of the guard.
    pub fn map<H>(self, make: impl FnOnce(G) -> H) -> PoisonError<H> {
        PoisonError {
            guard: make(self.guard),
            owner: self.owner,
        }
    }
}

impl<G> fmt::Debug for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoisonError")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl<G> fmt::Display for PoisonError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Some(pid) => write!(f, "process {pid} died or panicked while it held the lock"),
            None => f.write_str("a process died while it held the lock"),
        }
    }
}

impl<G> Error for PoisonError<G> {}

/// Why an attempt that does not wait gave no plain guard.
pub enum TryLockError<G> {
    /// The lock is taken, but poisoned.
    Poisoned(PoisonError<G>),
    /// Somebody else holds the lock.
    WouldBlock,
}

/// Why an attempt with a deadline gave no plain guard.
pub enum LockTimeoutError<G> {
    /// The lock is taken, but poisoned.
    Poisoned(PoisonError<G>),
    /// The deadline passed while somebody else held the lock.
    TimedOut,
}

impl<G> From<PoisonError<G>> for TryLockError<G> {
    fn from(error: PoisonError<G>) -> Self {
        TryLockError::Poisoned(error)
    }
}

impl<G> From<PoisonError<G>> for LockTimeoutError<G> {
    fn from(error: PoisonError<G>) -> Self {
        LockTimeoutError::Poisoned(error)
    }
}

impl<G> fmt::Debug for TryLockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Poisoned(error) => f.debug_tuple("Poisoned").field(error).finish(),
            TryLockError::WouldBlock => f.write_str("WouldBlock"),
        }
    }
}

impl<G> fmt::Debug for LockTimeoutError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockTimeoutError::Poisoned(error) => f.debug_tuple("Poisoned").field(error).finish(),
            LockTimeoutError::TimedOut => f.write_str("TimedOut"),
        }
    }
}

impl<G> fmt::Display for TryLockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Poisoned(error) => error.fmt(f),
            TryLockError::WouldBlock => f.write_str("the lock is held by somebody else"),
        }
    }
}

impl<G> fmt::Display for LockTimeoutError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockTimeoutError::Poisoned(error) => error.fmt(f),
            LockTimeoutError::TimedOut => {
                f.write_str("the lock was held by somebody else until the deadline")
            }
        }
    }
}

impl<G> Error for TryLockError<G> {}
impl<G> Error for LockTimeoutError<G> {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Opaque;

    #[test]
    fn messages_are_sentences_that_name_the_process() {
        let named = PoisonError::new(Opaque, Some(4242));
        assert_eq!(
            named.to_string(),
            "process 4242 died or panicked while it held the lock"
        );
        assert_eq!(
            format!("{named:?}"),
            "PoisonError { owner: Some(4242), .. }"
        );
        let nameless = TryLockError::from(PoisonError::new(Opaque, None));
        assert_eq!(
            nameless.to_string(),
            "a process died while it held the lock"
        );
    }

    #[test]
    fn errors_are_errors_whatever_guard_they_hold() {
        fn an_error(error: &dyn Error) -> String {
            error.to_string()
        }
        let borrowed = String::from("borrowed");
        an_error(&PoisonError::new((&borrowed, Opaque), None));
        assert_eq!(
            an_error(&TryLockError::<&Opaque>::WouldBlock),
            "the lock is held by somebody else"
        );
    }
}
