//! Three processes in a row, joined by bounded queues: one reads text, one splits it into words, one counts them.
//!
//! The last starts late, to show what a bound is for: the queues fill up, and the first process stands still rather
//! than read everything into memory.
//!
//! `cargo run --release --example pipeline [FILE…]`; without a file, it reads this repository's documents.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io, thread};

use multiproc::{Failure, Process, Queue, SharedValue};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Messages that a queue holds: a line each, or the words of one.
const BOUND: usize = 32;
const LOOK: Duration = Duration::from_millis(2);

/// The first stage: gives how many lines it has read.
fn read(
    (files, lines, progress): (Vec<PathBuf>, Queue<String>, SharedValue<u64>),
) -> Result<u64, Failure> {
    let mut count = 0;
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            // Waits while the queue is full.
            lines.send(line.to_owned())?;
            count += 1;
            progress.set(count)?;
        }
    }
    lines.close()?;
    Ok(count)
}

/// The second stage: gives how many words it has found.
fn split((lines, words): (Queue<String>, Queue<Vec<String>>)) -> Result<u64, Failure> {
    let mut count = 0;
    for line in &lines {
        let line = line?.to_lowercase();
        let found = line.split(|c: char| !c.is_alphabetic());
        let found: Vec<_> = found
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        count += found.len() as u64;
        words.send(found)?;
    }
    words.close()?;
    Ok(count)
}

/// The third stage: gives how often each word came.
fn count(words: Queue<Vec<String>>) -> Result<HashMap<String, u64>, Failure> {
    let mut counts = HashMap::new();
    for some in &words {
        for word in some? {
            *counts.entry(word).or_default() += 1;
        }
    }
    Ok(counts)
}

fn main() -> Result<(), Failure> {
    let files = match env::args().skip(1).map(PathBuf::from).collect::<Vec<_>>() {
        none if none.is_empty() => documents(Path::new(REPOSITORY))?,
        files => files,
    };
    let (lines, words) = (Queue::bounded(BOUND)?, Queue::bounded(BOUND)?);
    let progress = SharedValue::new(0_u64)?;

    let reader = Process::spawn(read, (files, lines.clone(), progress.clone()))?;
    let splitter = Process::spawn(split, (lines.clone(), words.clone()))?;
    // Until both queues are full, or the text was too short for that.
    while !(lines.is_full()? && words.is_full()? || lines.is_closed()?) {
        show(&lines, &words)?;
        thread::sleep(LOOK);
    }
    show(&lines, &words)?;
    println!("full: the reader waits, at line {}", progress.get()?);

    let counter = Process::spawn(count, words.clone())?;
    let (read, found) = (reader.join()??, splitter.join()??);
    let counts = counter.join()??;
    println!(
        "{read} lines read, {found} words found, {} counted",
        counts.values().sum::<u64>()
    );
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
    for (word, times) in counts.iter().take(5) {
        println!("{times:>8} {word}");
    }
    Ok(())
}

/// How full the queues are.
fn show(lines: &Queue<String>, words: &Queue<Vec<String>>) -> Result<(), Failure> {
    let (lines, words) = (lines.len()?, words.len()?);
    println!(
        "reader |{:32}| {lines:>2} splitter |{:32}| {words:>2}",
        "#".repeat(lines),
        "#".repeat(words)
    );
    Ok(())
}

/// The documents under a folder.
fn documents(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(documents(&path)?);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
