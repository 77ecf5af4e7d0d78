//! What the scheduler knows of one job.

/// The tasks of one job that are still to be sent.
#[derive(Debug)]
pub(super) struct Job {
    /// The first item that was never sent.
    fresh: usize,
    items: usize,
    /// Items that were sent and came back, the next one last.
    back: Vec<usize>,
    window: usize,
}

/// One running and one behind it, so that the worker need not wait for the next.
const FIRST_WINDOW: usize = 2;
/// A worker of the shortest tasks empties this in some ten microseconds, about what a wake-up takes; twice
/// as many gained nothing on two cores.
const LAST_WINDOW: usize = 1024;

impl Job {
    pub(super) fn new(items: usize) -> Job {
        Job {
            fresh: 0,
            items,
            back: Vec::new(),
            window: FIRST_WINDOW,
        }
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    pub(super) fn widen(&mut self) {
        self.window = (self.window * 2).min(LAST_WINDOW);
    }

    /// There is nothing to send any more.
    pub(super) fn forget(&mut self) {
        self.fresh = self.items;
        self.back.clear();
    }

    /// The item to send next.
    pub(super) fn next(&self) -> Option<usize> {
        let fresh = (self.fresh < self.items).then_some(self.fresh);
        self.back.last().copied().or(fresh)
    }

    /// That item was sent; whether there are more.
    pub(super) fn sent(&mut self) -> bool {
        if self.back.pop().is_none() {
            self.fresh += 1;
        }
        self.next().is_some()
    }

    /// An item came back; whether it is the only one to send.
    pub(super) fn give_back(&mut self, item: usize) -> bool {
        let first = self.next().is_none();
        self.back.push(item);
        first
    }
}
