//! The figures for a program to read: every round of every contender.

use serde::Serialize;

use crate::machine::Machine;
use crate::race::{Entry, Outcome, Standing, Target, Unit};

#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    jobs: Vec<Job<'a>>,
}

#[derive(Serialize)]
struct Job<'a> {
    name: &'a str,
    /// What a cost is: nanoseconds a piece, nanoseconds a byte, bytes, or a number of times.
    cost: &'static str,
    at_most: Option<f64>,
    entries: Vec<Contender<'a>>,
}

#[derive(Serialize)]
struct Contender<'a> {
    name: &'a str,
    median: Option<f64>,
    /// Ours by its, the middle of the rounds'.
    ratio: Option<f64>,
    /// What the ratio is to be at most.
    ratio_at_most: Option<f64>,
    holds: Option<bool>,
    rounds: &'a [f64],
    absent: Option<&'a str>,
    wrong: Option<&'a str>,
}

/// The document.
///
/// # Errors
/// Where a figure is no number.
pub fn document(machine: &Machine, standings: &[Standing]) -> serde_json::Result<String> {
    let jobs = standings.iter().map(job).collect();
    serde_json::to_string_pretty(&Document { machine, jobs })
}

fn job(standing: &Standing) -> Job<'_> {
    Job {
        name: standing.name,
        cost: match standing.unit {
            Unit::Rate | Unit::Time => "nanoseconds a piece",
            Unit::Bandwidth => "nanoseconds a byte",
            Unit::Memory => "bytes",
            Unit::Count => "times",
        },
        at_most: standing.at_most,
        entries: standing
            .entries
            .iter()
            .map(|entry| contender(standing, entry))
            .collect(),
    }
}

fn contender<'a>(standing: &Standing, entry: &'a Entry) -> Contender<'a> {
    let (absent, wrong) = match &entry.outcome {
        Outcome::Did(_) => (None, None),
        Outcome::Absent(why) => (Some(why.as_str()), None),
        Outcome::Wrong(why) => (None, Some(why.as_str())),
    };
    Contender {
        name: entry.name,
        median: entry.cost(),
        ratio: standing.ratio(entry),
        ratio_at_most: entry.target.map(|target| match target {
            Target::AtLeast(speed) => 1.0 / speed,
            Target::AtMost(time) => time,
        }),
        holds: standing.holds(entry),
        rounds: entry.costs(),
        absent,
        wrong,
    }
}
