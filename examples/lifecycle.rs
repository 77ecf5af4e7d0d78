//! The life of a child as its parent sees it: running, suspended, interrupted, out of time, crashed, done.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::print_stderr, reason = "what a child says before it falls")]

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use multiproc::{Process, Resource, Stdio, active_children, wait_any};

const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(30);

fn wait_for_ever(_: ()) {
    loop {
        std::thread::park();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // A result, and the exit status beside it.
    let child = Process::builder()
        .name("adder")
        .spawn(|(a, b): (u64, u64)| a + b, (3, 4))?;
    println!("{}: {}", child.name(), child.join()?);
    println!(
        "its exit code: {:?}",
        child.exit_status()?.and_then(|status| status.exitcode())
    );

    // A child that runs is alive, suspended or not, and a wait for it can end first.
    let child = Process::spawn(wait_for_ever, ())?;
    let error = child.join_timeout(SOON).expect_err("it runs for ever");
    println!(
        "timed out: {}, alive: {}",
        error.is_timeout(),
        child.is_alive()?
    );
    child.suspend()?;
    println!(
        "suspended, alive: {}, children: {}",
        child.is_alive()?,
        active_children().len()
    );
    child.resume()?;

    // Asked to end, it does, unless it handles the signal.
    child.terminate()?;
    let error = child.join().expect_err("it was terminated");
    println!("terminated: {}", error.exit_status().expect("it died"));

    // A crash is an error value, too; the child's last words are in it.
    let crashing = Process::builder()
        .limit(Resource::CoreSize, 0)
        .stderr(Stdio::captured())
        .spawn(
            |()| -> () {
                eprintln!("about to fall");
                std::process::abort()
            },
            (),
        )?;
    let error = crashing.join().expect_err("it aborts");
    println!("crashed: {}", error.exit_status().expect("it died"));
    println!(
        "its last words: {}",
        error.stderr_tail().unwrap_or_default().trim_end()
    );

    // A panic is one with message and place.
    let panicking = Process::builder()
        .print_panics(false)
        .spawn(|n: u32| 1 / n, 0)?;
    let error = panicking.join().expect_err("it divides by zero");
    println!("panicked: {}", error.panic().expect("a panic").message);

    // The first of several to end is told.
    let children = [3_u64, 1, 2].map(|n| {
        let child = Process::builder().stdin(Stdio::piped()).spawn(
            |n: u64| {
                let _go = std::io::stdin().lock().read_line(&mut String::new());
                n * 10
            },
            n,
        );
        child.expect("it starts")
    });
    // Its input ends, and it goes on.
    drop(children[1].take_stdin());
    let ended = wait_any(&children, Some(LATE))?;
    println!(
        "first to end: number {}, with {}",
        ended[0],
        children[1].join()?
    );
    for child in [&children[0], &children[2]] {
        child.kill()?;
        child.join().expect_err("it was killed");
    }
    println!("children: {}", active_children().len());
    Ok(())
}
