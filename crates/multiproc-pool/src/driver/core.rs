//! All state of a pool, behind one lock, and the pump that moves everything that can be moved.

use std::task::Waker;
use std::time::Duration;

use multiproc_process::function::FunctionRef;
use multiproc_sys::clock::Deadline;
use multiproc_wire::{Handoff, encode};

use super::Driver;
use super::worker::{Corpse, Heard, Push, Worker};
use crate::error::{Error, TaskError};
use crate::job::Job;
use crate::scheduler::{JobId, Scheduler, TaskId};

/// Whether a pool takes tasks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// It does.
    Open,
    /// It does not, and ends when it has none left.
    Closed,
    /// It does not, and has dropped those it had.
    Terminated,
    /// It has given up.
    Broken(TaskError),
}

/// See the module's documentation.
pub(crate) struct Core {
    scheduler: Scheduler<super::worker::Mark>,
    jobs: Vec<Option<(JobId, Job)>>,
    seats: Vec<Seat>,
    /// Workers that are dead or dying, until they are reaped.
    corpses: Vec<Corpse>,
    functions: Vec<Vec<u8>>,
    phase: Phase,
    name: String,
    /// How many workers were ever started.
    started: u64,
    /// How many in a row ended before they were ready.
    failed_starts: u32,
    /// Somebody sleeps, or looks, for everybody; until then at the latest.
    pub(super) driven: bool,
    pub(super) driven_until: Deadline,
    /// How many wait without driving.
    pub(super) followers: usize,
    /// The pool's own thread sleeps, until then at the latest.
    pub(super) watching: bool,
    pub(super) alarm: Deadline,
    limits: Limits,
    /// Those who awaited jobs that are done.
    to_wake: Vec<Waker>,
    /// Tasks whose worker is being ended for their sake, and what is to be said of them.
    condemned: Vec<(TaskId, TaskError)>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A task, from when it is its worker's to start or, behind others, when they are finished.
    pub(crate) task: Option<Duration>,
    /// A worker that is asked to end.
    pub(crate) grace: Duration,
}

/// A place for a worker.
enum Seat {
    Taken(Box<Worker>),
    /// The next worker is to be started then.
    Vacant(Deadline),
    /// It is being started.
    Starting,
    /// There will be no next.
    Closed,
}

/// So many workers in a row may end before they are ready, while there is no other.
const START_LIMIT: u32 = 10;
/// The wait before another start after one that failed; it doubles with each.
const BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// A task that was due before it was started, at a worker that is stopped, say, is looked at so often.
const RECHECK: Duration = Duration::from_millis(50);

impl Core {
    pub(super) fn new(workers: usize, name: String, limits: Limits) -> Core {
        Core {
            scheduler: Scheduler::new(workers),
            jobs: Vec::new(),
            seats: (0..workers)
                .map(|_| Seat::Vacant(Deadline::now()))
                .collect(),
            corpses: Vec::new(),
            functions: Vec::new(),
            phase: Phase::Open,
            name,
            started: 0,
            failed_starts: 0,
            driven: false,
            driven_until: Deadline::NEVER,
            followers: 0,
            watching: false,
            alarm: Deadline::NEVER,
            limits,
            to_wake: Vec::new(),
            condemned: Vec::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.clone()
    }

    /// The seats for which it is time to start a worker, which are then waited for, with its name.
    pub(super) fn due(&mut self) -> Vec<(usize, String)> {
        let mut due = Vec::new();
        for (seat, place) in self.seats.iter_mut().enumerate() {
            if matches!(place, Seat::Vacant(when) if when.has_passed()) {
                *place = Seat::Starting;
                self.started += 1;
                due.push((seat, format!("{}-{}", self.name, self.started)));
            }
        }
        due
    }

    /// A worker was started for a seat, or could not be.
    pub(super) fn seat(&mut self, seat: usize, started: Result<Worker, Error>) {
        let ended = !matches!(self.phase, Phase::Open | Phase::Closed);
        match started {
            Ok(worker) if ended => {
                worker.kill();
                self.seats[seat] = Seat::Closed;
                self.corpses.push(worker.end(false).corpse);
            }
            Ok(worker) => self.seats[seat] = Seat::Taken(Box::new(worker)),
            Err(_) if ended => self.seats[seat] = Seat::Closed,
            Err(error) => {
                self.seats[seat] = Seat::Vacant(Deadline::now());
                self.start_failed(seat, error.to_string());
            }
        }
    }

    pub(super) fn add_function(&mut self, reference: &FunctionRef) -> Result<u32, TaskError> {
        let number = u32::try_from(self.functions.len())
            .map_err(|_| TaskError::Function("there are too many functions".to_string()))?;
        let mut body = number.to_le_bytes().to_vec();
        let _no_handles: Handoff = encode(reference, &mut body).map_err(TaskError::Encode)?;
        self.functions.push(body);
        Ok(number)
    }

    pub(super) fn submit(&mut self, job: Job) -> Result<JobId, TaskError> {
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

    /// Whether nothing of a job is open any more.
    pub(crate) fn is_done(&self, id: JobId) -> bool {
        self.job(id).is_none_or(Job::is_done)
    }

    /// Whether nothing of any job is open any more.
    fn is_idle(&self) -> bool {
        self.jobs.iter().flatten().all(|(_, job)| job.is_done())
    }

    /// Takes a job out.
    pub(crate) fn take(&mut self, id: JobId) -> Option<Job> {
        self.job(id)?;
        self.scheduler.remove(id);
        self.jobs[id.index()].take().map(|(_, job)| job)
    }

    pub(super) fn abandon(&mut self, id: JobId) {
        if self.is_done(id) {
            drop(self.take(id));
        } else if let Some(job) = job_of(&mut self.jobs, id) {
            job.abandoned = true;
            job.wakers.clear();
        }
    }

    pub(super) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// Settles what of a job is not started as cancelled; what of it runs too, if so asked, and ends it with
    /// its worker.
    pub(super) fn cancel(&mut self, id: JobId, running: bool) {
        self.scheduler.forget_queued(id);
        for (seat, sent) in self.scheduler.sent_of(id) {
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && worker.revoke(sent.mark)
            {
                self.scheduler.withdrew(seat, sent.task);
            }
        }
        // What is left at a worker was started: it is the oldest there, or finished and not yet heard of.
        let mut started = Vec::new();
        for (seat, _) in self.scheduler.sent_of(id) {
            self.hear(seat);
            while let Some(oldest) = self
                .scheduler
                .oldest(seat)
                .filter(|sent| sent.task.job == id)
            {
                if !running {
                    started.push(oldest.task.item);
                    break;
                }
                if self.condemn(seat, TaskError::Cancelled) {
                    break;
                }
                // It has gone on meanwhile, so the answer is there.
                self.hear(seat);
            }
        }
        if let Some(job) = job_of(&mut self.jobs, id) {
            job.fail_open_but(&TaskError::Cancelled, &started);
        }
        self.conclude(id);
    }

    /// Ends a worker for the sake of the task it runs, its oldest, of which `error` is then to be said. False
    /// where it has finished that: its answer is there to be heard.
    fn condemn(&mut self, seat: usize, error: TaskError) -> bool {
        // Nothing else is to be run by it meanwhile. Where something cannot be taken back the worker has
        // gone on to it.
        self.recall(seat, 1);
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return true;
        };
        let Some(oldest) = self.scheduler.oldest(seat) else {
            return true;
        };
        if self.scheduler.count(seat) > 1 {
            return false;
        }
        self.scheduler.suspend(seat);
        worker.end_by(Deadline::after(self.limits.grace));
        if !self.condemned.iter().any(|(task, _)| *task == oldest.task) {
            self.condemned.push((oldest.task, error));
        }
        true
    }

    /// Takes back from a worker what it has not started, the youngest first, down to so many tasks.
    fn recall(&mut self, seat: usize, down_to: usize) {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return;
        };
        while self.scheduler.count(seat) > down_to
            && let Some(youngest) = self.scheduler.youngest(seat)
            && worker.revoke(youngest.mark)
        {
            self.scheduler.took_back(seat);
        }
    }

    /// Ends tasks that have run for too long, and workers that take too long to end.
    fn enforce(&mut self) {
        for seat in 0..self.seats.len() {
            let Seat::Taken(worker) = &mut self.seats[seat] else {
                continue;
            };
            worker.press();
            let (Some(allowed), Some(oldest)) = (self.limits.task, self.scheduler.oldest(seat))
            else {
                continue;
            };
            if worker.limit_of(oldest.mark, allowed).has_passed()
                && worker.pressed_at() == Deadline::NEVER
                && worker.has_started(oldest.mark)
            {
                // Where it has finished meanwhile the next pump hears of it.
                let _condemned: bool = self.condemn(seat, TaskError::TimedOut { after: allowed });
            }
        }
    }

    /// When to [`enforce`](Self::enforce) next.
    fn next_limit(&mut self) -> Deadline {
        let mut next = Deadline::NEVER;
        for (seat, place) in self.seats.iter_mut().enumerate() {
            let Seat::Taken(worker) = place else { continue };
            next = next.or(worker.pressed_at());
            if let (Some(allowed), Some(oldest)) = (self.limits.task, self.scheduler.oldest(seat))
                && worker.pressed_at() == Deadline::NEVER
            {
                // One that is overdue and not started is looked at again in a while.
                let limit = worker.limit_of(oldest.mark, allowed);
                next = next.or(if limit.has_passed() {
                    Deadline::after(RECHECK)
                } else {
                    limit
                });
            }
        }
        next
    }

    /// When the pool's own thread is to look again, whatever happens.
    pub(super) fn next_alarm(&mut self) -> Deadline {
        self.next_start()
            .or(self.next_ready())
            .or(self.next_limit())
    }

    fn job(&self, id: JobId) -> Option<&Job> {
        let place = self.jobs.get(id.index())?.as_ref();
        place.filter(|(kept, _)| *kept == id).map(|(_, job)| job)
    }

    /// Takes no more jobs; workers end when what there is is done.
    pub(crate) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
        }
    }

    /// Takes no more jobs, and drops those there are.
    pub(crate) fn terminate(&mut self) {
        if !matches!(self.phase, Phase::Broken(_)) {
            self.phase = Phase::Terminated;
        }
        self.fail_all(&TaskError::Cancelled);
        for seat in 0..self.seats.len() {
            self.recall(seat, 0);
        }
        for seat in &mut self.seats {
            if matches!(seat, Seat::Vacant(_)) {
                *seat = Seat::Closed;
            }
        }
    }

    /// Asks every worker to end.
    pub(crate) fn ask_to_end(&self) {
        self.seats.iter().for_each(|seat| {
            if let Seat::Taken(worker) = seat {
                worker.ask_to_end()
            }
        });
    }

    /// Ends every worker.
    pub(crate) fn end_all(&mut self) {
        self.terminate();
        self.seats.iter().for_each(|seat| {
            if let Seat::Taken(worker) = seat {
                worker.kill()
            }
        });
        self.corpses.iter().for_each(Corpse::kill);
    }

    /// Whether every worker has ended and is reaped, and there will be no others.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.corpses.retain(|corpse| !corpse.is_reaped());
        self.corpses.is_empty() && self.seats.iter().all(|seat| matches!(seat, Seat::Closed))
    }

    fn fail_all(&mut self, error: &TaskError) {
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

    /// Moves everything that can be moved: results in, deaths seen to, tasks out. Says whether a job was
    /// done by it.
    pub(super) fn pump(&mut self, driver: &Driver) -> bool {
        let mut done = false;
        for seat in 0..self.seats.len() {
            done |= self.hear(seat);
            if let Seat::Taken(worker) = &mut self.seats[seat]
                && worker.ready_by().has_passed()
            {
                worker.distrust("it had not begun in time");
            }
            if self.is_dead(seat) {
                done |= self.see_to_death(seat);
                // Starting another is the pool's own thread's to do.
                driver.attract_attention();
            }
        }
        self.enforce();
        self.relieve();
        self.scheduler.try_again();
        done |= self.dispatch();
        done |= self.level();
        if self.phase == Phase::Closed && self.is_idle() {
            self.dismiss();
        }
        for seat in &mut self.seats {
            if let Seat::Taken(worker) = seat {
                worker.publish();
            }
        }
        if self.limits.task.is_some() && self.watching && self.next_limit() < self.alarm {
            driver.attract_attention();
        }
        done
    }

    /// Takes in what a worker has said.
    fn hear(&mut self, seat: usize) -> bool {
        let mut done = false;
        let mut heard = 0;
        let mut job_heard = None;
        while let Seat::Taken(worker) = &mut self.seats[seat] {
            match worker.hear() {
                Ok(None) => break,
                Ok(Some(Heard::Ready)) => {
                    self.failed_starts = 0;
                    self.scheduler.ready(seat);
                }
                Ok(Some(Heard::Answer(answer))) => {
                    let expected = self.scheduler.oldest(seat).map(|sent| sent.mark.ticket);
                    if expected != Some(answer.ticket()) {
                        worker.distrust("it answered a task that it was not given");
                        break;
                    }
                    let Some(sent) = self.scheduler.finished(seat) else {
                        break;
                    };
                    heard += 1;
                    job_heard = Some(sent.task.job);
                    if !self.condemned.is_empty() {
                        // It was faster than its end.
                        self.condemned.retain(|(task, _)| *task != sent.task);
                    }
                    let job = job_of(&mut self.jobs, sent.task.job);
                    // A job that was taken or failed meanwhile wants no answer.
                    match job.filter(|job| !job.is_settled(sent.task.item)) {
                        Some(job) => {
                            answer.deliver(job, sent.task.item);
                            done |= self.conclude(sent.task.job);
                        }
                        None => drop(answer),
                    }
                }
                Err(why) => {
                    worker.distrust(&why);
                    break;
                }
            }
        }
        if let Some(job) = job_heard {
            self.keep_pace(seat, job, heard);
        }
        done
    }

    /// A worker has finished so many tasks, the last of that job. Where they took longer than those before,
    /// what is beyond the job's window is taken back.
    fn keep_pace(&mut self, seat: usize, job: JobId, heard: u32) {
        let Seat::Taken(worker) = &mut self.seats[seat] else {
            return;
        };
        if !self.scheduler.pace(job, worker.pace(heard)) {
            return;
        }
        for seat in 0..self.seats.len() {
            while self.scheduler.is_over(seat) {
                let before = self.scheduler.count(seat);
                self.recall(seat, before - 1);
                if self.scheduler.count(seat) == before {
                    break;
                }
            }
        }
    }

    /// What is to be done when a task of a job is settled. Whether the job is done.
    fn conclude(&mut self, id: JobId) -> bool {
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
    pub(super) fn wake_when_done(&mut self, id: JobId, waker: &Waker) {
        if let Some(job) = job_of(&mut self.jobs, id) {
            job.wakers.clear();
            job.wakers.push(waker.clone());
        }
    }

    /// Whether somebody awaits a job.
    pub(super) fn is_awaited(&self) -> bool {
        self.jobs
            .iter()
            .flatten()
            .any(|(_, job)| !job.wakers.is_empty())
    }

    pub(super) fn has_wakers(&self) -> bool {
        !self.to_wake.is_empty()
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.to_wake)
    }

    fn is_dead(&self, seat: usize) -> bool {
        matches!(&self.seats[seat], Seat::Taken(worker) if worker.is_dead())
    }

    /// A worker that has died: its started task is lost, the others are sent again, its seat is free.
    fn see_to_death(&mut self, seat: usize) -> bool {
        // What it has said before is not lost with it.
        let mut done = self.hear(seat);
        let closed = self.phase != Phase::Open && self.phase != Phase::Closed;
        let finished = self.phase == Phase::Closed && self.is_idle();
        let next = if closed || finished {
            Seat::Closed
        } else {
            Seat::Vacant(Deadline::now())
        };
        let Seat::Taken(worker) = std::mem::replace(&mut self.seats[seat], next) else {
            return done;
        };
        let mut had = self.scheduler.lost(seat);
        let end = worker.end(finished);
        // Started are those it has claimed; it takes them one by one, so that is the oldest or none.
        while let Some(sent) = had.pop_back() {
            if !end.had_started(sent.mark.position) {
                self.scheduler.returned(sent.task);
                continue;
            }
            let condemned = self
                .condemned
                .iter()
                .position(|(task, _)| *task == sent.task);
            let error = match condemned {
                Some(place) => self.condemned.swap_remove(place).1,
                None => end.error(sent.task.item),
            };
            done |= self.settle_failed(sent.task, error);
        }
        if !end.was_ready && !finished {
            self.start_failed(seat, end.what());
        }
        self.corpses.push(end.corpse);
        done
    }

    fn settle_failed(&mut self, task: TaskId, error: TaskError) -> bool {
        let job = job_of(&mut self.jobs, task.job);
        let Some(job) = job.filter(|job| !job.is_settled(task.item)) else {
            return false;
        };
        job.failed(task.item, error);
        self.conclude(task.job)
    }

    /// A worker has ended before it was ready, or could not be started.
    fn start_failed(&mut self, seat: usize, last: String) {
        self.failed_starts += 1;
        // As long as there is a worker, what there is to do gets done.
        let alone = !self.workers().any(Worker::is_ready);
        if self.failed_starts >= START_LIMIT && alone {
            let error = TaskError::RestartLimit {
                starts: self.failed_starts,
                last,
            };
            self.phase = Phase::Broken(error.clone());
            self.fail_all(&error);
            self.end_all();
            return;
        }
        if let Seat::Vacant(when) = &mut self.seats[seat] {
            let doubled = BACK_OFF.saturating_mul(2_u32.saturating_pow(self.failed_starts - 1));
            *when = Deadline::after(doubled.min(LONGEST_BACK_OFF));
        }
    }

    /// Whether it is time to start a worker.
    pub(super) fn is_start_due(&self) -> bool {
        self.next_start().has_passed()
    }

    /// When the next worker is to be started.
    fn next_start(&self) -> Deadline {
        let vacant = self.seats.iter().filter_map(|seat| match seat {
            Seat::Vacant(when) => Some(*when),
            _ => None,
        });
        vacant.min().unwrap_or(Deadline::NEVER)
    }

    /// When the next worker that was started is to be ready.
    fn next_ready(&self) -> Deadline {
        self.workers()
            .map(Worker::ready_by)
            .min()
            .unwrap_or(Deadline::NEVER)
    }

    /// Sends tasks for as long as there are any, and workers for them. Says whether a job is done by it,
    /// since one could not be sent.
    fn dispatch(&mut self) -> bool {
        let mut done = false;
        if !matches!(self.phase, Phase::Open | Phase::Closed) {
            return done;
        }
        for (seat, place) in self.seats.iter_mut().enumerate() {
            if let Seat::Taken(worker) = place
                && worker.push_rest().is_err()
            {
                self.scheduler.full(seat);
            }
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
            let (argument, handles) = job.argument(task.item);
            // Handles behind a task that runs would be open, in flight, for as long as it does; and it may
            // be what waits for them to be closed.
            if handles.is_some() && self.scheduler.count(seat) > 0 {
                self.scheduler.full(seat);
                continue;
            }
            match worker.push(job.function, function, (argument, handles)) {
                Push::Sent(mark) => {
                    self.scheduler.sent(seat, task, mark);
                    if self.scheduler.count(seat) == 1 {
                        worker.begins();
                        // It has nothing to do but this.
                        worker.publish();
                    }
                }
                Push::Full => self.scheduler.full(seat),
                Push::Failed(error) => {
                    self.scheduler.dropped(task);
                    done |= self.settle_failed(task, error);
                }
            }
        }
        done
    }

    /// Takes everything back from workers that have not looked at it for too long while others have nothing:
    /// stopped ones, say. They get no more until they answer.
    fn relieve(&mut self) {
        if !self.scheduler.has_idle() {
            return;
        }
        for seat in 0..self.seats.len() {
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
    pub(super) fn next_look(&mut self) -> Deadline {
        let mut next = Deadline::NEVER;
        if !self.scheduler.has_idle() {
            return next;
        }
        for (seat, place) in self.seats.iter_mut().enumerate() {
            if let Seat::Taken(worker) = place
                && let Some(oldest) = self.scheduler.oldest(seat)
            {
                next = next.or(worker.look_at(oldest.mark));
            }
        }
        next
    }

    /// Gives workers that have nothing what others have not started.
    fn level(&mut self) -> bool {
        let mut done = false;
        let mut passed_over = vec![];
        while let Some((seat, count)) = self.scheduler.victim(|seat| passed_over.contains(&seat)) {
            passed_over.push(seat);
            self.recall(seat, self.scheduler.count(seat) - count);
            done |= self.dispatch();
        }
        done
    }

    /// Tells every worker that there will be no more tasks, and closes the seats that have none.
    fn dismiss(&mut self) {
        for seat in &mut self.seats {
            match seat {
                Seat::Taken(worker) => worker.dismiss(),
                Seat::Vacant(_) => *seat = Seat::Closed,
                Seat::Starting | Seat::Closed => {}
            }
        }
    }

    /// Whether there may be something for the pump to move. Looks without taking anything.
    pub(super) fn has_news(&self) -> bool {
        self.workers()
            .any(|worker| worker.has_news() || worker.is_dead())
    }

    /// Before a sleep: workers that make room are to ring. False where there is room already.
    pub(super) fn park(&mut self) -> bool {
        let mut asleep = true;
        for seat in &mut self.seats {
            if let Seat::Taken(worker) = seat {
                asleep &= worker.park();
            }
        }
        asleep
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Taken(worker) => Some(&**worker),
            _ => None,
        })
    }
}

fn job_of(jobs: &mut [Option<(JobId, Job)>], id: JobId) -> Option<&mut Job> {
    let place = jobs.get_mut(id.index())?.as_mut();
    place.filter(|(kept, _)| *kept == id).map(|(_, job)| job)
}
