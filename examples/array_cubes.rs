//! A shared array: fifteen processes, each of which cubes one element of it.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use multiproc::{Process, SharedArray};

fn cube((array, index): (SharedArray<i64>, usize)) {
    // The lock holds until the end of the function.
    let mut elements = array.lock().unwrap();
    elements[index] = elements[index].pow(3);
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<i64> = (2..=16).collect();
    let array = SharedArray::from_slice(&numbers)?;

    // What travels to a child is a handle: every process works on the same elements.
    let children: Vec<Process> = (0..array.len())
        .map(|index| Process::spawn(cube, (array.clone(), index)))
        .collect::<Result<_, _>>()?;
    for child in children {
        child.join()?;
    }

    println!("{:?}", array.to_vec()?);
    Ok(())
}
