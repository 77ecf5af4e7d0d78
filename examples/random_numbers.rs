//! Processes with a random generator each: four of them draw a number and print it.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

use multiproc::{Failure, Process};

fn draw(process: u32) -> Result<(), Failure> {
    // A child begins with fresh statics: it inherits no generator, and the system seeds its own.
    let mut generator = fastrand::Rng::with_seed(RandomState::new().hash_one(process));
    let number = generator.u32(1..=100);

    // One write for the whole line, so that lines of several processes never mix.
    let line = format!("Process number {process}, random number generated : {number}\n");
    io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let children: Vec<_> = (1..=4)
        .map(|process| Process::spawn(draw, process))
        .collect::<Result<_, _>>()?;
    for child in children {
        child.join()?.map_err(Failure::into_error)?;
    }
    Ok(())
}
