//! `Fork`: the child is a copy of this process, as it stands.
//!
//! # Steps, beside those in `startup.rs`
//!
//! a. Parent: has the library's own threads wait (`helper.rs`), and counts the others.
//! b. Parent: writes out what standard streams hold back, which else would be written twice, and forks, with
//!    nobody changing the list of children.
//! c. Child: forgets what is its parent's: helpers, children, exit handlers, the depth, the parent's
//!    sides of its own streams and link. Lets go of its parent's lifeline, which it has a copy of, and then holds on to it as any child (step 4).
//! d. Child: leads a group or session, enters its folder, puts its streams in place, takes its environment.
//! e. Child: goes on at step 5, on this thread, and ends without its parent's exit handlers, after waiting for its
//!    own children as those would.
//!
//! # What the child may do
//!
//! With one thread in the parent (helpers wait, holding nothing) a forked child is a process like any other:
//! every lock of the C library, of the standard library and of this one is free, or held by the thread that
//! goes on; so c to e may allocate, open files and start threads. What is held by the forking thread here is
//! the gate and the list of children, both given up in c. Where there are other threads, `ForkPromise` says
//! what was promised of them; the allocator is put in order by the C library's `fork`.
//!
//! # Who dies when
//!
//! The parent before c: the child still holds the pipe's write end; it lets go of it in c, finds another
//! parent than it had, and ends. The parent later: as with `Spawn`. The child before step 5 is read: its end of
//! the socket closes, and `join` says how it ended.

use multiproc_sys::socket::Socket;
use multiproc_sys::wait::Waiter;
use multiproc_sys::{hook, lifeline, process as sys};
use multiproc_wire::Link;

use crate::error::{Error, Kind};
use crate::startup::{self, Here, Place, Setting};
use crate::{ForkPromise, child, helper, registry};

/// Steps a and b; the child's do not return.
pub(crate) fn start(
    setting: &mut Setting,
    promise: ForkPromise,
    theirs: Socket,
    here: Option<Here<'_>>,
    close_parents_link: impl FnOnce(),
) -> Result<Waiter, Error> {
    let fail = |kind| Error::new(kind, None);
    let start = |error| fail(Kind::Start(error));
    let folder = setting.folder.as_deref().map(sys::open_folder);
    let folder = folder.transpose().map_err(start)?;
    let life = lifeline::share().map_err(start)?;
    let gate = helper::quiesce().ok_or_else(|| fail(Kind::ForkByHelper))?;
    if !promise.among_threads {
        let threads = sys::thread_count().map_err(start)?;
        let others = threads.saturating_sub(1 + gate.count());
        if others > 0 {
            return Err(fail(Kind::Threads(others)));
        }
    }
    sys::flush_streams();
    let parent = std::process::id();
    let children = registry::children();
    // SAFETY: there is no other thread, or none that holds what the child needs (`promise`); helpers wait, and
    // hold nothing. What the child's function uses is promised too.
    let forked = unsafe { sys::fork() }.map_err(start)?;
    if let Some(pid) = forked {
        drop(children);
        drop(gate);
        return sys::look_after(pid).map_err(start);
    }
    drop(gate);
    registry::after_fork(children);
    child::forked();
    startup::one_level_deeper();
    close_parents_link();
    setting.ours.close();
    // SAFETY: in the child, of which this thread is the only one, and where only what follows here goes on.
    unsafe { lifeline::after_fork() };
    let place = Place {
        streams: std::mem::take(&mut setting.streams),
        folder,
        session: setting.session,
    };
    let enter = |_: &Link| {
        // SAFETY: in the child, of which this thread is the only one.
        unsafe { hook::replace_environment(&setting.environment) };
        Ok(())
    };
    let (link, task) = startup::begin_forked(theirs, None, life, parent, place, enter);
    match here {
        Some(here) => child::run_here(link, &task, here),
        None => child::run(link, task),
    }
}
