//! What was lent to a worker with tasks that it has not answered (`multiproc_shm::bulk`).
//!
//! Of a task that it never starts it reads nothing, and nothing stays lent. Of one that it dies in, it may have given back
//! what was lent or not: that stays lent, and its memory is let go when the worker is reaped.

use crate::job::Loans;

/// By the tickets of the tasks.
#[derive(Default)]
pub(super) struct LentOut(Vec<(u32, Loans)>);

impl LentOut {
    /// It goes to the worker with that task.
    pub(super) fn sent(&mut self, ticket: u32, loans: &Loans) {
        loans.iter().for_each(|loan| loan.sent());
        self.0.push((ticket, loans.clone()));
    }

    fn take(&mut self, ticket: u32) -> Option<Loans> {
        let place = self.0.iter().position(|(of, _)| *of == ticket)?;
        Some(self.0.swap_remove(place).1)
    }

    /// The worker has begun with the task: it gives back by itself.
    pub(super) fn answered(&mut self, ticket: u32) {
        drop(self.take(ticket));
    }

    /// The worker has not begun with the task, and will not.
    pub(super) fn taken_back(&mut self, ticket: u32) {
        for loan in self.take(ticket).into_iter().flatten() {
            loan.taken_back();
        }
    }
}
