//! A task that eats memory is stopped by its cap, one that computes for ever by its limit; the parent goes on, and
//! says what happened.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use multiproc::{MemoryCap, Process, Resource, Stdio};

const CAP: u64 = 256 << 20;

/// Never has enough; how much it had when there was no more.
fn eat(_: ()) -> usize {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut bite = Vec::new();
        if bite.try_reserve_exact(16 << 20).is_err() {
            return eaten.iter().map(Vec::len).sum();
        }
        bite.resize(16 << 20, 1);
        eaten.push(bite);
    }
}

/// The same by a task that does not expect to be refused.
fn eat_carelessly(_: ()) {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 16 << 20]);
    }
}

fn compute(_: ()) {
    loop {
        std::hint::spin_loop();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let child = Process::builder()
        .limit(Resource::AddressSpace, CAP)
        .spawn(eat, ())?;
    let eaten = child.join()?;
    println!(
        "a careful task stopped at its limit of {} MiB: {}",
        CAP >> 20,
        eaten as u64 <= CAP
    );

    let child = Process::builder()
        .memory_limit(CAP)
        .limit(Resource::CoreSize, 0)
        .stderr(Stdio::captured())
        .spawn(eat_carelessly, ())?;
    let cap = child.memory_cap().expect("it was asked for");
    let error = child.join().expect_err("there is a cap");
    println!(
        "a careless one was stopped: {}",
        error.exit_status().expect("it died")
    );
    // The kernel kills without a word, or refuses what is asked of it.
    let said = error.stderr_tail().unwrap_or_default();
    match cap {
        MemoryCap::ControlGroup => println!("its memory was capped by a control group"),
        _ => println!(
            "its address space was capped; it said: {}",
            said.lines().next().unwrap_or_default()
        ),
    }

    let child = Process::builder()
        .limit(Resource::CpuSeconds, 1)
        .limit(Resource::CoreSize, 0)
        .spawn(compute, ())?;
    let error = child
        .join_timeout(Duration::from_secs(30))
        .expect_err("there is a limit");
    println!(
        "a task of one second of computing was stopped: {}",
        error.exit_status().expect("it died")
    );

    let child = Process::builder().limit(Resource::OpenFiles, 3).spawn(
        |()| {
            std::fs::File::open("/")
                .expect_err("no more files")
                .to_string()
        },
        (),
    )?;
    println!("a task that may open no file was told: {}", child.join()?);
    Ok(())
}
