//! What each side says of itself before anything else.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..10 | version of this protocol, little-endian; these ten bytes are the same in every version |
//! | 10 | role |
//! | 11 | how many bytes the protocol's name has |
//! | 12..76 | the protocol's name, then zeroes |
//! | 76..108 | SHA-256 of what identifies the build |
//! | 108..140 | random bytes, new for each connection |

use std::io;

use sha2::{Digest, Sha256};

use crate::error::{Error, Why};
use crate::settings::MAX_PROTOCOL;

pub(crate) const MAGIC: [u8; 8] = *b"mpconn\r\n";
pub(crate) const VERSION: u16 = 1;
/// How many bytes of a hello are the same in every version.
pub(crate) const COMMON: usize = 10;
pub(crate) const LENGTH: usize = 140;

const PROTOCOL: usize = 12;
const BUILD: usize = PROTOCOL + MAX_PROTOCOL;
const NONCE: usize = BUILD + 32;

/// Which side of a connection one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client = 1,
    Server = 2,
}

/// What one side says of itself, as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Hello([u8; LENGTH]);

impl Hello {
    /// This process's, for one connection.
    pub(crate) fn new(role: Role, protocol: &str) -> io::Result<Hello> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let name = protocol.as_bytes();
        let mut hello = [0; LENGTH];
        hello[..8].copy_from_slice(&MAGIC);
        hello[8..COMMON].copy_from_slice(&VERSION.to_le_bytes());
        hello[10] = role as u8;
        hello[11] = u8::try_from(name.len()).map_err(io::Error::other)?;
        hello[PROTOCOL..][..name.len()].copy_from_slice(name);
        hello[BUILD..NONCE].copy_from_slice(&build());
        hello[NONCE..].copy_from_slice(&nonce);
        Ok(Hello(hello))
    }

    /// Judges as many bytes of a hello as have come: whether they can become one.
    pub(crate) fn begins(bytes: &[u8]) -> Result<(), Error> {
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(Why::NotThisProtocol.into());
        }
        if let Some([.., low, high]) = bytes.get(..COMMON) {
            let theirs = u16::from_le_bytes([*low, *high]);
            if theirs != VERSION {
                return Err(Why::WrongVersion {
                    ours: VERSION,
                    theirs,
                }
                .into());
            }
        }
        Ok(())
    }

    /// The hello of somebody in that role.
    pub(crate) fn parse(bytes: [u8; LENGTH], role: Role) -> Result<Hello, Error> {
        Hello::begins(&bytes)?;
        let hello = Hello(bytes);
        if bytes[10] != role as u8 || hello.protocol().is_none() {
            return Err(Why::NotThisProtocol.into());
        }
        Ok(hello)
    }

    pub(crate) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The protocol's name; `None` where it is none.
    pub(crate) fn protocol(&self) -> Option<&str> {
        let name = self.0[PROTOCOL..BUILD].get(..usize::from(self.0[11]))?;
        std::str::from_utf8(name).ok()
    }

    pub(crate) fn is_same_build(&self, other: &Hello) -> bool {
        self.0[BUILD..NONCE] == other.0[BUILD..NONCE]
    }
}

/// What tells this build of this program from others.
fn build() -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(multiproc_sys::image::main_identity());
    hash.finalize().into()
}
