//! A pool: four worker processes share out the items of a `map`, whose results keep their order.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use multiproc::Pool;

fn square(number: u64) -> u64 {
    number * number
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(4)?;
    println!("{:?}", pool.map(square, 1..=9)?);
    Ok(())
}
