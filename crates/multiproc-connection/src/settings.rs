//! What both sides of a connection agree on, and how long they wait for each other.

use std::time::Duration;

use crate::error::{Error, Why};
use crate::key::Key;

/// How long a handshake takes at most, unless asked otherwise.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The longest message that is taken in, unless asked otherwise.
const MAX_MESSAGE: usize = 1 << 30;
/// The most bytes of a protocol's name.
pub(crate) const MAX_PROTOCOL: usize = 64;

/// A [`Key`], and what else a listener and its clients agree on.
///
/// Made from a key alone where nothing else matters.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) key: Key,
    pub(crate) protocol: String,
    pub(crate) same_build: bool,
    pub(crate) any_user: bool,
    pub(crate) handshake: Duration,
    pub(crate) max_message: usize,
}

impl Settings {
    /// With this key, and everything else as it is without being asked for.
    #[must_use]
    pub fn new(key: &Key) -> Settings {
        Settings {
            key: key.clone(),
            protocol: String::new(),
            same_build: false,
            any_user: false,
            handshake: HANDSHAKE,
            max_message: MAX_MESSAGE,
        }
    }

    /// What is spoken, such as `"shop 3"`: both sides must name the same. Messages do not say of what type they are,
    /// so this is what tells a client that its listener has moved on to others.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for more than 64 bytes.
    pub fn protocol(mut self, name: &str) -> Result<Settings, Error> {
        if name.len() > MAX_PROTOCOL {
            return Err(Why::LongProtocol(name.len()).into());
        }
        name.clone_into(&mut self.protocol);
        Ok(self)
    }

    /// Whether the other side must be the same build of the same program. Shared arrays, senders and the like travel
    /// between such only; other values between all.
    #[must_use]
    pub fn same_build(mut self, must: bool) -> Settings {
        self.same_build = must;
        self
    }

    /// Whether a listener at a path takes in processes of other users than its own and the superuser. Others are
    /// refused whatever they know, unless asked otherwise.
    #[must_use]
    pub fn any_user(mut self, may: bool) -> Settings {
        self.any_user = may;
        self
    }

    /// How long the handshake takes at most; for a client, with its waiting for a listener that is busy. Ten seconds
    /// unless asked otherwise.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Settings {
        self.handshake = timeout;
        self
    }

    /// The longest message that is sent or taken in, in bytes of its encoded form. 1 GiB unless asked otherwise.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Settings {
        self.max_message = bytes;
        self
    }
}

impl From<Key> for Settings {
    fn from(key: Key) -> Settings {
        Settings::new(&key)
    }
}

impl From<&Key> for Settings {
    fn from(key: &Key) -> Settings {
        Settings::new(key)
    }
}

impl From<&Settings> for Settings {
    fn from(settings: &Settings) -> Settings {
        settings.clone()
    }
}
