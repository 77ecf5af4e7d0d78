//! A cap on a child's memory: by a control group where this process may make one, else by a limit of its address space.

use std::io;

use multiproc_sys::cgroup::{Home, MemoryGroup};
use multiproc_sys::limits::Resource;

use crate::restrictions::Restrictions;

/// By what a child's memory is [capped](crate::Builder::memory_limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryCap {
    /// By a control group of its own: what it and all that it starts have in use, each page once. The kernel kills all
    /// of them where that does not suffice, and the status says so
    /// ([`ExitStatus::out_of_memory`](crate::ExitStatus::out_of_memory)).
    ControlGroup,
    /// By the limit of [`Resource::AddressSpace`]: what it reserves counts, used or not, each process that it starts has
    /// as much again, and memory that they share counts in each. An allocation beyond it fails; where the function does
    /// not expect that (`Vec::try_reserve` does) the child aborts.
    AddressSpace,
}

/// Has a child with these restrictions use no more than `most` bytes.
pub(crate) fn cap(most: u64, restrictions: &mut Restrictions) -> (MemoryCap, Option<MemoryGroup>) {
    // Whatever is in the way, there is the other.
    if let Ok(group) = home().and_then(|home| MemoryGroup::create(&home, most)) {
        restrictions.group = Some(group.path().into());
        return (MemoryCap::ControlGroup, Some(group));
    }
    restrictions.lower(Resource::AddressSpace, most);
    (MemoryCap::AddressSpace, None)
}

#[cfg(not(test))]
fn home() -> io::Result<Home> {
    Home::own()
}

#[cfg(test)]
fn home() -> io::Result<Home> {
    tests::home().map_or_else(Home::own, Ok)
}

#[cfg(test)]
mod tests;
