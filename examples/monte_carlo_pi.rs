//! Estimates π: each task throws darts at a square, and counts those that hit the circle in it.
//!
//! `cargo run --release --example monte_carlo_pi [MILLIONS OF DARTS]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Instant;
use std::{env, thread};

use fastrand::Rng;
use multiproc::Pool;

const DARTS_OF_A_TASK: u64 = 100_000;

/// The task: how many of so many darts hit. The seed is the task's, so that the sum is the same each time.
fn throw((seed, darts): (u64, u64)) -> u64 {
    let mut chance = Rng::with_seed(seed);
    let hits = (0..darts).filter(|_| {
        let (x, y) = (chance.f64(), chance.f64());
        x * x + y * y < 1.0
    });
    hits.count() as u64
}

fn main() -> Result<(), Box<dyn Error>> {
    let millions: u64 = env::args()
        .nth(1)
        .map_or(Ok(20), |millions| millions.parse())?;
    let tasks = millions * 1_000_000 / DARTS_OF_A_TASK;
    let workers = thread::available_parallelism()?.get();
    let pool = Pool::new(workers)?;

    let begun = Instant::now();
    let items = (0..tasks).map(|seed| (seed, DARTS_OF_A_TASK));
    let hits = pool
        .map_reduce(throw, |a, b| a + b, items)?
        .unwrap_or_default();
    let took = begun.elapsed();

    let darts = tasks * DARTS_OF_A_TASK;
    let pi = 4.0 * hits as f64 / darts as f64;
    println!("{darts} darts, {hits} hits: π is about {pi:.4}");
    println!("{workers} workers took {took:.1?}");
    Ok(())
}
