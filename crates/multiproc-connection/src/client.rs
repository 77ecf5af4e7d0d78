//! The side that connects.

use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::{Interest, poll};
use multiproc_sys::stream::Stream;

use crate::address::Address;
use crate::connection::{Connection, Peer};
use crate::error::{Error, Why};
use crate::hello::Role;
use crate::pending::Pending;
use crate::settings::Settings;

/// Connects to a [`Listener`](crate::Listener).
#[derive(Debug)]
pub enum Client {}

impl Client {
    /// Connects, and returns when both sides have proved that they have the key.
    ///
    /// # Errors
    /// - [`Io`](crate::ErrorKind::Io) where nobody listens, or may be connected to;
    /// - [`WrongKey`](crate::ErrorKind::WrongKey), [`WrongProtocol`](crate::ErrorKind::WrongProtocol),
    ///   [`WrongVersion`](crate::ErrorKind::WrongVersion), [`OtherBuild`](crate::ErrorKind::OtherBuild),
    ///   [`OtherUser`](crate::ErrorKind::OtherUser), [`NotThisProtocol`](crate::ErrorKind::NotThisProtocol);
    /// - [`TimedOut`](crate::ErrorKind::TimedOut) where the listener has not answered by
    ///   [`handshake_timeout`](Settings::handshake_timeout): it answers only while somebody accepts;
    /// - [`Truncated`](crate::ErrorKind::Truncated) where it went away in the middle.
    #[doc(alias = "multiprocessing.connection.Client")]
    pub fn connect<S, R>(
        address: &Address,
        settings: impl Into<Settings>,
    ) -> Result<Connection<S, R>, Error> {
        let settings = settings.into();
        let until = Deadline::after(settings.handshake);
        let (stream, tcp) = match address {
            Address::Unix(path) => (Stream::connect_local(path, until), None),
            Address::Tcp(tcp) => (Stream::connect_tcp(*tcp, until), Some(*tcp)),
        };
        let told = |error| Why::Address {
            doing: "connect to",
            address: address.clone(),
            error,
        };
        let stream = stream.map_err(told)?;
        let peer = Peer::of(&stream, tcp);
        let mut pending = Pending::new(stream, peer, Role::Client, &settings, until)?;
        loop {
            if let Some(same_build) = pending.advance()? {
                let known = pending.into_known(same_build);
                return Ok(Connection::new(known.stream, known.peer, known.max_message));
            }
            let [found] = poll([(pending.as_handle(), Interest::Read)], until).map_err(told)?;
            if !found.any() {
                return Err(Why::TimedOut("the listener has not answered").into());
            }
        }
    }
}
