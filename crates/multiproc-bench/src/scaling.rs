//! How the pool behaves with more workers, larger payloads and longer tasks: `cargo xtask bench scaling`.

use crate::jobs::{cores, loops_for};
use crate::ours;
use crate::peers;
use crate::python::Python;
use crate::race::{Contender, Effort, Job, Standing, Unit, race};
use crate::table::figure;

const MICROSECOND: f64 = 1e3;
const MILLION: usize = 1_000_000;
/// What the pool may add to tasks before this view says so.
const OVERHEAD: f64 = 0.05;

/// Prints the three tables.
pub fn show(python: &Python, effort: Effort) {
    println!("tasks a second, by workers (trivial task, chunksize 1)");
    let counts = 1..=cores();
    for workers in counts.chain([2 * cores(), 4 * cores()]) {
        let contenders = vec![
            Contender::new("multiproc", move || ours::map(workers)).load(1000, MILLION),
            Contender::new("CPython", python.map_on(workers)).load(200, 5_000),
            Contender::new("rayon", move || peers::rayon_map(workers)).load(1000, MILLION),
        ];
        row(
            format!("{workers} workers"),
            run(Unit::Rate, contenders, effort),
        );
    }

    println!("\ntasks a second, by payload (to 2 workers, which look at its length)");
    for bytes in (0..=7).map(|step| 8 << (3 * step)).chain([64 << 20]) {
        let most = (256 << 20) / bytes;
        let contenders = vec![
            Contender::new("multiproc", move || ours::payload(bytes)).load(1, most.min(MILLION)),
            Contender::new("CPython", python.payload(bytes)).load(1, most.min(5_000)),
            Contender::new("rayon", move || peers::rayon_payload(bytes)).load(1, most.min(MILLION)),
        ];
        let label = figure(Unit::Memory, bytes as f64);
        row(label, run(Unit::Rate, contenders, effort));
    }

    let workers = cores();
    println!("\ntasks a second, by length ({workers} workers, as many as cores)");
    let mut enough = None;
    for microseconds in [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000] {
        let nanoseconds = f64::from(microseconds) * MICROSECOND;
        let loops = loops_for(nanoseconds);
        let contenders = vec![
            Contender::new("multiproc", move || ours::tasks(workers, loops)).load(20, MILLION),
            Contender::new("CPython", python.tasks(nanoseconds)).load(20, 20_000),
            Contender::new("rayon", move || peers::rayon_tasks(workers, loops)).load(20, MILLION),
        ];
        let standing = run(Unit::Rate, contenders, effort);
        let over = standing
            .ratio(&standing.entries[2])
            .map(|ratio| ratio - 1.0);
        if over.is_some_and(|over| over <= OVERHEAD) {
            enough.get_or_insert(nanoseconds);
        } else {
            enough = None;
        }
        row(figure(Unit::Time, nanoseconds), standing);
    }
    match enough {
        Some(length) => println!(
            "\nfrom tasks of {} on, multiproc takes no more than 5 % longer than rayon",
            figure(Unit::Time, length)
        ),
        None => println!("\nmultiproc takes more than 5 % longer than rayon, or rayon is not here"),
    }
}

fn run(unit: Unit, contenders: Vec<Contender>, effort: Effort) -> Standing {
    let job = Job {
        name: "scaling",
        unit,
        at_most: None,
        contenders,
    };
    race(job, effort)
}

fn row(label: String, standing: Standing) {
    let cells = standing.entries.iter().map(|entry| {
        let cell = match entry.cost() {
            Some(cost) => figure(standing.unit, cost),
            None => format!("{:?}", entry.outcome),
        };
        let ratio = match standing.ratio(entry) {
            Some(ratio) if entry.name != "multiproc" => format!("({:.2}×)", 1.0 / ratio),
            _ => String::new(),
        };
        format!("{:>10} {cell:>11} {ratio:<10}", entry.name)
    });
    println!("  {label:<12}{}", cells.collect::<String>().trim_end());
}
