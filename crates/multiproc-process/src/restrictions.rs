//! What a child may use: asked for by the builder, carried by the order, applied by the child itself
//! before any code of the program runs in it.

use std::ffi::OsString;
use std::path::Path;

use multiproc_sys::cgroup;
use multiproc_sys::limits::{self, Resource};
use multiproc_sys::process as sys;
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Restrictions {
    pub(crate) affinity: Option<Vec<usize>>,
    pub(crate) niceness: Option<i32>,
    pub(crate) umask: Option<u32>,
    /// The path of the control group that it enters.
    pub(crate) group: Option<OsString>,
    /// Places in [`Resource::ALL`], and how much.
    limits: Vec<(usize, u64)>,
}

impl Restrictions {
    /// The last word on a resource holds.
    pub(crate) fn limit(&mut self, resource: Resource, most: u64) {
        let place = Resource::ALL.iter().position(|known| *known == resource);
        let place = place.expect("all of them are there");
        self.limits.retain(|(other, _)| *other != place);
        self.limits.push((place, most));
    }

    /// No more than this, nor than was asked for.
    pub(crate) fn lower(&mut self, resource: Resource, most: u64) {
        let asked = self.most(resource).unwrap_or(most);
        self.limit(resource, most.min(asked));
    }

    /// Applies them to this process; what could not be, and why.
    pub(crate) fn apply(&self) -> Result<(), String> {
        let said = |error: std::io::Error| error.to_string();
        // First: what is used from here on counts there.
        if let Some(group) = &self.group {
            cgroup::enter(Path::new(group)).map_err(|error| {
                format!(
                    "the control group {} cannot be entered: {error}",
                    group.display()
                )
            })?;
        }
        if let Some(cpus) = &self.affinity {
            limits::set_affinity(cpus).map_err(said)?;
        }
        if let Some(niceness) = self.niceness {
            limits::set_niceness(niceness).map_err(said)?;
        }
        if let Some(mask) = self.umask {
            limits::set_umask(mask).map_err(said)?;
        }
        // Asked first: where few files may be open, it cannot be asked any more.
        let address_space = self.most(Resource::AddressSpace);
        let taken = address_space.map(|most| (most, limits::address_space_in_use()));
        for (place, most) in &self.limits {
            let resource = *Resource::ALL.get(*place).ok_or("an unknown resource")?;
            limits::set_limit(resource, *most).map_err(said)?;
        }
        match taken {
            Some((most, taken)) => check_address_space(most, taken.map_err(said)?),
            None => Ok(()),
        }
    }

    fn most(&self, resource: Resource) -> Option<u64> {
        let mut limits = self.limits.iter();
        let limit = limits.find(|(place, _)| Resource::ALL.get(*place) == Some(&resource));
        limit.map(|(_, most)| *most)
    }
}

/// A program that has no room for its function would end in some confusing way.
fn check_address_space(most: u64, taken: u64) -> Result<(), String> {
    let stack = sys::main_stack_size() as u64;
    if taken.saturating_add(stack) <= most {
        return Ok(());
    }
    Err(format!(
        "address space is limited to {most} bytes, and the program takes {taken} before its function is \
         called, and {stack} for the stack"
    ))
}
