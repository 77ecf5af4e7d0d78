//! What separates a process from a thread, run and measured: memory, a crash, what a start and a message cost, cores.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use multiproc::{Process, Receiver, Resource, Sender, StartMethod, channel};

static COUNTER: AtomicU64 = AtomicU64::new(0);
const ROUNDS: u32 = 200;
const MESSAGES: u32 = 5_000;

/// The median of `run`'s durations.
fn median(rounds: u32, mut run: impl FnMut()) -> Duration {
    let mut durations: Vec<_> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    durations.sort();
    durations[durations.len() / 2]
}

fn row(what: &str, thread: impl std::fmt::Display, process: impl std::fmt::Display) {
    println!("{what:<34} {thread:>16} {process:>16}");
}

fn micros(duration: Duration) -> String {
    format!("{:.1} µs", duration.as_secs_f64() * 1e6)
}

/// Adds to a static, and says what is there then.
fn add(n: u64) -> u64 {
    COUNTER.fetch_add(n, Ordering::Relaxed) + n
}

fn crash(_: ()) {
    // SAFETY: not safe at all; the process it is done in dies of it, and this one does not.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
}

fn echo((requests, replies): (Receiver<u32>, Sender<u32>)) {
    while let Ok(number) = requests.recv() {
        if replies.send(number).is_err() {
            return;
        }
    }
}

/// Something to compute: about 0.1 s.
fn compute(rounds: u64) -> u64 {
    (0..rounds).fold(1, |a, b| {
        black_box(a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(7)
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    row("", "thread", "process");

    // A thread shares statics, a process has its own.
    thread::spawn(|| add(1)).join().expect("it returns");
    let after_thread = COUNTER.load(Ordering::Relaxed);
    let there = Process::spawn(add, 5)?.join()?;
    let after_process = COUNTER.load(Ordering::Relaxed);
    row(
        "a static of 0, with 1 or 5 added here",
        after_thread,
        after_process - after_thread,
    );
    assert_eq!((there, after_process), (5, 1));

    // A crash ends the process it happens in. Of a thread, that would be this one.
    let healthy = Process::spawn(compute, 1 << 20)?;
    let crashed = Process::builder()
        .limit(Resource::CoreSize, 0)
        .spawn(crash, ())?;
    let error = crashed.join().expect_err("it crashes");
    let status = error.exit_status().expect("it died").to_string();
    healthy.join()?;
    row(
        "a segfault beside a healthy task",
        "ends all",
        "costs itself",
    );
    println!("    the parent was told: {status}");

    // What a start costs.
    let start_thread = median(ROUNDS, || thread::spawn(|| ()).join().expect("it returns"));
    let start = |method| {
        let child = Process::builder().start_method(method).spawn(|()| (), ());
        child.and_then(|child| child.join()).expect("it returns");
    };
    start(StartMethod::ForkServer);
    let forked = median(ROUNDS, || start(StartMethod::ForkServer));
    let spawned = median(ROUNDS, || start(StartMethod::Spawn));
    row(
        "start and join (fork server)",
        micros(start_thread),
        micros(forked),
    );
    row(
        "start and join (spawn)",
        micros(start_thread),
        micros(spawned),
    );

    // What a message there and back costs.
    let (to_thread, from_here) = mpsc::channel();
    let (to_here, from_thread) = mpsc::channel();
    let other = thread::spawn(move || {
        while let Ok(number) = from_here.recv() {
            if to_here.send(number).is_err() {
                return;
            }
        }
    });
    let by_thread = median(MESSAGES, || {
        to_thread.send(1_u32).expect("it is there");
        from_thread.recv().expect("it answers");
    });
    drop(to_thread);
    other.join().expect("it returns");
    let (requests, their_requests) = channel()?;
    let (their_replies, replies) = channel()?;
    let child = Process::spawn(echo, (their_requests, their_replies))?;
    let by_process = median(MESSAGES, || {
        requests.send(1).expect("it is there");
        replies.recv().expect("it answers");
    });
    drop(requests);
    child.join()?;
    row(
        "a message there and back",
        micros(by_thread),
        micros(by_process),
    );

    // Both use all cores.
    let cores = multiproc::cpu_count();
    let rounds = 30_000_000;
    let alone = Instant::now();
    black_box(compute(rounds));
    let alone = alone.elapsed();
    let begun = Instant::now();
    thread::scope(|scope| {
        (0..cores).for_each(|_| drop(scope.spawn(|| black_box(compute(rounds)))))
    });
    let threads = begun.elapsed();
    let begun = Instant::now();
    let children: Vec<_> = (0..cores)
        .map(|_| Process::spawn(compute, rounds))
        .collect::<Result<_, _>>()?;
    for child in children {
        child.join()?;
    }
    let processes = begun.elapsed();
    let speedup = |took: Duration| {
        format!(
            "{:.1}x",
            alone.as_secs_f64() * cores as f64 / took.as_secs_f64()
        )
    };
    row(
        &format!("work done on {cores} cores"),
        speedup(threads),
        speedup(processes),
    );
    Ok(())
}
