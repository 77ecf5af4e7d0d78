//! The secret that both sides share.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Why};

/// The secret by which the two sides of a connection know each other.
///
/// It is a serde value, so that it can be part of a child's argument; in a log or a file it is no secret any more.
/// It never goes over the connection itself. Whoever overhears a handshake can try keys on it at leisure: one made
/// by [`random`](Key::random) cannot be guessed, a word can.
#[doc(alias = "authkey")]
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>")]
pub struct Key(Vec<u8>);

impl Key {
    /// A key that both sides know from elsewhere.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for one without a byte.
    ///
    /// # Differences from Python
    /// `multiprocessing` takes the empty key, and in one process all listeners and clients the same one.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Key, Error> {
        let secret = secret.into();
        if secret.is_empty() {
            return Err(Why::EmptyKey.into());
        }
        Ok(Key(secret))
    }

    /// A new key of 32 random bytes.
    ///
    /// # Errors
    /// Where the system has no randomness to give.
    pub fn random() -> io::Result<Key> {
        let mut secret = vec![0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        Ok(Key(secret))
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Key {
    type Error = Error;

    fn try_from(secret: Vec<u8>) -> Result<Key, Error> {
        Key::new(secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}
