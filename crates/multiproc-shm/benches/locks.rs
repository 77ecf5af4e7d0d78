//! What a lock costs: taken and released by one thread, beside the standard library's, and fought over by
//! two processes, beside CPython's `Value`.
//!
//! `cargo bench -p multiproc-shm --bench locks`. Rounds of each are interleaved, and the medians told.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use multiproc_process::Process;
use multiproc_shm::{Barrier, Lock, Mutex, RLock, RwLock, Semaphore, SharedArray};

const ROUNDS: usize = 41;
const TURNS: u32 = 50_000;
const INCREMENTS: u32 = 200_000;

/// As many turns as [`TURNS`].
fn time(mut turn: impl FnMut()) -> Duration {
    let begun = Instant::now();
    (0..TURNS).for_each(|_| turn());
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// One turn at something, again and again.
struct Turns<'a> {
    name: &'static str,
    turn: Box<dyn FnMut() -> Duration + 'a>,
    times: Vec<Duration>,
}

impl<'a> Turns<'a> {
    fn of(name: &'static str, mut turn: impl FnMut() + 'a) -> Turns<'a> {
        Turns {
            name,
            turn: Box::new(move || time(&mut turn)),
            times: Vec::new(),
        }
    }
}

fn uncontended() {
    let (mutex, pair) = (std::sync::Mutex::new(0_u64), std::sync::RwLock::new(0_u64));
    let (ours, lock, rlock) = (
        Mutex::new(0_u64).unwrap(),
        Lock::new().unwrap(),
        RLock::new().unwrap(),
    );
    let array = SharedArray::from_slice(&[0_u64; 4]).unwrap();
    let rwlock = RwLock::new(0_u64).unwrap();
    let slots = Semaphore::new(4).unwrap();
    let among = Semaphore::new(4).unwrap();
    let _other = among.acquire();
    let items = Semaphore::new(0).unwrap();
    let mut all = [
        Turns::of("std::sync::Mutex", || {
            *black_box(&mutex).lock().unwrap() += 1
        }),
        Turns::of("std's RwLock, to read", || {
            black_box(*black_box(&pair).read().unwrap());
        }),
        Turns::of("std's RwLock, to write", || {
            *black_box(&pair).write().unwrap() += 1
        }),
        Turns::of("Mutex", || *black_box(&ours).lock().unwrap() += 1),
        Turns::of("SharedArray", || black_box(&array).lock().unwrap()[0] += 1),
        Turns::of("Lock", || drop(black_box(&lock).lock().unwrap())),
        Turns::of("RLock", || drop(black_box(&rlock).lock().unwrap())),
        Turns::of("RwLock, to read", || {
            black_box(*black_box(&rwlock).read().unwrap());
        }),
        Turns::of("RwLock, to write", || {
            *black_box(&rwlock).write().unwrap() += 1
        }),
        Turns::of("Semaphore", || drop(black_box(&slots).acquire())),
        Turns::of("Semaphore, not alone", || drop(black_box(&among).acquire())),
        Turns::of("Semaphore, items", || {
            black_box(&items).release();
            black_box(&items).acquire().forget();
        }),
    ];
    for _ in 0..ROUNDS {
        for turns in &mut all {
            let took = (turns.turn)();
            turns.times.push(took);
        }
    }
    println!("taken and given back by one thread, nanoseconds:");
    let mut std = None;
    for turns in all {
        let nanos = median(turns.times).as_nanos() as f64 / f64::from(TURNS);
        let std = *std.get_or_insert(nanos);
        println!(
            "  {:<22} {nanos:>6.1}   {:.2} times std's Mutex",
            turns.name,
            nanos / std
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
