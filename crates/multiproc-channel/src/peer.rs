//! What is known of how the other side ended.

use std::fmt;

use multiproc_sys::wait::ExitStatus;

/// How the other side of a channel ended: in good order, or by dying with its end open, which is known of
/// processes only, and not always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerEnd {
    death: Option<Death>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Death {
    pid: u32,
    status: Option<ExitStatus>,
}

impl PeerEnd {
    /// It closed its end, or nothing else is known.
    pub(crate) const CLOSED: PeerEnd = PeerEnd { death: None };

    /// This process had an end, and did not close it.
    pub(crate) fn of_death(pid: u32, status: Option<ExitStatus>) -> PeerEnd {
        PeerEnd {
            death: Some(Death { pid, status }),
        }
    }

    /// Whether a process on the other side is known to have ended without closing its end.
    #[must_use]
    pub fn died(&self) -> bool {
        self.death.is_some()
    }

    /// The process that ended without closing its end, or the last of them.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.death.map(|death| death.pid)
    }

    /// How that process ended, where the system still knows: for children that nobody has waited for yet.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.death.and_then(|death| death.status)
    }
}

/// A half-sentence to go behind "is gone", or nothing.
impl fmt::Display for PeerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.death {
            None => Ok(()),
            Some(Death { pid, status: None }) => {
                write!(f, ": process {pid} ended without closing it")
            }
            Some(Death {
                pid,
                status: Some(status),
            }) => write!(f, ": process {pid} ended without closing it, {status}"),
        }
    }
}
