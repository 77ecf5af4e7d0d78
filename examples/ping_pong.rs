//! How long a message takes there and back between two processes, over each transport that channels have.
//!
//! `cargo run --release --features ipc --example ping_pong [ROUND TRIPS]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use multiproc::channel::{ChannelBuilder, Transport};
use multiproc::{Duplex, Process};

const TRANSPORTS: &[Transport] = &[
    Transport::Ring,
    #[cfg(feature = "ipc")]
    Transport::Ipc,
];
const TRIPS: usize = 20_000;
const PER_MILLE: [usize; 4] = [500, 900, 990, 999];

/// The child: sends back what it receives until nobody sends any more.
fn echo(end: Duplex<u64, u64>) {
    for message in end.receiver() {
        if message.is_ok_and(|message| end.send(message).is_err()) {
            return;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let trips = env::args()
        .nth(1)
        .map_or(Ok(TRIPS), |trips| trips.parse())?;
    println!("{trips} round trips of a u64, in microseconds");
    println!(
        "{:10} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "transport", "50%", "90%", "99%", "99.9%", "longest"
    );
    for &transport in TRANSPORTS {
        let mut times = measure(transport, trips)?;
        times.sort_unstable();
        print!("{:10}", format!("{transport:?}").to_lowercase());
        for share in PER_MILLE {
            print!(" {:>8.1}", micros(times[times.len() * share / 1000]));
        }
        println!(" {:>8.1}", micros(times[times.len() - 1]));
    }
    if cfg!(not(feature = "ipc")) {
        println!("ipc        not measured: it takes the feature `ipc`");
    }
    Ok(())
}

fn measure(transport: Transport, trips: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let (here, there) = ChannelBuilder::new().transport(transport).duplex()?;
    let child = Process::spawn(echo, there)?;
    let mut times = Vec::with_capacity(trips);
    for trip in 0..trips.max(1) as u64 {
        let begin = Instant::now();
        here.send(trip)?;
        let answer = here.recv()?;
        times.push(begin.elapsed());
        if answer != trip {
            return Err(format!("sent {trip}, and {answer} came back").into());
        }
    }
    drop(here);
    child.join()?;
    Ok(times)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
