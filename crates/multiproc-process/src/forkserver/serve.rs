//! The fork server's own side: one thread, before `main`, from its start to the end of the control socket.

use std::io;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use multiproc_sys::hook::{self, Start, Title};
use multiproc_sys::process::{self as sys, Fork, SharedNumber, Sibling, Stdio};
use multiproc_sys::socket::{Received, Socket};
use multiproc_sys::{lifeline, signal};
use multiproc_wire::Link;

use super::protocol::{Environment, FORKED, Request, StreamKind, failed};
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
    title: Option<Title>,
    /// What this process was started with, …
    environment: startup::Environment,
    /// … and whether that is still its own, and so each child's.
    kept: bool,
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
            number: SharedNumber::open(&memory)?,
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
        loop {
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
                }) => {
                    match &sibling {
                        Ok(sibling) => {
                            self = self.fork(sibling, session, environment, streams, handles);
                        }
                        Err(error) => self.answer(&failed(error)),
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

    /// After code of others has run here: whether that has left threads behind or changed the environment.
    fn prepare(&mut self) -> io::Result<Sibling> {
        self.kept = self.environment == startup::own_environment();
        sys::flush_streams();
        Sibling::new()
    }

    /// Steps d and e; returns in the server only.
    fn fork(
        self,
        sibling: &Sibling,
        session: bool,
        environment: Environment,
        streams: [StreamKind; 3],
        handles: Vec<OwnedHandle>,
    ) -> Server {
        let mut handles = handles.into_iter();
        let (Some(link), Some(folder)) = (handles.next(), handles.next()) else {
            self.answer(&failed(&io::Error::other(
                "it got a request without handles",
            )));
            return self;
        };
        let streams = streams.map(|kind| match (kind, handles.as_slice().is_empty()) {
            (StreamKind::Handle, false) => handles.next().map_or(Stdio::Null, Stdio::Handle),
            _ => Stdio::Null,
        });
        let place = Place {
            streams,
            folder: Some(folder),
            session,
        };
        let life = match lifeline::share_again(self.parents_life.as_handle()) {
            Ok(life) => life,
            Err(error) => {
                self.answer(&failed(&error));
                return self;
            }
        };
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
            Ok(Fork::Child) => self.become_child(place, environment, life, link),
        }
    }

    /// Step e.
    fn become_child(
        self,
        place: Place,
        environment: Environment,
        life: OwnedHandle,
        link: OwnedHandle,
    ) -> ! {
        let Server {
            parent,
            control,
            parents_life,
            held,
            number,
            title,
            environment: servers,
            kept,
        } = self;
        // The server's, and not to be kept open or written to from here.
        drop((control, number, parents_life));
        // SAFETY: in a forked child, of what the server holds, which nothing here uses.
        unsafe { lifeline::close_copy(held) };
        // SAFETY: in the child, of which this thread is the only one. What the server's preload may have
        // started are the server's children, and its pipe is let go of.
        unsafe { lifeline::after_fork() };
        registry::after_fork(registry::children());
        let enter = |link: &Link| {
            let wanted = match environment {
                Environment::Sent => child::receive_environment(link)?,
                Environment::Servers if kept => return Ok(()),
                Environment::Servers => servers,
            };
            // SAFETY: in the child, of which this thread is the only one.
            unsafe { hook::replace_environment(&wanted) };
            Ok(())
        };
        let (link, task) = startup::begin_forked(link.into(), life, parent, place, enter);
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
