//! Waiting for something to become of a pool's tasks, and driving the pool meanwhile.
//!
//! Of those who wait one drives: it moves whatever can be moved, looks for a while whether there is
//! more, and sleeps on the callers' bell. The others sleep until it tells them.

use std::sync::MutexGuard;
use std::task::Waker;

use multiproc_sys::clock::Deadline;
use multiproc_sys::futex;

use super::{Core, Driver};
use crate::error::TaskError;
use crate::protocol::{CALLER, WATCHER};

impl Driver {
    /// Waits until `done` says so, or the deadline, driving the pool if nobody else does. Gives the lock
    /// with the answer.
    ///
    /// # Errors
    /// In a forked copy, where nothing happens any more, and where a thread that was not forked may have the lock.
    pub(crate) fn wait(
        &self,
        deadline: Deadline,
        done: impl FnMut(&mut Core) -> bool,
    ) -> Result<(MutexGuard<'_, Core>, bool), TaskError> {
        self.refuse_fork()?;
        let core = self.pump(self.lock());
        Ok(self.wait_on(core, deadline, done))
    }

    /// As [`wait`](Self::wait), of who has the lock and has just pumped.
    pub(super) fn wait_on<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        deadline: Deadline,
        mut done: impl FnMut(&mut Core) -> bool,
    ) -> (MutexGuard<'a, Core>, bool) {
        loop {
            if done(&mut core) {
                return (self.leave(core), true);
            }
            if deadline.has_passed() {
                return (self.leave(core), false);
            }
            if core.driven {
                core = self.follow(core, deadline);
            } else if !core.look_for_news() {
                core = self.sleep(core, deadline);
            }
            core = self.pump(core);
        }
    }

    /// Moves everything that can be moved, and tells of jobs that are done by it.
    pub(super) fn pump<'a>(&'a self, mut core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        match core.pump(self) {
            true => self.alert(core),
            false => core,
        }
    }

    /// Sleeps until whoever drives has something to tell.
    fn follow<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Core> {
        core.followers += 1;
        let woken = match deadline.remaining() {
            None => self.changed.wait(core),
            Some(left) => {
                let waited = self.changed.wait_timeout(core, left);
                waited
                    .map(|(core, _)| core)
                    .map_err(|error| std::sync::PoisonError::new(error.into_inner().0))
            }
        };
        let mut core = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
        core.followers -= 1;
        core
    }

    /// Sleeps on the callers' bell.
    fn sleep<'a>(
        &'a self,
        mut core: MutexGuard<'a, Core>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Core> {
        core.driven = true;
        // While this thread drives, nobody need wake the pool's own for what is not a death.
        if std::mem::take(&mut core.armed) {
            self.bells.withdraw(WATCHER);
        }
        let asleep = self.bells.declare(CALLER);
        if core.park() && !core.has_news() {
            let until = deadline.or(core.next_look());
            core.driven_until = until;
            drop(core);
            futex::wait(self.bells.word(CALLER), asleep, until);
            core = self.lock();
        }
        self.bells.withdraw(CALLER);
        core.driven = false;
        core
    }

    /// The caller has what it waited for: whoever else waits, or the pool's own thread, goes on.
    fn leave<'a>(&'a self, mut core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        if core.followers > 0 {
            self.changed.notify_all();
        } else {
            self.arm(&mut core);
        }
        core
    }

    /// On behalf of the pool's own thread, which sleeps: what workers say from now on wakes it, if there is anything
    /// that it is to be woken for, and nobody drives.
    fn arm(&self, core: &mut Core) {
        if !core.watching || core.driven || core.armed || !core.wants_watching() {
            return;
        }
        core.armed = true;
        let _asleep: u32 = self.bells.declare(WATCHER);
        if core.is_awaited() {
            let _asleep: u32 = self.bells.declare(CALLER);
        }
        if !core.park() || core.has_news() || core.next_look() < core.alarm {
            self.attract_attention();
        }
    }

    /// Something was sent by somebody who may not wait for it: whoever sleeps for everybody is to look again in
    /// time whether it was started, and to hear of it.
    pub(super) fn rearm(&self, core: &mut Core) {
        if core.driven {
            if core.next_look() < core.driven_until {
                self.bells.ring(CALLER);
            }
        } else if core.armed {
            if core.next_look() < core.alarm {
                self.attract_attention();
            }
        } else {
            self.arm(core);
        }
    }

    /// After a pump by which a job is done: tells all who wait, be it that the driver sleeps meanwhile.
    pub(super) fn alert<'a>(&'a self, mut core: MutexGuard<'a, Core>) -> MutexGuard<'a, Core> {
        if core.followers > 0 {
            self.changed.notify_all();
        }
        if core.driven {
            self.bells.ring(CALLER);
        }
        if !core.has_listeners() {
            return core;
        }
        let (wakers, calls) = core.take_listeners();
        // A waker is somebody else's code.
        drop(core);
        self.callbacks.run(calls);
        wakers.into_iter().for_each(Waker::wake);
        self.lock()
    }
}
