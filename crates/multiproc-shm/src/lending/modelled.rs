//! A process as the model checker sees it: a thread. Who finds a dead thread's note finds its process over, so
//! that waiting for the rest of a process is not modelled.

use multiproc_sync::Deadline;
use multiproc_sync::primitive::thread_id;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64);

impl Identity {
    pub(super) fn own() -> Identity {
        Identity(thread_id().into())
    }

    pub(super) fn from_bits(bits: u64) -> Option<Identity> {
        (bits != 0).then_some(Identity(bits))
    }

    pub(super) fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) fn pid(self) -> u32 {
        u32::try_from(self.0).expect("a thread's id")
    }

    pub(super) fn wait_until_over(self, _deadline: Deadline) -> bool {
        true
    }
}
