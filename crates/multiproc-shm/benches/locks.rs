//! What a lock costs: taken and released by one thread, beside the standard library's, and fought over by
//! two processes, beside CPython's `Value`.
//!
//! `cargo bench -p multiproc-shm --bench locks`. Rounds of each are interleaved, and the medians told.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use multiproc_process::Process;
use multiproc_shm::{Barrier, Lock, Mutex, RwLock, Semaphore};

const ROUNDS: usize = 41;
const TURNS: u32 = 50_000;
const INCREMENTS: u32 = 200_000;

fn time(mut turn: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..TURNS).for_each(|_| turn());
    begun.elapsed() / TURNS
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn uncontended() {
    let theirs = std::sync::Mutex::new(0_u64);
    let ours = Mutex::new(0_u64).unwrap();
    let lock = Lock::new().unwrap();
    let pair = RwLock::new(0_u64).unwrap();
    let slots = Semaphore::new(1).unwrap();
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        times[0].push(time(|| *black_box(&theirs).lock().unwrap() += 1));
        times[1].push(time(|| *black_box(&ours).lock().unwrap() += 1));
        times[2].push(time(|| drop(black_box(&lock).lock().unwrap())));
        times[3].push(time(|| *black_box(&pair).write().unwrap() += 1));
        times[4].push(time(|| drop(black_box(&slots).acquire())));
    }
    let times = times.map(|times| median(times).as_nanos());
    let names = [
        "std::sync::Mutex",
        "Mutex",
        "Lock",
        "RwLock, to write",
        "Semaphore",
    ];
    println!("lock and unlock by one thread, nanoseconds:");
    for (name, nanos) in names.iter().zip(times) {
        println!(
            "  {name:<18} {nanos:>5}   {:.1} times std",
            nanos as f64 / times[0] as f64
        );
    }
}

fn increment((number, start): (Mutex<u64>, Barrier)) {
    start.wait().unwrap();
    for _ in 0..INCREMENTS {
        *number.lock().unwrap() += 1;
    }
    start.wait().unwrap();
}

/// Increments a second, by two processes.
fn ours() -> f64 {
    let (number, start) = (Mutex::new(0).unwrap(), Barrier::new(3).unwrap());
    let children =
        [(); 2].map(|()| Process::spawn(increment, (number.clone(), start.clone())).unwrap());
    start.wait().unwrap();
    let begun = Instant::now();
    start.wait().unwrap();
    let took = begun.elapsed();
    children.into_iter().for_each(|child| child.join().unwrap());
    assert_eq!(number.get().unwrap(), u64::from(2 * INCREMENTS));
    f64::from(2 * INCREMENTS) / took.as_secs_f64()
}

const PYTHON: &str = "
import multiprocessing as m, time
def work(v, b, n):
    b.wait()
    for _ in range(n):
        with v.get_lock():
            v.value += 1
    b.wait()
if __name__ == '__main__':
    m.set_start_method('fork')
    n = 20000
    v, b = m.Value('q', 0), m.Barrier(3)
    ps = [m.Process(target=work, args=(v, b, n)) for _ in range(2)]
    for p in ps: p.start()
    b.wait(); t = time.perf_counter(); b.wait(); t = time.perf_counter() - t
    for p in ps: p.join()
    assert v.value == 2 * n
    print(2 * n / t)
";

fn theirs() -> Option<f64> {
    let output = Command::new("python3").args(["-c", PYTHON]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn contended() {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        here.push(ours());
        there.extend(theirs());
    }
    let median = |numbers: &mut Vec<f64>| {
        numbers.sort_unstable_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    println!("increments a second by two processes:");
    let ours = median(&mut here);
    println!("  {:<18} {ours:>11.0}", "Mutex");
    if there.is_empty() {
        println!("  python3 is not here: there is nothing to compare with");
    } else {
        let theirs = median(&mut there);
        println!(
            "  {:<18} {theirs:>11.0}   Mutex does {:.1} times as many",
            "CPython's Value",
            ours / theirs
        );
    }
}

fn main() {
    uncontended();
    contended();
}
