//! Runs tasks of all kinds on a pool and shows which worker ran which when: writes a picture (SVG) and a trace that
//! `chrome://tracing` and <https://ui.perfetto.dev> open, into the folder given or the one for temporary files.
//!
//! `cargo run --release --example timeline -- [FOLDER]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use multiproc::Pool;
use multiproc::pool::TaskOutcome;

/// Keeps a processor busy for so many microseconds.
fn work(micros: u64) -> u64 {
    let end = Instant::now() + Duration::from_micros(micros);
    let mut turns = 0;
    while Instant::now() < end {
        turns += 1;
    }
    turns
}

/// Fails for one number in ten.
fn fragile(n: u64) -> u64 {
    work(1500);
    assert!(n % 10 != 3, "{n} ends in 3");
    n
}

/// Takes its worker with it.
fn fatal(micros: u64) -> u64 {
    work(micros);
    std::process::abort();
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let pool = Pool::builder().workers(4).timeline(100_000).build()?;

    // Some long tasks, the longest first; many short ones; some that fail; one that crashes.
    pool.map(work, (1..=16).rev().map(|n| n * 800))?;
    pool.map(work, (0..6000).map(|n| n % 7 * 3))?;
    let fragile = pool.map_async(fragile, 0..40)?;
    let fatal = pool.apply_async(fatal, 5000)?;
    let failed = fragile
        .get_results()?
        .into_iter()
        .filter(Result::is_err)
        .count();
    println!("{failed} tasks panicked");
    println!(
        "and {}",
        if fatal.get().is_err() {
            "one was lost with its worker"
        } else {
            "none was lost"
        }
    );

    print!("{}", pool.stats());
    pool.close();
    pool.join()?;
    let timeline = pool.timeline().ok_or("a timeline was asked for")?;
    let returned = timeline
        .tasks
        .iter()
        .filter(|task| task.outcome == TaskOutcome::Returned)
        .count();
    println!(
        "{returned} tasks returned, on {} workers",
        timeline.workers.len()
    );
    let (picture, trace) = (
        folder.join("pool-timeline.svg"),
        folder.join("pool-timeline.json"),
    );
    timeline.write_svg(&picture)?;
    timeline.write_chrome_trace(&trace)?;
    println!("wrote {} and {}", picture.display(), trace.display());
    Ok(())
}
