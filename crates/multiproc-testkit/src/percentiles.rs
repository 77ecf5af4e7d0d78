//! Measured durations and their percentiles, for the suite's own report.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

/// Durations of one thing, measured many times.
///
/// ```
/// # use multiproc_testkit::Percentiles;
/// # use std::time::Duration;
/// let mut report = Percentiles::new("kill to error");
/// for n in 1..=200 {
///     report.add(Duration::from_micros(n));
/// }
/// assert_eq!(report.to_string(), "kill to error: n=200 p50=100µs p99=198µs max=200µs");
/// assert!(report.p99() < Duration::from_millis(10), "{report}");
/// ```
#[derive(Debug, Clone)]
pub struct Percentiles {
    what: String,
    sorted: Vec<Duration>,
}

impl Percentiles {
    /// An empty collection of durations of `what`.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            sorted: Vec::new(),
        }
    }

    /// Adds one measured duration.
    pub fn add(&mut self, duration: Duration) {
        let place = self.sorted.partition_point(|&other| other <= duration);
        self.sorted.insert(place, duration);
    }

    /// Half of the durations are not above this one.
    ///
    /// # Panics
    /// When nothing was added.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.rank(50)
    }

    /// 99 of a hundred durations are not above this one.
    ///
    /// # Panics
    /// When nothing was added.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.rank(99)
    }

    /// The longest.
    ///
    /// # Panics
    /// When nothing was added.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.rank(100)
    }

    /// Writes the figures as a line of the suite's report: past the harness, which keeps what passing tests
    /// print to itself.
    pub fn report(&self) {
        // Without a standard error there is no report.
        let _nobody_reads = writeln!(io::stderr(), "FIGURE {self}");
    }

    /// Nearest rank: the smallest duration that `percent` of all are not above.
    fn rank(&self, percent: usize) -> Duration {
        assert!(
            !self.sorted.is_empty(),
            "no duration of {:?} was added",
            self.what
        );
        self.sorted[(self.sorted.len() * percent).div_ceil(100) - 1]
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: n={}", self.what, self.sorted.len())?;
        if self.sorted.is_empty() {
            return Ok(());
        }
        write!(
            f,
            " p50={:?} p99={:?} max={:?}",
            self.p50(),
            self.p99(),
            self.max()
        )
    }
}
