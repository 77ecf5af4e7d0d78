//! The jobs there are: taken in, told of, taken out.

use std::task::Waker;

use super::{Core, Phase};
use crate::error::TaskError;
use crate::job::Job;
use crate::scheduler::{JobId, TaskId};

impl Core {
    pub(in crate::driver) fn submit(&mut self, job: Job) -> Result<JobId, TaskError> {
        match &self.phase {
            Phase::Open => {}
            Phase::Closed | Phase::Terminated => return Err(TaskError::PoolClosed),
            Phase::Broken(why) => return Err(why.clone()),
        }
        let id = self.scheduler.add(job.items());
        let index = id.index();
        if self.jobs.len() <= index {
            self.jobs.resize_with(index + 1, || None);
        }
        self.jobs[index] = Some((id, job));
        Ok(id)
    }

    pub(super) fn job(&self, id: JobId) -> Option<&Job> {
        let place = self.jobs.get(id.index())?.as_ref();
        place.filter(|(kept, _)| *kept == id).map(|(_, job)| job)
    }

    /// Whether nothing of a job is open any more.
    pub(crate) fn is_done(&self, id: JobId) -> bool {
        self.job(id).is_none_or(Job::is_done)
    }

    /// Whether some task of a job has an error, and not that it was cancelled.
    pub(crate) fn has_error(&self, id: JobId) -> bool {
        self.job(id).is_some_and(Job::has_error)
    }

    /// Whether nothing of any job is open any more.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.iter().flatten().all(|(_, job)| job.is_done())
    }

    /// Takes a job out.
    pub(crate) fn take(&mut self, id: JobId) -> Option<Job> {
        self.job(id)?;
        self.scheduler.remove(id);
        self.jobs[id.index()].take().map(|(_, job)| job)
    }

    pub(in crate::driver) fn abandon(&mut self, id: JobId) {
        if self.is_done(id) {
            drop(self.take(id));
        } else if let Some(job) = job_of(&mut self.jobs, id) {
            job.abandoned = true;
            job.wakers.clear();
        }
    }

    pub(super) fn settle_failed(&mut self, task: TaskId, error: TaskError) -> bool {
        let job = job_of(&mut self.jobs, task.job);
        let Some(job) = job.filter(|job| !job.is_settled(task.item)) else {
            return false;
        };
        job.failed(task.item, error);
        self.conclude(task.job)
    }

    /// What is to be done when a task of a job is settled. Whether the job is done.
    pub(super) fn conclude(&mut self, id: JobId) -> bool {
        let Some(job) = job_of(&mut self.jobs, id).filter(|job| job.is_done()) else {
            return false;
        };
        self.to_wake.append(&mut job.wakers);
        if job.abandoned {
            drop(self.take(id));
        }
        true
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
        self.jobs
            .iter()
            .flatten()
            .any(|(_, job)| !job.wakers.is_empty())
    }

    pub(in crate::driver) fn has_wakers(&self) -> bool {
        !self.to_wake.is_empty()
    }

    pub(in crate::driver) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.to_wake)
    }

    pub(super) fn fail_all(&mut self, error: &TaskError) {
        for place in &mut self.jobs {
            let Some((id, job)) = place else { continue };
            // What is not with a worker is not to be sent; what is, is not to be counted.
            self.scheduler.forget_queued(*id);
            job.fail_open_but(error, &[]);
            self.to_wake.append(&mut job.wakers);
            if job.abandoned {
                self.scheduler.remove(*id);
                *place = None;
            }
        }
    }
}

/// The job of that name, unless it was taken out.
pub(super) fn job_of(jobs: &mut [Option<(JobId, Job)>], id: JobId) -> Option<&mut Job> {
    let place = jobs.get_mut(id.index())?.as_mut();
    place.filter(|(kept, _)| *kept == id).map(|(_, job)| job)
}
