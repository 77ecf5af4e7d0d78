//! Tasks that crash, abort, leak, hang, panic and exit beside healthy ones, on one pool: each ends alone, and the last
//! lines say what became of it.
//!
//! `cargo run --release --example crash_containment`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::exit, reason = "what a task may do")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use multiproc::{Pool, TaskError};

const KINDS: [&str; 8] = [
    "healthy",
    "segfault",
    "abort",
    "exit",
    "panic",
    "hang",
    "leak",
    "stack overflow",
];

/// The task: does what it is told, or returns the sum of the first million numbers.
fn work(kind: usize) -> u64 {
    match KINDS[kind] {
        // A null pointer is written through, as a C library might.
        "segfault" => wild_write(),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "panic" => panic!("something is wrong with item {kind}"),
        "hang" => loop {
            std::thread::park();
        },
        "leak" => leak(),
        "stack overflow" => recurse(1),
        _ => {}
    }
    (1..=1_000_000).sum()
}

#[expect(unsafe_code, reason = "that it is not safe is the point")]
fn wild_write() {
    // SAFETY: it is not: the process that does this dies of it, which is what the example shows.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
}

/// Takes memory until there is none: the worker has a limit of its own, and the machine is left alone.
fn leak() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(vec![1; 16 << 20]);
        std::hint::black_box(&kept);
    }
}

#[expect(unconditional_recursion, reason = "what overflows a stack")]
fn recurse(n: u64) {
    let wide = std::hint::black_box([n; 64]);
    recurse(wide[0] + 1);
    std::hint::black_box(wide);
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder()
        .workers(2)
        .memory_limit(1 << 30)
        .task_timeout(Duration::from_secs(2))
        .grace(Duration::from_millis(100))
        .build()?;
    // Nine healthy tasks beside each that is not.
    let items: Vec<usize> = (0..70)
        .map(|n| if n % 10 == 5 { n / 10 + 1 } else { 0 })
        .collect();
    let results = pool.map_results(work, &items)?;

    let mut report: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (kind, result) in items.into_iter().zip(results) {
        report.entry(KINDS[kind]).or_default().push(match result {
            Ok(sum) => format!("returned {sum}"),
            Err(TaskError::Panicked(panic)) => format!("panicked: {}", panic.message),
            Err(TaskError::WorkerLost { status, .. }) => format!("its worker ended with {status}"),
            Err(TaskError::TimedOut { after }) => format!("was ended after {after:?}"),
            Err(other) => other.to_string(),
        });
    }
    for (kind, mut ends) in report {
        let times = ends.len();
        ends.dedup();
        println!("{times:>3} × {kind:<15} {}", ends.join(", "));
    }
    // And the pool works on.
    println!("afterwards: {:?}", pool.map(|n: u32| n * n, 1..=5)?);
    Ok(())
}
