//! What the scheduler knows of one job.

use std::ops::Range;
use std::time::Duration;

/// The tasks of one job that are still to be sent.
#[derive(Debug)]
pub(super) struct Job {
    /// The first item that was never sent.
    fresh: usize,
    items: usize,
    /// Items that were sent and came back, the next ones last.
    back: Vec<Range<usize>>,
    window: usize,
    /// What the pace of its tasks allows the window to be.
    limit: usize,
    /// Its tasks took too long for its window when they were asked about last.
    slow: bool,
    /// Nothing more of it is to be sent.
    forgotten: bool,
    /// The worker of each task, where a task is for one alone.
    workers: Option<Vec<usize>>,
}

/// A window is no longer than this: what is sent later waits so long behind it at most. Some wake-ups long, so
/// that tasks of a microsecond have the longest window, and tasks of ten milliseconds the shortest.
const HORIZON: Duration = Duration::from_millis(5);
/// One running and one behind it, so that the worker need not wait for the next.
const FIRST_WINDOW: usize = 2;
/// A worker of the shortest tasks empties this in some sixty microseconds, ten times what a wake-up takes, so that it need
/// not sleep while the parent is put aside for it. With a quarter as many each side slept twice as often.
const LAST_WINDOW: usize = 4096;

impl Job {
    pub(super) fn new(items: usize) -> Job {
        Job {
            fresh: 0,
            items,
            back: Vec::new(),
            window: FIRST_WINDOW,
            limit: LAST_WINDOW,
            slow: false,
            forgotten: false,
            workers: None,
        }
    }

    /// A job of one task for each of those workers alone, none of which goes to whoever has time.
    pub(super) fn for_each(workers: Vec<usize>) -> Job {
        Job {
            workers: Some(workers),
            ..Job::new(0)
        }
    }

    /// For which worker alone a task is.
    pub(super) fn worker_of(&self, item: usize) -> Option<usize> {
        self.workers.as_ref()?.get(item).copied()
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// How many tasks are to be sent.
    pub(super) fn left(&self) -> usize {
        self.items - self.fresh + self.back.iter().map(Range::len).sum::<usize>()
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Whether its tasks take longer than the shortest do, as far as is known.
    pub(super) fn takes_time(&self) -> bool {
        self.limit < LAST_WINDOW
    }

    pub(super) fn widen(&mut self) {
        self.window = (self.window * 2).min(self.limit);
    }

    /// A task takes so long: whether the window is smaller than it was.
    pub(super) fn pace(&mut self, task: Duration) -> bool {
        let fit = HORIZON.as_nanos() / task.as_nanos().max(1);
        self.limit = usize::try_from(fit)
            .unwrap_or(LAST_WINDOW)
            .clamp(FIRST_WINDOW, LAST_WINDOW);
        let slow = self.window > self.limit;
        // Once may be a worker that had to wait for a processor.
        let narrower = slow && self.slow;
        self.slow = slow;
        if narrower {
            self.window = self.limit;
        }
        narrower
    }

    /// There is nothing to send any more.
    pub(super) fn forget(&mut self) {
        self.forgotten = true;
        self.fresh = self.items;
        self.back.clear();
    }

    /// The item to send next.
    pub(super) fn next(&self) -> Option<usize> {
        let fresh = (self.fresh < self.items).then_some(self.fresh);
        self.back.last().map(|back| back.start).or(fresh)
    }

    /// So many items were sent, from the next on, which [follow](Self::following) each other; whether there are more.
    pub(super) fn sent(&mut self, items: usize) -> bool {
        match self.back.last_mut() {
            None => self.fresh += items,
            Some(back) => {
                back.start += items;
                if back.start >= back.end {
                    self.back.pop();
                }
            }
        }
        self.next().is_some()
    }

    /// How many items, from the one to send next on, follow each other.
    pub(super) fn following(&self) -> usize {
        self.back.last().map_or(self.items - self.fresh, Range::len)
    }

    /// So many items came back, from that one on; whether they are the only ones to send.
    pub(super) fn give_back(&mut self, item: usize, count: usize) -> bool {
        if self.forgotten {
            return false;
        }
        let first = self.next().is_none();
        match self.back.last_mut() {
            Some(back) if back.start == item + count => back.start = item,
            _ => self.back.push(item..item + count),
        }
        first
    }
}
