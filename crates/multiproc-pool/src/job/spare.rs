//! What a thread keeps of a short call for its next: the job with its buffers, so that one call after the other allocates
//! nothing.

use std::cell::Cell;

use super::Job;

thread_local! {
    static SPARE: Cell<Option<Box<Job>>> = const { Cell::new(None) };
}

/// So many bytes of arguments, of results, and of what is noted of items, are kept each. What most calls of one task take.
pub(super) const MOST: usize = 4096;

/// The job that was kept, which is empty.
pub(super) fn take() -> Option<Box<Job>> {
    // At the end of a thread nothing is kept any more.
    SPARE.try_with(Cell::take).ok().flatten()
}

/// Keeps an empty job, instead of the one before it.
pub(super) fn keep(job: Box<Job>) {
    let _ending = SPARE.try_with(|spare| spare.set(Some(job)));
}
