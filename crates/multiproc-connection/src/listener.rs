//! The side that is connected to.
//!
//! Handshakes run side by side inside [`Listener::accept`], in one loop that waits for nobody in particular: one that
//! never speaks costs a descriptor until its deadline, and delays nobody. There is no thread.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{AsHandle, BorrowedHandle, Interest, Readiness, poll_slice};
use multiproc_sys::stream::{Acceptor, Stream, owner_only};
use tempfile::TempDir;

use crate::address::Address;
use crate::connection::{Connection, Peer};
use crate::error::{Error, Why};
use crate::hello::Role;
use crate::pending::{Known, Pending};
use crate::settings::Settings;

/// How many handshakes may be under way. One more, and the oldest is given up: a flood of the silent
/// cannot keep out who speaks at once.
const HANDSHAKES: usize = 128;

/// Takes in connections of [`Client`](crate::Client)s that have the same key.
///
/// Dropped, it listens no more; connections that it has accepted go on. See the [crate] for an example.
///
/// # Differences from Python
/// Who fails to authenticate is not an error of `accept`, which goes on to the next: else a stranger could end a
/// program. [`refused`](Self::refused) counts them and [`last_refusal`](Self::last_refusal) says why. Many clients are
/// served at once, and a silent one holds up nobody. There are no abstract sockets, which any process may open.
#[doc(alias = "multiprocessing.connection.Listener")]
#[derive(Debug)]
pub struct Listener {
    acceptor: Acceptor,
    address: Address,
    settings: Settings,
    /// The oldest first, which is the order of their deadlines.
    pending: VecDeque<Pending>,
    refused: u64,
    last_refusal: Option<Refusal>,
    /// After the acceptor, whose socket is in it.
    _folder: Option<TempDir>,
}

/// Somebody who was not let in.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// Who it was, as far as that is known.
    pub peer: Peer,
    /// Why.
    pub error: Error,
}

impl Listener {
    /// Listens at a Unix socket in a new folder of the temporary directory, which this user alone may enter.
    ///
    /// Folder and socket are removed when the listener is dropped. Where the process is killed, they stay: an empty
    /// socket that nobody listens at.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io): no folder could be made, or its path is too long for a socket.
    pub fn local(settings: impl Into<Settings>) -> Result<Listener, Error> {
        let made = tempfile::Builder::new()
            .prefix("multiproc-")
            .permissions(owner_only())
            .tempdir();
        let folder = made.map_err(|error| Why::Io("cannot make a folder for a socket", error))?;
        let address = Address::Unix(folder.path().join("socket"));
        let mut listener = Listener::bind(&address, settings)?;
        listener._folder = Some(folder);
        Ok(listener)
    }

    /// Listens at a free TCP port of this machine, which no other machine can reach.
    ///
    /// Nothing is encrypted: who may read this machine's network traffic reads all messages, and who may change it
    /// changes them.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io): there is no free port.
    pub fn tcp(settings: impl Into<Settings>) -> Result<Listener, Error> {
        Listener::bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(), settings)
    }

    /// Listens at an address of one's choice.
    ///
    /// At a path, whoever may enter its folder may connect; of them, processes of this user and of the superuser are
    /// let in, unless [`any_user`](Settings::any_user) says otherwise. Over TCP it is the key alone that keeps
    /// others out, and nothing is encrypted on the way.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io): something is at that address already, or may not be.
    pub fn bind(address: &Address, settings: impl Into<Settings>) -> Result<Listener, Error> {
        let told = |error| Why::Address {
            doing: "listen at",
            address: address.clone(),
            error,
        };
        let (acceptor, address) = match address {
            Address::Unix(path) => (Acceptor::local(path).map_err(told)?, address.clone()),
            Address::Tcp(wanted) => {
                let acceptor = Acceptor::tcp(*wanted).map_err(told)?;
                let address = acceptor.tcp_address().map_err(told)?;
                (acceptor, Address::Tcp(address))
            }
        };
        Ok(Listener {
            acceptor,
            address,
            settings: settings.into(),
            pending: VecDeque::new(),
            refused: 0,
            last_refusal: None,
            _folder: None,
        })
    }

    /// Where it listens: what clients need, besides the key.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many were not let in: with another key, protocol or build, of another user, silent until their deadline,
    /// or gone half-way.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The last one who was not let in.
    #[must_use]
    pub fn last_refusal(&self) -> Option<&Refusal> {
        self.last_refusal.as_ref()
    }

    /// The next client that has the key, waited for as long as it takes.
    ///
    /// Nothing of what a client sends is decoded before it has proved that.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io): the system has no more descriptors or memory to give. Clients wait on.
    pub fn accept<S, R>(&mut self) -> Result<Connection<S, R>, Error> {
        self.accept_until(Deadline::NEVER)
    }

    /// The next client that has the key, waited for at most this long.
    ///
    /// # Errors
    /// As [`accept`](Self::accept), and [`TimedOut`](crate::ErrorKind::TimedOut).
    pub fn accept_timeout<S, R>(&mut self, timeout: Duration) -> Result<Connection<S, R>, Error> {
        self.accept_until(Deadline::after(timeout))
    }

    fn accept_until<S, R>(&mut self, until: Deadline) -> Result<Connection<S, R>, Error> {
        loop {
            if let Some(known) = self.advance() {
                return Ok(Connection::new(known.stream, known.peer, known.max_message));
            }
            self.take_in()?;
            self.expire();
            let next = self.pending.front().map_or(Deadline::NEVER, Pending::until);
            if !self.wait(until.or(next))? && until.has_passed() {
                return Err(Why::TimedOut("no client connected").into());
            }
        }
    }

    /// Goes on with each handshake as far as that goes without waiting, until one is through.
    fn advance(&mut self) -> Option<Known> {
        let mut at = 0;
        while let Some(pending) = self.pending.get_mut(at) {
            match pending.advance() {
                Ok(None) => at += 1,
                Ok(Some(same_build)) => {
                    return self
                        .pending
                        .remove(at)
                        .map(|pending| pending.into_known(same_build));
                }
                Err(error) => self.refuse(at, error),
            }
        }
        None
    }

    /// Begins a handshake with each who has connected.
    fn take_in(&mut self) -> Result<(), Error> {
        let failed = |error| Why::Io("cannot take in a connection", error);
        // Some at a time, so that a flood does not keep those from ending who have begun.
        for _ in 0..HANDSHAKES {
            let Some((stream, from)) = self.acceptor.accept().map_err(failed)? else {
                break;
            };
            self.begin(stream, from);
            if self.pending.len() > HANDSHAKES {
                self.refuse(0, Why::TimedOut("the handshake did not end").into());
            }
        }
        Ok(())
    }

    fn begin(&mut self, stream: Stream, from: Option<SocketAddr>) {
        let peer = Peer::of(&stream, from);
        let until = Deadline::after(self.settings.handshake);
        match Pending::new(stream, peer.clone(), Role::Server, &self.settings, until) {
            Ok(pending) => match peer
                .user
                .filter(|_| !self.settings.any_user && !peer.is_trusted)
            {
                None => self.pending.push_back(pending),
                Some(user) => self.note(peer, pending.refuse_user(user)),
            },
            Err(error) => self.note(peer, error),
        }
    }

    /// Gives up those whose time is over.
    fn expire(&mut self) {
        while self
            .pending
            .front()
            .is_some_and(|oldest| oldest.until().has_passed())
        {
            self.refuse(0, Why::TimedOut("the handshake did not end").into());
        }
    }

    fn refuse(&mut self, at: usize, error: Error) {
        if let Some(pending) = self.pending.remove(at) {
            self.note(pending.peer().clone(), error);
        }
    }

    fn note(&mut self, peer: Peer, error: Error) {
        self.refused += 1;
        self.last_refusal = Some(Refusal { peer, error });
    }

    /// Waits until somebody connects or says something. `false` at the deadline.
    fn wait(&self, until: Deadline) -> Result<bool, Error> {
        let acceptor = [(self.acceptor.as_handle(), Interest::Read)];
        let pending = self
            .pending
            .iter()
            .map(|pending| (pending.as_handle(), Interest::Read));
        let handles: Vec<(BorrowedHandle<'_>, Interest)> =
            acceptor.into_iter().chain(pending).collect();
        let mut found = vec![Readiness::default(); handles.len()];
        poll_slice(&handles, &mut found, until)
            .map_err(|error| Why::Io("cannot wait for connections", error))?;
        Ok(found.iter().any(|found| found.any()))
    }
}
