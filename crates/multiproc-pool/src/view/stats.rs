//! How much a pool has done, and its workers.

use std::fmt;
use std::time::Duration;

/// How much a pool has done by now: what [`Pool::stats`](crate::Pool::stats) gives.
///
/// Its `Display` is a table of a few lines. A task is an item of a call.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that have a result.
    pub done: u64,
    /// Tasks that have an error.
    pub failed: u64,
    /// Tasks that were started again.
    pub retried: u64,
    /// Tasks that are with workers: those that run, and those that are next.
    pub in_flight: u64,
    /// Tasks that wait for a worker.
    pub queued: u64,
    /// Workers that were started, those that have ended included.
    pub workers_started: u64,
    /// The workers there are, in the order of their seats.
    pub workers: Vec<WorkerStats>,
    /// The tasks that took longest, the slowest first, of a pool that keeps a
    /// [timeline](crate::Builder::timeline). At most ten.
    pub slowest: Vec<SlowTask>,
}

/// What a worker has done by now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The number of its process.
    pub pid: u32,
    /// Tasks it has finished, whether well or with an error; several items that go as one are one here.
    pub tasks: u64,
    /// Tasks that are with it.
    pub in_flight: u64,
    /// How long it took from its start until it was ready for a task, its initializer included; `None` where it is not
    /// yet.
    pub start: Option<Duration>,
    /// How long it has had something to do.
    pub busy: Duration,
    /// How long it has had nothing to do since it was ready.
    pub idle: Duration,
}

/// A task that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowTask {
    /// The number of the call it belongs to: the first of the pool is 1.
    pub call: u64,
    /// Its place among the items of the call.
    pub item: usize,
    /// How long it ran.
    pub took: Duration,
    /// The number of the process that ran it.
    pub pid: u32,
    /// The types of its function, such as `fn(u64) -> f64`.
    pub function: &'static str,
    /// Its argument as `Debug` would have it, cut off where it is long. `None` where it cannot be had: it has handles
    /// in it, or the task's state.
    pub argument: Option<String>,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} done, {} failed, {} retried, {} in flight, {} queued; {} workers started",
            self.done, self.failed, self.retried, self.in_flight, self.queued, self.workers_started
        )?;
        writeln!(
            f,
            "{:>9} {:>10} {:>12} {:>12} {:>12}",
            "worker", "tasks", "start", "busy", "idle"
        )?;
        for worker in &self.workers {
            let start = worker.start.map_or("-".to_string(), short);
            let (busy, idle) = (short(worker.busy), short(worker.idle));
            writeln!(
                f,
                "{:>9} {:>10} {start:>12} {busy:>12} {idle:>12}",
                worker.pid, worker.tasks
            )?;
        }
        for slow in &self.slowest {
            let argument = slow.argument.as_deref().unwrap_or("…");
            writeln!(
                f,
                "{} for task {} of call {}: {} of {argument}",
                short(slow.took),
                slow.item,
                slow.call,
                bare(slow.function)
            )?;
        }
        Ok(())
    }
}

/// Types without the paths of their modules, and without lifetimes that have no name.
pub(super) fn bare(types: &str) -> String {
    let mut bare = String::with_capacity(types.len());
    // Where the name begins that is being read.
    let mut name = 0;
    for c in types.replace("'_ ", "").chars() {
        if c == ':' {
            bare.truncate(name);
            continue;
        }
        bare.push(c);
        if !(c.is_alphanumeric() || c == '_') {
            name = bare.len();
        }
    }
    bare
}

/// A duration in three digits.
pub(super) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let (number, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    let digits = match number {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_without_modules() {
        for (types, shown) in [
            ("fn(u64) -> f64", "fn(u64) -> f64"),
            (
                "fn((alloc::string::String, &[core::option::Option<a::b_c::D>])) -> ()",
                "fn((String, &[Option<D>])) -> ()",
            ),
            (
                "fn(&'_ mut x::Y, <x::Y as z::Z>::Of)",
                "fn(&mut Y, <Y as Z>Of)",
            ),
        ] {
            assert_eq!(bare(types), shown);
        }
    }

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (nanos, shown) in [
            (0, "0.00 µs"),
            (1_234, "1.23 µs"),
            (45_678_000, "45.7 ms"),
            (999_000_000, "999 ms"),
            (12_000_000_000, "12.0 s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanos)), shown);
        }
    }
}
