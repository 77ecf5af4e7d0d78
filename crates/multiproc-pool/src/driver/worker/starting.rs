//! A worker's start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use multiproc_process::{Process, Stdio};
use multiproc_shm::ring::Assembler;
use multiproc_shm::{Lane, bulk};
use multiproc_sys::clock::Deadline;
use multiproc_wire::Link;
use multiproc_wire::handoff::Gone;

use super::Worker;
use super::body::{Body, Thread};
use super::lent::LentOut;
use super::remembered::Remembered;
use super::seen::Seen;
use crate::driver::Driver;
use crate::error::{Error, Kind};
use crate::protocol::RING;
use crate::settings::Settings;
use crate::worker::{self, Setup};

/// So long a worker may take from its start until it holds its death word, which takes a millisecond; one that
/// takes longer never will: it hangs in a constructor, or was stopped.
const START_LIMIT: Duration = Duration::from_secs(30);

impl Worker {
    pub(in crate::driver) fn start(driver: &Driver, name: String) -> Result<Worker, Error> {
        let settings = &driver.settings;
        let lane = Lane::create(RING)?;
        let unusable = |error| Error::new(Kind::Io(std::io::Error::other(error)));
        let (tasks, results, items) = lane.parent().map_err(unusable)?;
        let (link, theirs) = Link::pair()?;
        let setup = Setup {
            lane: lane.clone(),
            bells: driver.bells.clone(),
            link: worker::travelling(theirs),
            initializer: settings.initializer.clone(),
            finalizer: settings.finalizer.clone(),
            max_memory: settings.max_memory,
            stamped: settings.timeline.is_some(),
            thread: settings.threads,
        };
        let reaped = Arc::new(AtomicBool::new(false));
        let end = {
            let reaped = Arc::clone(&reaped);
            let driver = Weak::clone(&driver.this);
            move || {
                // Release: pairs with Acquire in `is_dead`; the worker has ended.
                reaped.store(true, Ordering::Release);
                bulk::receiver_ended();
                if let Some(driver) = driver.upgrade() {
                    driver.attract_attention();
                }
            }
        };
        let body = match settings.threads {
            true => Body::Thread(Thread::start(name, setup, end)?),
            false => {
                let process = process(settings, name, setup)?;
                process.on_end(end).inspect_err(|_| {
                    // Unwatched it could die unnoticed.
                    let _killed = process.kill();
                })?;
                Body::Process(process)
            }
        };
        // What a thread would keep is this process's own, and never gone.
        let who = match settings.threads {
            true => None,
            false => Some(Weak::clone(&driver.this) as Weak<dyn Gone>),
        };
        Ok(Worker {
            body,
            reaped,
            lane,
            tasks,
            results,
            items,
            link,
            incoming: Assembler::default(),
            partial: None,
            known: Vec::new(),
            states: Vec::new(),
            forgotten: Vec::new(),
            remembered: Remembered::new(who),
            lent: LentOut::default(),
            next_ticket: 0,
            span: None,
            ready_by: Deadline::after(START_LIMIT),
            waiting: None,
            ready: false,
            dismissed: false,
            retired: None,
            finished: 0,
            idle_until: Deadline::NEVER,
            discard: None,
            since: Deadline::now(),
            distrusted: None,
            oldest: None,
            ending: None,
            seen: Seen::new(settings.timeline.is_some()),
        })
    }

    /// Until when the worker is to have begun, if it has not. How long its initializer then takes is the
    /// user's affair.
    pub(in crate::driver) fn ready_by(&self) -> Deadline {
        let begun = self.body.is_thread() || self.lane.death().load(Ordering::Relaxed) != 0;
        let waited_for = !self.ready && !begun && self.distrusted.is_none();
        if waited_for {
            self.ready_by
        } else {
            Deadline::NEVER
        }
    }
}

/// Starts a process that is a worker.
fn process(settings: &Settings, name: String, setup: Setup) -> Result<Process, Error> {
    let mut builder = Process::builder()
        .name(name)
        .daemon(true)
        .print_panics(false);
    if let Some(method) = settings.start_method {
        builder = builder.start_method(method);
    }
    if let Some(bytes) = settings.stderr_tail {
        builder = builder.stderr(Stdio::captured_last(bytes));
    }
    for (resource, most) in &settings.limits {
        builder = builder.limit(*resource, *most);
    }
    if let Some(niceness) = settings.niceness {
        builder = builder.niceness(niceness);
    }
    if let Some(cpus) = &settings.affinity {
        builder = builder.affinity(cpus.iter().copied());
    }
    Ok(builder.spawn(worker::run, setup)?)
}
