//! One thread that sleeps on words in shared memory for all futures of this process.
//!
//! It starts with the first future that has to wait for a word, and lives as long as the process. What is told by a
//! descriptor is the [reactor](crate::reactor)'s.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use multiproc_sync::Deadline;
use multiproc_sync::primitive::{Woken, futex};

/// As many words are slept on. Where there are more, all are looked at every [`LOOK`].
pub(crate) const WORDS: usize = 100;
/// Between two looks at what nothing tells of.
pub(crate) const LOOK: Duration = Duration::from_millis(1);

/// However well it is told, everybody looks after this long: whoever is to tell may be killed before.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What has a word that changes when something is to be looked at, and keeps it mapped.
pub(crate) trait Watched: Send + Sync {
    fn word(&self) -> &AtomicU32;

    /// Nobody sleeps on it any more, on behalf of whoever has announced that.
    fn unwatch(&self);
}

/// A place on the list of those who sleep, until dropped.
#[derive(Debug)]
pub(crate) struct Entry(u64);

struct Asleep {
    on: Arc<dyn Watched>,
    seen: u32,
    waker: Waker,
}

#[derive(Default)]
struct Entries {
    next: u64,
    asleep: BTreeMap<u64, Asleep>,
    /// The process whose thread runs: one that was forked has none yet.
    runs_in: Option<u32>,
}

static ENTRIES: Mutex<Entries> = Mutex::new(Entries {
    next: 0,
    asleep: BTreeMap::new(),
    runs_in: None,
});

/// How often the list has changed: slept on besides.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// Has `waker` woken once the word of `on` holds something else than `seen`. Whoever calls has announced a sleep on it,
/// which ends with the entry.
pub(crate) fn enter(on: Arc<dyn Watched>, seen: u32, waker: &Waker) -> io::Result<Entry> {
    let waker = waker.clone();
    let mut entries = entries();
    let runs = entries.runs_in == Some(std::process::id());
    let foreign = match runs {
        true => None,
        // Those of the process that this one was forked from, who end there.
        false => Some(std::mem::take(&mut entries.asleep)),
    };
    let key = entries.next;
    entries.next += 1;
    entries.asleep.insert(key, Asleep { on, seen, waker });
    let entry = Entry(key);
    if !runs {
        let started = thread::Builder::new()
            .name("multiproc-words".into())
            .spawn(run);
        entries.runs_in = started.is_ok().then(std::process::id);
        // The entry is dropped behind the lock, which it takes.
        drop(entries);
        // So are those that a waker was the last to hold.
        drop(foreign);
        started?;
        return Ok(entry);
    }
    drop(entries);
    changed();
    Ok(entry)
}

fn entries() -> MutexGuard<'static, Entries> {
    ENTRIES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn changed() {
    CHANGES.fetch_add(1, Ordering::Release);
    futex::wake(&CHANGES, 1);
}

fn run() {
    let mut look_again = Deadline::after(LOOK_AGAIN);
    loop {
        // Acquire: the changes of the list that it counts.
        let changes = CHANGES.load(Ordering::Acquire);
        let all = look_again.has_passed();
        if all {
            look_again = Deadline::after(LOOK_AGAIN);
        }
        let (wakers, words) = sort(all);
        wakers.into_iter().for_each(Waker::wake);
        let until = match words.len() {
            0 => Deadline::NEVER,
            1..=WORDS => look_again,
            _ => look_again.or(Deadline::after(LOOK)),
        };
        let theirs = words
            .iter()
            .take(WORDS)
            .map(|(on, seen)| (on.word(), *seen));
        let words_and_list: Vec<_> = theirs.chain([(&CHANGES, changes)]).collect();
        // Whatever it was, it is looked for.
        let _woken: Woken = futex::wait_any(&words_and_list, until);
    }
}

/// What is slept on, and what its word holds.
type Watch = (Arc<dyn Watched>, u32);

/// Takes out whose word has changed, or all, and gives what the others sleep on, each once.
fn sort(all: bool) -> (Vec<Waker>, Vec<Watch>) {
    let mut entries = entries();
    let is_over = |it: &Asleep| all || it.on.word().load(Ordering::Relaxed) != it.seen;
    let over = entries.asleep.extract_if(.., |_, it| is_over(it));
    let wakers = over.map(|(_, it)| it.end()).collect();
    let mut words: Vec<Watch> = Vec::new();
    for it in entries.asleep.values() {
        let same = |(on, seen): &Watch| std::ptr::eq(on.word(), it.on.word()) && *seen == it.seen;
        if words.len() <= WORDS && !words.iter().any(same) {
            words.push((Arc::clone(&it.on), it.seen));
        }
    }
    (wakers, words)
}

impl Asleep {
    fn end(self) -> Waker {
        self.on.unwatch();
        self.waker
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = entries();
        let here = entries.runs_in == Some(std::process::id());
        let found = entries.asleep.remove(&self.0);
        // A waker may be the last to hold another entry.
        drop(entries);
        if let Some(asleep) = found.filter(|_| here) {
            let _waker: Waker = asleep.end();
            // So that the thread lets go of the memory.
            changed();
        }
    }
}
