//! Memory that there is not: an error when it is asked for, and no signal, whatever the limit is that says so.

#![cfg(not(loom))]

mod common;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use multiproc_process::Process;
use multiproc_shm::{SharedArray, release_spare_memory};

use common::{join, oracle};

const MEGABYTE: usize = 1 << 20;

fn limit(resource: libc::__rlimit_resource_t, to: u64) {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: to,
    };
    // SAFETY: `limit` is live.
    let result = unsafe { libc::setrlimit(resource, &raw const limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// What is left open, but for the folder that is being looked at.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn more_than_the_limit_on_file_size_is_an_error_and_no_signal() {
    let oracle = oracle();
    let limited = |()| {
        limit(libc::RLIMIT_FSIZE, MEGABYTE as u64);
        let fits = SharedArray::<u8>::zeroed(MEGABYTE / 2);
        let why = SharedArray::<u8>::zeroed(2 * MEGABYTE).unwrap_err();
        (fits.is_ok(), why.to_string())
    };
    let (fits, why) = join(Process::spawn(limited, ()).unwrap());
    assert!(fits && why.contains("limit on file size"), "{why}");
    oracle.finish();
}

#[test]
fn more_than_the_address_space_is_an_error_that_leaves_nothing() {
    let oracle = oracle();
    let limited = |()| {
        let before = open_files();
        // Some more than what is mapped already.
        let mapped = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = mapped.split(' ').next().unwrap().parse().unwrap();
        limit(libc::RLIMIT_AS, pages * 4096 + 32 * MEGABYTE as u64);
        let why = SharedArray::<u8>::zeroed(48 * MEGABYTE).unwrap_err();
        let fits = SharedArray::<u8>::zeroed(MEGABYTE).is_ok();
        release_spare_memory();
        (
            why.kind() == io::ErrorKind::OutOfMemory,
            fits,
            open_files() - before,
        )
    };
    let answer = join(Process::spawn(limited, ()).unwrap());
    assert_eq!(answer, (true, true, 0));
    oracle.finish();
}

#[test]
fn too_many_open_files_is_an_error() {
    let oracle = oracle();
    let limited = |()| {
        limit(libc::RLIMIT_NOFILE, 40);
        let mut arrays = Vec::new();
        let why = loop {
            match SharedArray::<u8>::zeroed(10) {
                Ok(array) => arrays.push(array),
                Err(why) => break why.raw_os_error(),
            }
        };
        let some = !arrays.is_empty();
        arrays.pop();
        (why, some, SharedArray::<u8>::zeroed(10).is_ok())
    };
    let answer = join(Process::spawn(limited, ()).unwrap());
    assert_eq!(answer, (Some(libc::EMFILE), true, true));
    oracle.finish();
}

#[test]
fn more_than_the_machine_has_is_an_error() {
    let error = SharedArray::<u64>::zeroed(1 << 42).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("bytes left"), "{error}");
}

#[test]
fn a_signal_every_millisecond_does_not_keep_a_large_array_from_being_made() {
    static RUNG: AtomicU32 = AtomicU32::new(0);
    extern "C" fn ring(_signal: libc::c_int) {
        RUNG.fetch_add(1, Ordering::Relaxed);
    }
    let oracle = oracle();
    let interrupted = |length: usize| {
        let handler: extern "C" fn(libc::c_int) = ring;
        // SAFETY: the handler does one atomic addition, which is async-signal-safe.
        unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
        let often = libc::timeval {
            tv_sec: 0,
            tv_usec: 1000,
        };
        let timer = libc::itimerval {
            it_interval: often,
            it_value: often,
        };
        // SAFETY: `timer` is live.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
        let array = SharedArray::<u8>::zeroed(length).unwrap();
        let mut elements = array.lock().unwrap();
        elements[length - 1] = 7;
        (elements[length - 1], RUNG.load(Ordering::Relaxed))
    };
    let (last, rung) = join(Process::spawn(interrupted, 256 * MEGABYTE).unwrap());
    assert_eq!(last, 7);
    assert!(rung > 10, "only {rung} signals came");
    oracle.finish();
}
