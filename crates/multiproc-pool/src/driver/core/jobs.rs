//! The jobs there are: taken in, told of, taken out.

use std::task::Waker;

use super::{Core, Phase, Seat};
use crate::error::TaskError;
use crate::job::{Callback, Job};
use crate::scheduler::{JobId, TaskId};

/// A job that is done, and what is to be called with it.
pub(in crate::driver) type Call = (Callback, Box<Job>);

impl Core {
    /// That the pool takes tasks.
    pub(super) fn refuse_unless_open(&self) -> Result<(), TaskError> {
        match &self.phase {
            Phase::Open => Ok(()),
            Phase::Closed | Phase::Terminated => Err(TaskError::PoolClosed),
            Phase::Broken(why) => Err(why.clone()),
        }
    }

    pub(in crate::driver) fn submit(&mut self, job: Box<Job>) -> Result<JobId, TaskError> {
        self.refuse_unless_open()?;
        let id = self.scheduler.add(job.tasks());
        self.keep(id, job);
        Ok(id)
    }

    /// Takes in a job of which each worker is to run one task: `job` makes it for so many.
    pub(in crate::driver) fn submit_to_each(
        &mut self,
        job: impl FnOnce(usize) -> Box<Job>,
    ) -> Result<JobId, TaskError> {
        self.refuse_unless_open()?;
        let seats = self.present();
        let job = job(seats.len());
        let id = self.scheduler.add_for(seats);
        self.keep(id, job);
        Ok(id)
    }

    fn keep(&mut self, id: JobId, mut job: Box<Job>) {
        self.calls += 1;
        job.call = self.calls;
        self.timed |= job.policy.is_timed();
        let index = id.index();
        if self.jobs.len() <= index {
            self.jobs.resize_with(index + 1, || None);
        }
        self.jobs[index] = Some((id, job));
    }

    /// Whether so many tasks more are not too many.
    pub(in crate::driver) fn has_room_for(&self, tasks: usize) -> bool {
        let Some(most) = self.settings.max_pending else {
            return true;
        };
        let jobs = self.jobs.iter().flatten();
        let pending: usize = jobs.map(|(_, job)| job.open()).sum();
        pending == 0 || pending.saturating_add(tasks) <= most
    }

    pub(super) fn job(&self, id: JobId) -> Option<&Job> {
        let place = self.jobs.get(id.index())?.as_ref();
        place.filter(|(kept, _)| *kept == id).map(|(_, job)| &**job)
    }

    /// Whether nothing of a job is open any more.
    pub(crate) fn is_done(&self, id: JobId) -> bool {
        self.job(id).is_none_or(Job::is_done)
    }

    /// Whether some task of a job has an error, and not that it was cancelled.
    pub(crate) fn has_error(&self, id: JobId) -> bool {
        self.job(id).is_some_and(Job::has_error)
    }

    /// Whether all of a job that is done went well.
    pub(crate) fn is_successful(&self, id: JobId) -> bool {
        self.job(id).is_some_and(Job::is_successful)
    }

    /// Whether nothing of any job is open any more.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.iter().flatten().all(|(_, job)| job.is_done())
    }

    /// Takes a job out.
    pub(crate) fn take(&mut self, id: JobId) -> Option<Box<Job>> {
        self.job(id)?;
        self.scheduler.remove(id);
        let (_, job) = self.jobs[id.index()].take()?;
        self.tally.add(&job);
        if let Some(state) = &job.state {
            for (seat, place) in self.seats.iter_mut().enumerate() {
                if let Seat::Taken(worker) = place
                    && worker.forget(state.key)
                {
                    self.restless.insert(seat);
                }
            }
        }
        Some(job)
    }

    pub(in crate::driver) fn abandon(&mut self, id: JobId) {
        if self.is_done(id) {
            drop(self.take(id));
        } else if let Some(job) = job_of(&mut self.jobs, id) {
            job.abandoned = true;
            job.wakers.clear();
        }
    }

    pub(super) fn settle_failed(&mut self, task: TaskId, error: &TaskError) {
        let job = job_of(&mut self.jobs, task.job);
        let Some(job) = job.filter(|job| !job.is_settled(task.item)) else {
            return;
        };
        for item in job.items_of(task.item) {
            job.failed(item, error.clone());
        }
        self.conclude(task.job);
    }

    /// What is to be done when a task of a job is settled. Whether the job is done.
    pub(super) fn conclude(&mut self, id: JobId) -> bool {
        let Some(job) = job_of(&mut self.jobs, id).filter(|job| job.is_done()) else {
            return false;
        };
        self.concluded = true;
        self.to_wake.append(&mut job.wakers);
        if let Some(callback) = job.callback.take() {
            let job = self.take(id);
            self.to_call.extend(job.map(|job| (callback, job)));
        } else if job.abandoned {
            drop(self.take(id));
        }
        true
    }

    /// Has `callback` called with a job when it is done. Whether it is.
    pub(in crate::driver) fn call_when_done(&mut self, id: JobId, callback: Callback) -> bool {
        if let Some(job) = job_of(&mut self.jobs, id) {
            job.callback = Some(callback);
        }
        self.conclude(id)
    }

    /// Has a waker woken when a job is done, instead of those before it: a job has one owner.
    pub(in crate::driver) fn wake_when_done(&mut self, id: JobId, waker: &Waker) {
        if let Some(job) = job_of(&mut self.jobs, id) {
            job.wakers.clear();
            job.wakers.push(waker.clone());
        }
    }

    /// Whether somebody awaits a job.
    pub(in crate::driver) fn is_awaited(&self) -> bool {
        self.jobs.iter().flatten().any(|(_, job)| job.is_awaited())
    }

    pub(in crate::driver) fn has_listeners(&self) -> bool {
        !self.to_wake.is_empty() || !self.to_call.is_empty()
    }

    /// Those who are to hear of jobs that are done.
    pub(in crate::driver) fn take_listeners(&mut self) -> (Vec<Waker>, Vec<Call>) {
        (
            std::mem::take(&mut self.to_wake),
            std::mem::take(&mut self.to_call),
        )
    }

    pub(super) fn fail_all(&mut self, error: &TaskError) {
        let ids: Vec<JobId> = self.jobs.iter().flatten().map(|(id, _)| *id).collect();
        for id in ids {
            // What is not with a worker is not to be sent; what is, is not to be counted.
            self.scheduler.forget_queued(id);
            if let Some(job) = job_of(&mut self.jobs, id) {
                job.fail_open_but(error, &[]);
            }
            self.conclude(id);
        }
    }
}

/// The job of that name, unless it was taken out.
pub(super) fn job_of(jobs: &mut [Option<(JobId, Box<Job>)>], id: JobId) -> Option<&mut Job> {
    let place = jobs.get_mut(id.index())?.as_mut();
    place
        .filter(|(kept, _)| *kept == id)
        .map(|(_, job)| &mut **job)
}
