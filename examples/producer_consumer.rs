//! A producer and a consumer in two processes, with a buffer of four places between them: who finds it full,
//! or empty, sleeps until the other has changed that.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use multiproc::{Condition, Mutex, Process};

const PLACES: usize = 4;

/// How many numbers are in the buffer, and the numbers.
type Buffer = (Mutex<[usize; 1 + PLACES]>, Condition);

fn produce(((buffer, changed), numbers): (Buffer, Vec<usize>)) {
    for number in numbers {
        let held = buffer.lock().unwrap();
        let mut held = changed.wait_while(held, |held| held[0] == PLACES).unwrap();
        held[0] += 1;
        let last = held[0];
        held[last] = number;
        changed.notify_one();
    }
}

fn consume(((buffer, changed), count): (Buffer, usize)) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let held = buffer.lock().unwrap();
        let mut held = changed.wait_while(held, |held| held[0] == 0).unwrap();
        numbers.push(held[1]);
        held.copy_within(2.., 1);
        held[0] -= 1;
        changed.notify_one();
    }
    numbers
}

fn main() -> Result<(), Box<dyn Error>> {
    let buffer: Buffer = (Mutex::new([0; 1 + PLACES])?, Condition::new()?);
    let squares: Vec<usize> = (1..=20).map(|n| n * n).collect();

    let producer = Process::spawn(produce, (buffer.clone(), squares.clone()))?;
    let consumer = Process::spawn(consume, (buffer.clone(), squares.len()))?;
    producer.join()?;
    let numbers = consumer.join()?;

    println!("{numbers:?}");
    println!("{} left in the buffer", buffer.0.get()?[0]);
    Ok(())
}
