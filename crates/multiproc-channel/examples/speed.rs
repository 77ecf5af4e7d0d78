//! How fast channels are, next to what threads have: `cargo run --release -p multiproc-channel --example speed`.
//!
//! Each comparison is made in turns in one run, so that what else the machine does falls on both; figures are
//! medians.

#![expect(clippy::print_stdout, reason = "figures are for reading")]

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use multiproc_channel::{Bytes, Receiver, Sender, channel};
use multiproc_process::Process;
use multiproc_shm::Block;
use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 9;
const MESSAGES: u64 = 2_000_000;
const TRIPS: u32 = 50_000;

fn main() -> Outcome<()> {
    one_way()?;
    round_trip()?;
    large()
}

/// `u64`s from one process to another, and from one thread to another.
fn one_way() -> Outcome<()> {
    let (mut ours, mut in_threads, mut theirs) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        ours.push(rate(MESSAGES, from_a_process()?));
        in_threads.push(rate(MESSAGES, from_a_thread()?));
        theirs.push(rate(MESSAGES, from_a_thread_with_crossbeam()));
    }
    let (ours, in_threads, theirs) = (median(ours), median(in_threads), median(theirs));
    println!("FIGURE u64 one way, processes: {ours:.1} M/s");
    println!("FIGURE u64 one way, the same between threads: {in_threads:.1} M/s");
    println!(
        "FIGURE u64 one way, crossbeam-channel between threads: {theirs:.1} M/s, ratio {:.2}",
        ours / theirs
    );
    Ok(())
}

fn from_a_process() -> Outcome<Duration> {
    let (sender, receiver) = channel::<u64>()?;
    let send = |sender: Sender<u64>| (0..=MESSAGES).for_each(|n| sender.send(n).unwrap());
    let child = Process::spawn(send, sender)?;
    receiver.recv()?;
    let begin = Instant::now();
    take(&receiver)?;
    let took = begin.elapsed();
    child.join()?;
    Ok(took)
}

fn from_a_thread() -> Outcome<Duration> {
    let (sender, receiver) = channel::<u64>()?;
    let sending = thread::spawn(move || (0..=MESSAGES).for_each(|n| sender.send(n).unwrap()));
    receiver.recv()?;
    let begin = Instant::now();
    take(&receiver)?;
    let took = begin.elapsed();
    sending.join().unwrap();
    Ok(took)
}

fn take(receiver: &Receiver<u64>) -> Outcome<()> {
    for _ in 0..MESSAGES {
        black_box(receiver.recv()?);
    }
    Ok(())
}

fn from_a_thread_with_crossbeam() -> Duration {
    // As many as fit into one of ours.
    let (sender, receiver) = crossbeam_channel::bounded::<u64>(4096);
    let sending = thread::spawn(move || (0..=MESSAGES).for_each(|n| sender.send(n).unwrap()));
    receiver.recv().unwrap();
    let begin = Instant::now();
    for _ in 0..MESSAGES {
        black_box(receiver.recv().unwrap());
    }
    let took = begin.elapsed();
    sending.join().unwrap();
    took
}

/// There and back, over two channels and over two bare words.
fn round_trip() -> Outcome<()> {
    let (to_child, from_parent) = channel::<u64>()?;
    let (to_parent, from_child) = channel::<u64>()?;
    let echo = |(from, to): (Receiver<u64>, Sender<u64>)| {
        from.iter()
            .for_each(|message| to.send(message.unwrap()).unwrap());
    };
    let child = Process::spawn(echo, (from_parent, to_parent))?;
    let words = Block::create(256)?;
    let other = Process::spawn(echo_words, words.clone())?;
    let (ping, pong) = (word(&words, 0), word(&words, 128));
    let (mut ours, mut bare) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let begin = Instant::now();
        for n in 0..TRIPS {
            to_child.send(u64::from(n))?;
            from_child.recv()?;
        }
        ours.push(per(TRIPS, begin.elapsed()));
        let begin = Instant::now();
        for n in 1..=TRIPS {
            let value = u32::try_from(round)? * TRIPS + n;
            tell(ping, value);
            hear(pong, value);
        }
        bare.push(per(TRIPS, begin.elapsed()));
    }
    tell(ping, u32::MAX);
    drop(to_child);
    child.join()?;
    other.join()?;
    let (ours, bare) = (median(ours), median(bare));
    println!("FIGURE round trip, two channels: {ours:.0} ns");
    println!(
        "FIGURE round trip, bare futex words: {bare:.0} ns, ratio {:.2}",
        ours / bare
    );
    Ok(())
}

fn echo_words(words: Block) {
    let (ping, pong) = (word(&words, 0), word(&words, 128));
    for value in 1.. {
        let heard = hear(ping, value);
        if heard == u32::MAX {
            return;
        }
        tell(pong, heard);
    }
}

#[expect(clippy::cast_ptr_alignment, reason = "multiples of 128")]
fn word(words: &Block, at: usize) -> &AtomicU32 {
    // SAFETY: in the block, aligned, an atomic of which any bytes are a value.
    unsafe { &*words.as_ptr().wrapping_add(at).cast::<AtomicU32>() }
}

fn tell(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::SeqCst);
    futex::wake(word, 1);
}

fn hear(word: &AtomicU32, value: u32) -> u32 {
    loop {
        let now = word.load(Ordering::SeqCst);
        if now >= value {
            return now;
        }
        futex::wait(word, now, Deadline::NEVER);
    }
}

/// Messages of a mebibyte, and as many bytes copied once.
fn large() -> Outcome<()> {
    const SIZE: usize = 1 << 20;
    const COUNT: u32 = 300;
    const APART: usize = 100;
    let (mut ours, mut copied) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (sender, receiver) = channel::<Bytes>()?;
        let send = |sender: Sender<Bytes>| {
            let message = Bytes::from(vec![7; SIZE]);
            (0..=COUNT).for_each(|_| sender.send(message.clone()).unwrap());
        };
        let child = Process::spawn(send, sender)?;
        receiver.recv()?;
        let begin = Instant::now();
        for _ in 0..COUNT {
            black_box(receiver.recv()?);
        }
        ours.push(gibibytes(COUNT, begin.elapsed()));
        child.join()?;
        // Out of the caches, as what one process has made is to another.
        let (from, mut to) = (vec![7_u8; SIZE * APART], vec![1_u8; SIZE * APART]);
        let begin = Instant::now();
        for n in 0..COUNT as usize {
            let at = n % APART * SIZE;
            black_box(&mut to[at..at + SIZE]).copy_from_slice(black_box(&from[at..at + SIZE]));
        }
        copied.push(gibibytes(COUNT, begin.elapsed()));
    }
    let (ours, copied) = (median(ours), median(copied));
    println!("FIGURE 1 MiB messages: {ours:.2} GiB/s");
    println!(
        "FIGURE 1 MiB copies: {copied:.2} GiB/s, ratio {:.2}",
        ours / copied
    );
    Ok(())
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64() / 1e6
}

fn per(count: u32, took: Duration) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(count)
}

fn gibibytes(count: u32, took: Duration) -> f64 {
    f64::from(count) / 1024.0 / took.as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
