//! `setrlimit`, `setpriority`, `sched_setaffinity`, `umask`.

use std::fmt;
use std::fs;
use std::io;

use crate::syscall::check;

/// What a process can be given so much of and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Descriptors open at once (`RLIMIT_NOFILE`).
    OpenFiles,
    /// Bytes of a core dump; none is made where it is 0 (`RLIMIT_CORE`).
    CoreSize,
    /// Seconds of computing, by all threads together. `SIGXCPU` ends the process then, and `SIGKILL` a
    /// second later if that was handled (`RLIMIT_CPU`).
    CpuSeconds,
    /// Bytes of address space, used or only reserved; more is not given (`RLIMIT_AS`).
    AddressSpace,
    /// Bytes of each file that is written, shared memory included; writing on ends the process by
    /// `SIGXFSZ` (`RLIMIT_FSIZE`).
    FileSize,
    /// Bytes of private memory that can be written; more is not given (`RLIMIT_DATA`).
    Data,
    /// Bytes of stack (`RLIMIT_STACK`).
    Stack,
    /// Processes and threads of the user, all those count that run already (`RLIMIT_NPROC`).
    Processes,
    /// Bytes of memory kept from being swapped out (`RLIMIT_MEMLOCK`).
    LockedMemory,
}

impl Resource {
    /// All of them; a place in it stands for the resource where it has to travel.
    pub const ALL: [Resource; 9] = [
        Resource::OpenFiles,
        Resource::CoreSize,
        Resource::CpuSeconds,
        Resource::AddressSpace,
        Resource::FileSize,
        Resource::Data,
        Resource::Stack,
        Resource::Processes,
        Resource::LockedMemory,
    ];

    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Resource::OpenFiles => libc::RLIMIT_NOFILE,
            Resource::CoreSize => libc::RLIMIT_CORE,
            Resource::CpuSeconds => libc::RLIMIT_CPU,
            Resource::AddressSpace => libc::RLIMIT_AS,
            Resource::FileSize => libc::RLIMIT_FSIZE,
            Resource::Data => libc::RLIMIT_DATA,
            Resource::Stack => libc::RLIMIT_STACK,
            Resource::Processes => libc::RLIMIT_NPROC,
            Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

impl fmt::Display for Resource {
    /// "open files", "CPU seconds".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::OpenFiles => "open files",
            Resource::CoreSize => "the size of core dumps",
            Resource::CpuSeconds => "CPU seconds",
            Resource::AddressSpace => "address space",
            Resource::FileSize => "the size of files",
            Resource::Data => "private memory",
            Resource::Stack => "stack",
            Resource::Processes => "processes",
            Resource::LockedMemory => "locked memory",
        })
    }
}

/// Gives this process `most` of a resource, with no way to raise it again but by privilege; `u64::MAX` is
/// no limit.
///
/// # Errors
/// `PermissionDenied` for more than what this process may have.
pub fn set_limit(resource: Resource, most: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is live and the call fills it.
    check(unsafe { libc::getrlimit(resource.number(), &raw mut limit) })?;
    let allowed = limit.rlim_max;
    let hard = match resource {
        // At the hard limit the kernel kills, without the signal that tells why.
        Resource::CpuSeconds => most.saturating_add(1).min(allowed).max(most),
        _ => most,
    };
    limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: hard,
    };
    // SAFETY: `limit` is live.
    check(unsafe { libc::setrlimit(resource.number(), &raw const limit) })
        .map(drop)
        .map_err(|error| {
            said(
                format!("{resource} cannot be limited to {most} (at most {allowed} are allowed)"),
                &error,
            )
        })
}

/// How many bytes of address space this process takes now.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn address_space_in_use() -> io::Result<u64> {
    in_use(0)
}

/// How many bytes of memory this process has in use now, shared memory that it has touched among them.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn memory_in_use() -> io::Result<u64> {
    in_use(1)
}

/// A number of pages of `/proc/self/statm`, in bytes.
fn in_use(field: usize) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = text
        .split(' ')
        .nth(field)
        .and_then(|pages| pages.parse().ok());
    // SAFETY: takes no pointer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages
        .and_then(|pages| pages.checked_mul(u64::try_from(page).ok()?))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "/proc/self/statm is not as expected",
            )
        })
}

/// Sets how much others go before this thread, and what it starts from now on: from -20, before all others,
/// to 19, after them.
///
/// # Errors
/// `InvalidInput` for another number, `PermissionDenied` for a lower one than the present.
pub fn set_niceness(niceness: i32) -> io::Result<()> {
    if !(-20..=19).contains(&niceness) {
        return Err(invalid(format!(
            "a niceness of {niceness} is not between -20 and 19"
        )));
    }
    // SAFETY: no pointer is passed.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) })
        .map(drop)
        .map_err(|error| said(format!("niceness cannot be set to {niceness}"), &error))
}

/// The CPUs that this thread, and what it starts from now on, runs on.
///
/// # Errors
/// `InvalidInput` for none, or for one that is not there or that this process may not use; then nothing
/// has changed.
pub fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    /// More than a kernel can be built for.
    const MOST: usize = 1 << 14;
    type Mask = [u64; MOST / 64];
    let size = size_of::<Mask>();
    let asked = |error: &io::Error| said(format!("CPUs {cpus:?} cannot be chosen"), error);

    let mut before: Mask = [0; MOST / 64];
    // SAFETY: `before` is live, and as large as the call is told; it is a set of CPUs of that size.
    check(unsafe { libc::sched_getaffinity(0, size, before.as_mut_ptr().cast()) })
        .map_err(|error| asked(&error))?;
    let mut mask: Mask = [0; MOST / 64];
    for &cpu in cpus {
        let word = mask.get_mut(cpu / 64);
        let word = word.ok_or_else(|| invalid(format!("there is no CPU {cpu}")))?;
        *word |= 1 << (cpu % 64);
    }
    // SAFETY: as above; the call only reads.
    check(unsafe { libc::sched_setaffinity(0, size, mask.as_ptr().cast()) })
        .map_err(|error| asked(&error))?;
    let mut now: Mask = [0; MOST / 64];
    // SAFETY: as above.
    check(unsafe { libc::sched_getaffinity(0, size, now.as_mut_ptr().cast()) })
        .map_err(|error| asked(&error))?;
    // The kernel leaves out what it cannot give, as long as something is left.
    match cpus
        .iter()
        .find(|&&cpu| now[cpu / 64] & 1 << (cpu % 64) == 0)
    {
        None => Ok(()),
        Some(cpu) => {
            // SAFETY: as above.
            check(unsafe { libc::sched_setaffinity(0, size, before.as_ptr().cast()) })
                .map_err(|error| asked(&error))?;
            Err(invalid(format!(
                "CPU {cpu} is not there, or not for this process"
            )))
        }
    }
}

/// The permissions that files and folders made from now on do not get.
///
/// # Errors
/// `InvalidInput` for other than the nine bits of permissions.
pub fn set_umask(mask: u32) -> io::Result<()> {
    if mask > 0o777 {
        return Err(invalid(format!(
            "a umask of {mask:#o} has more than permissions in it"
        )));
    }
    // SAFETY: takes no pointer, cannot fail.
    unsafe { libc::umask(mask) };
    Ok(())
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn said(what: String, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let text = |result: io::Result<()>| result.unwrap_err().to_string();
        assert_eq!(
            text(set_niceness(20)),
            "a niceness of 20 is not between -20 and 19"
        );
        assert_eq!(
            text(set_umask(0o1000)),
            "a umask of 0o1000 has more than permissions in it"
        );
        assert!(text(set_affinity(&[])).starts_with("CPUs [] cannot be chosen: "));
        assert_eq!(text(set_affinity(&[1 << 20])), "there is no CPU 1048576");
        let none = text(set_affinity(&[(1 << 14) - 1]));
        assert!(none.contains("CPUs [16383] cannot be chosen"), "{none}");
    }

    #[test]
    fn a_choice_of_cpus_that_is_not_all_there_changes_nothing() {
        // On a thread of its own, which alone it is about.
        let thread = std::thread::spawn(|| {
            let before = std::thread::available_parallelism().unwrap();
            let mut first = 0;
            while set_affinity(&[first]).is_err() {
                first += 1;
            }
            let error = set_affinity(&[first, (1 << 14) - 1]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "CPU 16383 is not there, or not for this process"
            );
            assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
            before
        });
        assert!(thread.join().unwrap().get() >= 1);
    }

    #[test]
    fn a_program_takes_address_space() {
        assert!(address_space_in_use().unwrap() > 1 << 20);
        let before = memory_in_use().unwrap();
        let used = vec![1_u8; 32 << 20];
        assert!(
            memory_in_use().unwrap() >= before + (16 << 20),
            "{} bytes",
            used.len()
        );
    }
}
