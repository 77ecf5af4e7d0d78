//! One thread that sleeps for all futures of this process.
//!
//! It starts with the first future that has to wait, and lives as long as the process; one that was forked starts its own. A future that waits has an
//! entry: its handle, which is the entry's own, and its waker. An event takes the entry out, and so does the drop
//! of the future; whoever takes it out closes the handle, and nobody else does.
//!
//! However well they are told, all futures look by themselves once a second ([`LOOK_AGAIN`]), as blocking receivers do:
//! whoever is to tell may be killed before. When a second has passed in which nobody came to wait, the thread *rests* until
//! somebody does, without a timer.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;

use multiproc_sync::Deadline;
use multiproc_sys::handle::{AsHandle, Interest, OwnedHandle};
use multiproc_sys::wait::WaitSet;

use crate::words::LOOK_AGAIN;

#[derive(Debug)]
struct Reactor {
    process: u32,
    set: WaitSet,
    entries: Mutex<Entries>,
    /// Tells the thread that rests that there is somebody.
    somebody: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    waiting: HashMap<u64, (OwnedHandle, Waker)>,
    /// The thread sleeps until there is somebody, without a timer.
    rests: bool,
}

/// The process's, or that of the process it was forked from.
static REACTOR: Mutex<Option<Arc<Reactor>>> = Mutex::new(None);

/// An entry, until dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    reactor: Arc<Reactor>,
    key: u64,
}

/// Has `waker` woken once what `interest` says is so of `handle`, or its other side is gone; or after a while.
pub(crate) fn enter(handle: OwnedHandle, interest: Interest, waker: &Waker) -> io::Result<Entry> {
    reactor()?.enter(handle, interest, waker)
}

fn reactor() -> io::Result<Arc<Reactor>> {
    let mut current = REACTOR.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some(reactor) = current.as_ref().filter(|it| it.process == process) {
        return Ok(Arc::clone(reactor));
    }
    let reactor = Reactor::start(process)?;
    *current = Some(Arc::clone(&reactor));
    Ok(reactor)
}

impl Reactor {
    fn start(process: u32) -> io::Result<Arc<Reactor>> {
        let reactor = Arc::new(Reactor {
            process,
            set: WaitSet::new()?,
            entries: Mutex::default(),
            somebody: Condvar::new(),
        });
        let its_thread = Arc::clone(&reactor);
        thread::Builder::new()
            .name("multiproc-channel".into())
            .spawn(move || its_thread.run())?;
        Ok(reactor)
    }

    fn enter(
        self: Arc<Reactor>,
        handle: OwnedHandle,
        interest: Interest,
        waker: &Waker,
    ) -> io::Result<Entry> {
        let mut entries = self.entries();
        let key = entries.next;
        entries.next += 1;
        self.set.add_for(handle.as_handle(), interest, key)?;
        entries.waiting.insert(key, (handle, waker.clone()));
        if std::mem::take(&mut entries.rests) {
            self.somebody.notify_one();
        }
        drop(entries);
        Ok(Entry { reactor: self, key })
    }

    fn run(&self) {
        let mut look_again = Deadline::after(LOOK_AGAIN);
        loop {
            if look_again.has_passed() {
                self.take_all().into_iter().for_each(Waker::wake);
                look_again = Deadline::after(LOOK_AGAIN);
            }
            let Ok(told) = self.set.wait_until(look_again) else {
                // Of the set itself, which nobody else has.
                return;
            };
            if let Some(waker) = told.and_then(|key| self.take(key)) {
                waker.wake();
            }
        }
    }

    fn take(&self, key: u64) -> Option<Waker> {
        let taken = self.entries().waiting.remove(&key)?;
        Some(self.out(taken))
    }

    /// Takes out all who wait; if nobody does, rests until somebody comes, who is not taken out.
    fn take_all(&self) -> Vec<Waker> {
        let mut entries = self.entries();
        let all = std::mem::take(&mut entries.waiting);
        entries.rests = all.is_empty();
        while entries.rests {
            let woken = self.somebody.wait(entries);
            entries = woken.unwrap_or_else(PoisonError::into_inner);
        }
        drop(entries);
        all.into_values().map(|taken| self.out(taken)).collect()
    }

    fn out(&self, (handle, waker): (OwnedHandle, Waker)) -> Waker {
        // Its file is open elsewhere too, so that closing it here would not take it out.
        let _was_in: io::Result<()> = self.set.remove(handle.as_handle());
        waker
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A copy in a process that was forked has nothing to take out: the set is the parent's, too.
        if self.reactor.process == std::process::id() {
            let _waker: Option<Waker> = self.reactor.take(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::task::Wake;
    use std::time::{Duration, Instant};

    use multiproc_sys::flag::Flag;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    struct Tell(SyncSender<()>);

    impl Wake for Tell {
        fn wake(self: Arc<Tell>) {
            self.0.send(()).unwrap();
        }
    }

    #[test]
    fn all_who_wait_look_again_and_where_nobody_does_there_is_no_timer() {
        let reactor = Reactor::start(std::process::id()).unwrap();
        let (tell, told) = sync_channel(100);
        let waker = Waker::from(Arc::new(Tell(tell)));
        let enter = |flag: &Flag| {
            let handle = flag.as_handle().try_clone_to_owned().unwrap();
            Arc::clone(&reactor)
                .enter(handle, Interest::Read, &waker)
                .unwrap()
        };
        let rests = || {
            let since = Instant::now();
            while !reactor.entries().rests {
                assert!(since.elapsed() < SOON, "it looks for nobody");
                thread::yield_now();
            }
        };
        let (silent, raised) = (Flag::new().unwrap(), Flag::new().unwrap());
        rests();
        // Who ends its rest is told at once, of what there is to tell.
        raised.raise().unwrap();
        let _told = enter(&raised);
        told.recv_timeout(SOON).unwrap();
        let entries = [enter(&silent), enter(&silent)];
        for _ in &entries {
            told.recv_timeout(SOON).expect("nobody looks again");
        }
        assert!(reactor.entries().waiting.is_empty());
        drop(enter(&silent));
        rests();
        assert!(told.try_recv().is_err(), "each was told once");
    }
}
