//! The table that a person reads.

use std::fmt::Write;

use crate::race::{Entry, Outcome, Standing, Target, Unit};

/// One job as some lines.
pub fn lines(standing: &Standing) -> String {
    let mut text = format!("{}\n", standing.name);
    for (place, entry) in standing.entries.iter().enumerate() {
        let line = match &entry.outcome {
            Outcome::Did(_) => did(standing, entry, place == 0),
            Outcome::Absent(why) => format!("{:>12}  {why}", "not here"),
            Outcome::Wrong(why) => format!("{:>12}  {why}", "WRONG"),
        };
        // Writing to a string cannot fail.
        let _written = writeln!(text, "  {:<26}{line}", entry.name);
    }
    text
}

fn did(standing: &Standing, entry: &Entry, is_ours: bool) -> String {
    let cost = entry.cost().unwrap_or(f64::NAN);
    let mut line = format!("{:>12}", figure(standing.unit, cost));
    if is_ours {
        if let (Some(most), Some(within)) = (standing.at_most, standing.is_within()) {
            let most = format!("≤ {}", figure(standing.unit, most));
            let _written = write!(line, "{:>10}  {most:<14}{}", "", mark(within));
        }
        return line;
    }
    let Some(ratio) = standing.ratio(entry) else {
        return line;
    };
    let (ratio, target) = match entry.target {
        Some(Target::AtMost(time)) => (times(ratio) + " its time", format!("≤ {}", times(time))),
        Some(Target::AtLeast(speed)) => (times(1.0 / ratio), format!("≥ {}", times(speed))),
        None => (times(1.0 / ratio), String::new()),
    };
    let _written = write!(line, "{ratio:>16}  {target:<8}");
    if let Some(holds) = standing.holds(entry) {
        line += mark(holds);
    }
    line
}

fn mark(holds: bool) -> &'static str {
    if holds { "✓" } else { "✗" }
}

fn times(factor: f64) -> String {
    if factor >= 99.5 {
        format!("{factor:.0}×")
    } else if factor >= 9.95 {
        format!("{factor:.1}×")
    } else {
        format!("{factor:.2}×")
    }
}

/// A cost as people say it.
pub fn figure(unit: Unit, cost: f64) -> String {
    match unit {
        Unit::Rate => scaled(1e9 / cost, &[(1e6, " M/s"), (1e3, " k/s"), (1.0, " /s")]),
        Unit::Time => scaled(
            cost,
            &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
        ),
        Unit::Bandwidth => scaled(
            1e9 / cost,
            &[(1e9, " GB/s"), (1e6, " MB/s"), (1e3, " kB/s")],
        ),
        Unit::Memory => scaled(cost, &[(1048576.0, " MiB"), (1024.0, " KiB"), (1.0, " B")]),
        Unit::Count => format!("{cost}"),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fitting = units.iter().find(|(size, _)| value >= *size);
    let (size, name) = fitting.unwrap_or(&units[units.len() - 1]);
    let value = value / size;
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}{name}")
}
