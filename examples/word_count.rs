//! Real work: counts the words in all text files under some folders, first in this process, then on a pool.
//!
//! `cargo run --release --example word_count [PATH…]`; without a path, it reads this repository.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io, thread};

use multiproc::Pool;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const SKIPPED: [&str; 2] = [".git", "target"];
/// Tasks for each worker: few, so that each is worth sending, and enough to share out evenly.
const TASKS: usize = 8;

/// How many texts there were, and how often each word was in them.
type Counts = (usize, HashMap<String, u64>);

/// The task. A file that is no text is passed over.
fn count(files: Vec<PathBuf>) -> Counts {
    let (mut texts, mut words) = Counts::default();
    for file in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.is_empty() || text.contains('\0') {
            continue;
        }
        texts += 1;
        for word in text.split(|c: char| !c.is_alphabetic()) {
            if !word.is_empty() {
                *words.entry(word.to_lowercase()).or_default() += 1;
            }
        }
    }
    (texts, words)
}

fn sum(parts: impl IntoIterator<Item = Counts>) -> Counts {
    let mut total = Counts::default();
    for (texts, words) in parts {
        total.0 += texts;
        for (word, times) in words {
            *total.1.entry(word).or_default() += times;
        }
    }
    total
}

fn find(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        if !skipped && !entry.file_type()?.is_symlink() {
            find(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.push(REPOSITORY.into());
    }
    let mut files = Vec::new();
    for path in &paths {
        if !path.exists() {
            return Err(format!("there is no {}", path.display()).into());
        }
        find(path, &mut files)?;
    }
    let workers = thread::available_parallelism()?.get();
    let batch = files.len().div_ceil(workers * TASKS).max(1);
    let batches: Vec<Vec<PathBuf>> = files.chunks(batch).map(<[_]>::to_vec).collect();

    let begun = Instant::now();
    let alone = sum(batches.iter().cloned().map(count));
    let one_process = begun.elapsed();

    let pool = Pool::new(workers)?;
    let begun = Instant::now();
    let (texts, words) = sum(pool.map(count, batches)?);
    let on_the_pool = begun.elapsed();
    assert_eq!((texts, &words), (alone.0, &alone.1), "both count the same");

    println!(
        "{} words, {} different ones, in {texts} text files",
        words.values().sum::<u64>(),
        words.len()
    );
    let mut words: Vec<_> = words.into_iter().collect();
    words.sort_by_key(|(word, times)| (std::cmp::Reverse(*times), word.clone()));
    for (word, times) in words.iter().take(10) {
        println!("{times:>8} {word}");
    }
    println!("one process took {one_process:.1?}, a pool of {workers} {on_the_pool:.1?}");
    Ok(())
}
