//! The fork server's own side: one thread, before `main`, from its start to the end of the control socket.

use std::io;
use std::mem::ManuallyDrop;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use multiproc_sys::hook::{self, Start, Title};
use multiproc_sys::process::{self as sys, Fork, SharedNumber, Sibling, Stdio};
use multiproc_sys::socket::{Received, Socket};
use multiproc_sys::{lifeline, signal};
use multiproc_wire::Link;

use super::protocol::{Environment, FORKED, Order, Request, StreamKind, failed};
use crate::child::Task;
use crate::startup::{self, Place};
use crate::{child, registry};

/// What the server works with.
struct Server {
    parent: u32,
    control: Socket,
    /// What each child is given one of to hold on to.
    parents_life: OwnedHandle,
    /// What ends this process with its parent.
    held: BorrowedHandle<'static>,
    number: SharedNumber,
    /// For children that read from nowhere, where it could be had. They share it, which nobody can tell.
    nowhere: Option<OwnedHandle>,
    title: Option<Title>,
    /// What this process was started with, …
    environment: startup::Environment,
    /// … and whether that is still its own, and so each child's.
    kept: bool,
}

/// A child that is to be forked.
struct Wanted {
    link: OwnedHandle,
    place: Place,
    environment: Environment,
    /// As this process has read it; none where it is on the link.
    order: Option<Result<Task, String>>,
}

/// Step b: never returns, but as a child that was forked here and has ended its task.
pub(crate) fn serve(parent: u32, start: Option<Start>) -> ! {
    let title = start.as_ref().map(Start::title);
    let server =
        Server::take_over(parent, title).unwrap_or_else(|error| child::refuse_start(&error));
    signal::as_at_start_of_main();
    if let Some(start) = start {
        // SAFETY: this is the hook that was given `start`, and this function does not return.
        unsafe { start.run_remaining() };
    }
    server.run()
}

impl Server {
    fn take_over(parent: u32, title: Option<Title>) -> io::Result<Server> {
        startup::check_parent(parent)?;
        // SAFETY: the parent has put its handles there for this code, which runs once: the trigger that led
        // here is gone.
        let control = unsafe { sys::inherited(0) }?;
        // SAFETY: as above.
        let parents_life = unsafe { sys::inherited(1) }?;
        // SAFETY: as above.
        let memory = unsafe { sys::inherited(2) }?;
        sys::set_name("multiproc-fork");
        let held = lifeline::hold(lifeline::share_again(parents_life.as_handle())?)?;
        Ok(Server {
            parent,
            control: Socket::inherited(control, parent)?,
            parents_life,
            held,
            number: SharedNumber::open_here_alone(&memory)?,
            nowhere: sys::open_nowhere().ok(),
            title,
            environment: startup::own_environment(),
            kept: true,
        })
    }

    fn run(mut self) -> ! {
        // The identity is computed once, for all children.
        startup::identity();
        let mut sibling = self.prepare();
        let mut bytes = Vec::new();
        let mut life = None;
        loop {
            // While nobody waits for it; what goes wrong goes wrong again when it is needed.
            life = life.or_else(|| self.life().ok());
            let handles = match self.control.receive(&mut bytes, Deadline::NEVER) {
                Ok(Received::Message(handles)) => handles,
                // The parent has ended, or a request has lost its handles since this process may open too few:
                // another server may open what the parent may now.
                _ => child::end(0),
            };
            match Request::from_bytes(&bytes) {
                Some(Request::Fork {
                    session,
                    environment,
                    streams,
                    order,
                }) => {
                    let wanted = Wanted::new(session, environment, streams, order, handles);
                    let life = life.take().map_or_else(|| self.life(), Ok);
                    match (&sibling, life, wanted) {
                        (Ok(sibling), Ok(life), Ok(wanted)) => {
                            self = self.fork(sibling, life, wanted);
                        }
                        (Err(error), ..) => self.answer(&failed(error)),
                        (_, Err(error), _) | (.., Err(error)) => self.answer(&failed(&error)),
                    };
                }
                Some(Request::Preload) => {
                    preload(handles);
                    sibling = self.prepare();
                }
                None => self.answer(&failed(&io::Error::other("it got a request that is none"))),
            }
        }
    }

    /// What a child holds on to.
    fn life(&self) -> io::Result<OwnedHandle> {
        lifeline::share_again(self.parents_life.as_handle())
    }

    /// After code of others has run here: whether that has left threads behind or changed the environment.
    fn prepare(&mut self) -> io::Result<Sibling> {
        self.kept = self.environment == startup::own_environment();
        sys::flush_streams();
        Sibling::new()
    }

    /// Steps d and e; returns in the server only.
    fn fork(self, sibling: &Sibling, life: OwnedHandle, wanted: Wanted) -> Server {
        // SAFETY: this process has one thread, as `Sibling::new` has found after all that could have started
        // one; it holds no lock here, and nothing of this server is used by the child but what follows.
        match unsafe { sibling.fork(self.number.word()) } {
            Ok(Fork::Parent) => {
                self.answer(FORKED);
                self
            }
            Err(error) => {
                self.answer(&failed(&error));
                self
            }
            Ok(Fork::Child) => self.become_child(life, wanted),
        }
    }

    /// Step e.
    fn become_child(self, life: OwnedHandle, wanted: Wanted) -> ! {
        let Server {
            parent,
            control,
            parents_life,
            held,
            number,
            nowhere,
            title,
            environment: servers,
            kept,
        } = self;
        let Wanted {
            link,
            mut place,
            environment,
            order,
        } = wanted;
        // Not mapped here: there is nothing to unmap.
        let _number = ManuallyDrop::new(number);
        // Each of its strings that is freed is a page of the server's that this process has to copy.
        let servers = ManuallyDrop::new(servers);
        // The server's, and not to be kept open or written to from here.
        drop((control, parents_life));
        match (&place.streams[0], nowhere) {
            (Stdio::Null, Some(nowhere)) => place.streams[0] = Stdio::Handle(nowhere),
            (_, nowhere) => drop(nowhere),
        }
        // SAFETY: in a forked child, of what the server holds, which nothing here uses.
        unsafe { lifeline::close_copy(held) };
        // SAFETY: in the child, of which this thread is the only one. What the server's preload may have
        // started are the server's children, and its pipe is let go of.
        unsafe { lifeline::after_fork() };
        registry::after_fork(registry::children());
        let enter = |link: &Link| {
            let sent;
            let wanted = match environment {
                Environment::Sent => {
                    sent = child::receive_environment(link)?;
                    &sent
                }
                Environment::Servers if kept => return Ok(()),
                Environment::Servers => &*servers,
            };
            // SAFETY: in the child, of which this thread is the only one.
            unsafe { hook::replace_environment(wanted) };
            Ok(())
        };
        let (link, task) = startup::begin_forked(link.into(), order, life, parent, place, enter);
        if let Some(title) = title {
            // SAFETY: the parent gives the server no argument but its name; no other thread runs here.
            unsafe { title.show(task.order.name.as_bytes()) };
        }
        child::run(link, task)
    }

    fn answer(&self, bytes: &[u8]) {
        // A parent that does not listen any more has ended, and so does this process.
        let _heard = self.control.send(bytes, &[], Deadline::NEVER);
    }
}

impl Wanted {
    fn new(
        session: bool,
        environment: Environment,
        streams: [StreamKind; 3],
        order: Order<'_>,
        handles: Vec<OwnedHandle>,
    ) -> io::Result<Wanted> {
        let mut handles = handles.into_iter();
        let (Some(link), Some(folder)) = (handles.next(), handles.next()) else {
            return Err(io::Error::other("it got a request without handles"));
        };
        let streams = streams.map(|kind| match (kind, handles.as_slice().is_empty()) {
            (StreamKind::Handle, false) => handles.next().map_or(Stdio::Null, Stdio::Handle),
            _ => Stdio::Null,
        });
        Ok(Wanted {
            link,
            place: Place {
                streams,
                folder: Some(folder),
                session,
            },
            environment,
            order: match order {
                Order::Here(order) => Some(child::order_of_a_fork(order)),
                Order::Sent => None,
            },
        })
    }
}

/// Calls the function of the order that is on the link, and reports on it.
fn preload(handles: Vec<OwnedHandle>) {
    let Some(link) = handles.into_iter().next() else {
        return;
    };
    let link = Link::from(link);
    let done = child::receive_order(&link).and_then(|task| child::carry_out(&link, task));
    if let Err(why) = done {
        child::report_refusal(&link, &why);
    }
}
