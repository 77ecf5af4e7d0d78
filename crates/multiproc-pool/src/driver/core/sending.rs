//! Tasks out: to whom the scheduler says, and back from who has too many.

use multiproc_sys::clock::Deadline;

use super::jobs::job_of;
use super::{Core, Seat};
use crate::driver::worker::Push;
use crate::protocol::MAX_RUN;

impl Core {
    /// Sends tasks for as long as there are any, and workers for them.
    pub(super) fn dispatch(&mut self) {
        // What a thread has begun to receive it is to have wholly, since it cannot be ended.
        if !self.goes_on() && !self.settings.threads {
            return;
        }
        for seat in self.restless.iter() {
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && worker.push_rest().is_err()
            {
                self.scheduler.full(seat);
            }
        }
        if !self.goes_on() {
            return;
        }
        while let Some((seat, task)) = self.scheduler.next() {
            let Seat::Taken(worker) = &mut self.seats[seat] else {
                self.scheduler.full(seat);
                continue;
            };
            let Some(job) = job_of(&mut self.jobs, task.job) else {
                // Not to be reached: a job leaves the scheduler with its tasks.
                self.scheduler.remove(task.job);
                continue;
            };
            let function = &self.functions[job.function as usize];
            let payload = job.payload(task.item);
            let count = self.scheduler.count(seat);
            // Handles behind a task that runs would be open, in flight, for as long as it does; and it may
            // be what waits for them to be closed.
            // What the worker has already is not sent.
            let waits = count > 0 && payload.handles.is_some_and(|given| !worker.has_all(given));
            let enough = self
                .settings
                .max_tasks
                .is_some_and(|most| worker.finished() + count as u64 >= most);
            if waits || enough {
                self.scheduler.full(seat);
                continue;
            }
            if !worker.told_of(job.span.as_ref()) {
                self.scheduler.full(seat);
                continue;
            }
            let run = match self.settings.max_tasks {
                None => self.scheduler.run(seat, task).min(MAX_RUN.into()),
                Some(_) => 1,
            };
            let run = job.plain(task.item..task.item + run).max(1);
            let several = u16::try_from(run).ok().filter(|run| *run > 1);
            let pushed = match worker.prepare(job.function, function, job.state.as_ref()) {
                Err(stop) => stop,
                Ok(()) => match several {
                    None => worker.push(job.function, &payload),
                    Some(count) => {
                        let items = job.plain_items(task.item..task.item + run);
                        let youngest = self.scheduler.youngest(seat);
                        let follows = youngest.is_some_and(|sent| sent.task.job == task.job);
                        worker.push_run(job.function, count, items, follows)
                    }
                },
            };
            self.restless.insert(seat);
            match pushed {
                Push::Sent(mark) => {
                    self.scheduler.sent(seat, task, run, mark);
                    if self.scheduler.count(seat) == 1 {
                        worker.begins();
                        // It has nothing to do but this.
                        worker.publish();
                    }
                }
                Push::Full => self.scheduler.full(seat),
                Push::Failed(error) => {
                    self.scheduler.dropped(task);
                    self.settle_failed(task, &error);
                }
            }
        }
    }

    /// Gives workers that have nothing what others have not started.
    pub(super) fn level(&mut self) {
        let has_some = |seat| self.scheduler.count(seat) >= 2;
        if !self.restless.iter().any(has_some) {
            return;
        }
        let mut passed_over = vec![];
        while let Some((seat, count)) = self.scheduler.victim(|seat| passed_over.contains(&seat)) {
            passed_over.push(seat);
            self.recall(seat, self.scheduler.count(seat) - count);
            self.dispatch();
        }
    }

    /// Takes everything back from workers that have not looked at it for too long while others have nothing:
    /// stopped ones, say. They get no more until they answer.
    pub(super) fn relieve(&mut self) {
        if !self.scheduler.has_idle() {
            return;
        }
        let mut from = 0;
        while let Some(seat) = self.restless.next_from(from) {
            from = seat + 1;
            let Seat::Taken(worker) = &mut self.seats[seat] else {
                continue;
            };
            if !self
                .scheduler
                .oldest(seat)
                .is_some_and(|sent| worker.is_stuck_at(sent.mark))
            {
                continue;
            }
            self.recall(seat, 0);
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && self.scheduler.count(seat) == 0
                && worker.ping()
            {
                self.scheduler.suspend(seat);
            }
        }
    }

    /// When to look again whether a worker is stuck. Only while another has nothing to do.
    pub(in crate::driver) fn next_look(&mut self) -> Deadline {
        let mut next = Deadline::NEVER;
        if !self.scheduler.has_idle() {
            return next;
        }
        for seat in self.restless.iter() {
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && let Some(oldest) = self.scheduler.oldest(seat)
            {
                next = next.or(worker.look_at(oldest.mark));
            }
        }
        next
    }

    /// Takes back from a worker what it has not started, the youngest first, down to so many tasks or fewer.
    pub(super) fn recall(&mut self, seat: usize, down_to: usize) {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return;
        };
        while self.scheduler.count(seat) > down_to
            && let Some(youngest) = self.scheduler.youngest(seat)
        {
            let most = self.scheduler.count(seat) - down_to;
            let taken = worker.take_back(youngest.mark, youngest.count, most);
            if taken == 0 {
                break;
            }
            self.scheduler.took_back(seat, taken);
        }
    }

    /// Before a sleep: workers that make room are to ring. False where there is room already.
    pub(in crate::driver) fn park(&mut self) -> bool {
        let mut asleep = true;
        for seat in self.restless.iter() {
            if let Seat::Taken(worker) = &mut self.seats[seat] {
                asleep &= worker.park();
            }
        }
        asleep
    }
}
