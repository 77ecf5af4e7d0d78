//! Where a listener is.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Why};

/// Where a listener is: a serde value, and a text such as `unix:/run/shop/socket` or `tcp:127.0.0.1:4000`.
///
/// ```
/// # use multiproc_connection::Address;
/// let address: Address = "tcp:127.0.0.1:4000".parse()?;
/// assert_eq!(address, Address::Tcp(([127, 0, 0, 1], 4000).into()));
/// # Ok::<(), multiproc_connection::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Address {
    /// A socket of this machine, by its path. Files, sockets and shared objects can travel over it.
    Unix(PathBuf),
    /// A TCP port. Nothing on the way is encrypted.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let parsed = match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Some(Address::Unix(path.into())),
            Some(("tcp", address)) => address.parse().ok().map(Address::Tcp),
            _ => None,
        };
        parsed.ok_or_else(|| Why::NoAddress(text.to_owned()).into())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path)
    }
}
