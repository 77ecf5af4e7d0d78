//! Memory of arrays that are gone, used again: when, how much of it, and never while anybody has the old array.

#![cfg(not(loom))]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use multiproc_process::Process;
use multiproc_shm::{Event, SharedArray, release_spare_memory};
use multiproc_sys::clock::Deadline;
use multiproc_sys::map::{self, Mapping};
use multiproc_testkit::{Oracle, within};
use multiproc_wire::{Frame, Incoming, Link};

use common::{LIMIT, oracle};

const LENGTH: usize = 1 << 20;

fn finish(oracle: Oracle) {
    release_spare_memory();
    oracle.finish();
}

/// What tells apart the memory that this process has open, of at least `SMALL` bytes.
fn open_memory() -> BTreeSet<u64> {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let memory = files.filter_map(|file| {
        let name = fs::read_link(file.path()).ok()?;
        let stat = fs::metadata(file.path()).ok()?;
        let counts = name.to_string_lossy().starts_with("/memfd:") && stat.len() >= SMALL as u64;
        counts.then(|| stat.ino())
    });
    memory.collect()
}

const SMALL: usize = 100_000;

/// An array of ones, and its memory.
fn ones() -> (SharedArray<u8>, u64) {
    let before = open_memory();
    let array = SharedArray::from_slice(&vec![1; LENGTH]).unwrap();
    let after = open_memory();
    let new: Vec<u64> = after.difference(&before).copied().collect();
    match new[..] {
        [new] => (array, new),
        _ => panic!("{new:?} is not one new memory"),
    }
}

/// Makes an array beside what is kept, and says whether it is in `memory`; it is of twos.
fn is_made_of(memory: u64) -> bool {
    let before = open_memory();
    let array = SharedArray::from_slice(&vec![2_u8; LENGTH]).unwrap();
    let after = open_memory();
    let is = before == after;
    assert!(!is || after.contains(&memory));
    drop(array);
    if !is {
        // Of what is kept now, only `memory` is of interest.
        assert_eq!(after.difference(&before).count(), 1);
    }
    is
}

fn bytes_of<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![];
    multiproc_wire::encode(value, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_second_array_of_a_size_is_the_first_ones_memory_and_nothing_of_it_is_left() {
    let oracle = oracle();
    let (array, memory) = ones();
    let id = bytes_of(&array);
    let _panicked = std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _guard = array.lock().unwrap();
            panic!("poisons");
        });
        holder.join().unwrap_err()
    });
    assert!(array.is_poisoned());
    drop(array);

    let again = SharedArray::<u8>::zeroed(LENGTH).unwrap();
    assert_eq!(open_memory(), BTreeSet::from([memory]), "no new memory");
    assert!(!again.is_poisoned());
    assert!(again.lock().unwrap().iter().all(|byte| *byte == 0));
    assert_ne!(bytes_of(&again), id, "another array");
    again.lock().unwrap().fill(3);
    drop(again);

    // Of another type, and as many bytes: 256 slots, and no more of them.
    let filled = SharedArray::from_slice(&vec![5_u64; LENGTH / 8]).unwrap();
    assert_eq!(open_memory(), BTreeSet::from([memory]));
    assert_eq!(filled.to_vec().unwrap(), vec![5; LENGTH / 8]);
    let other = SharedArray::<u8>::zeroed(LENGTH + 1).unwrap();
    assert_eq!(open_memory().len(), 2, "another size");
    drop((filled, other));
    finish(oracle);
    assert!(open_memory().is_empty());
}

#[test]
fn an_array_that_a_process_has_is_not_used_again_until_it_has_not() {
    let oracle = oracle();
    let (array, memory) = ones();
    let turn = Event::new().unwrap();
    let told = Event::new().unwrap();
    let work = |(array, turn, told): (SharedArray<u8>, Event, Event)| {
        told.set();
        turn.wait();
        array.lock().unwrap().iter().all(|byte| *byte == 1)
    };
    let child = Process::spawn(work, (array.clone(), turn.clone(), told.clone())).unwrap();
    told.wait();
    drop(array);
    assert!(!is_made_of(memory));
    turn.set();
    assert!(
        within(LIMIT, move || child.join().unwrap()),
        "its array was changed"
    );
    // Two are kept; the older is the first to be used.
    let array = SharedArray::from_slice(&vec![2_u8; LENGTH]).unwrap();
    let other = SharedArray::from_slice(&vec![2_u8; LENGTH]).unwrap();
    assert_eq!(open_memory().len(), 2);
    assert!(open_memory().contains(&memory));
    drop((array, other, turn, told));
    finish(oracle);
}

#[test]
fn an_array_on_its_way_is_not_used_again() {
    let oracle = oracle();
    let (array, memory) = ones();
    let (one, two) = Link::pair().unwrap();
    let mut body = vec![];
    let handoff = multiproc_wire::encode(&array, &mut body).unwrap();
    let frame = Frame {
        kind: 1,
        body: &body,
        handles: handoff.handles(),
    };
    one.send(frame, Deadline::NEVER).unwrap();
    handoff.sent();
    drop(array);
    assert!(!is_made_of(memory), "unread");
    let Incoming::Frame { body, handles, .. } = two.receive(Deadline::NEVER).unwrap() else {
        panic!("no frame");
    };
    release_spare_memory();
    let array: SharedArray<u8> = multiproc_wire::decode(&body, handles).unwrap();
    assert!(array.to_vec().unwrap().iter().all(|byte| *byte == 1));
    drop((array, one, two));
    finish(oracle);
}

/// Whoever has it has it in one form only.
fn is_kept_by<T>(take: impl FnOnce(&Arc<OwnedFd>) -> T) {
    let oracle = oracle();
    let (array, memory) = ones();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let kept = take(&handoff.handles()[0]);
    drop((handoff, array));
    assert!(!is_made_of(memory));
    drop(kept);
    finish(oracle);
}

#[test]
fn a_descriptor_alone_keeps_it() {
    is_kept_by(|handle| handle.as_fd().try_clone_to_owned().unwrap());
}

#[test]
fn a_mapping_alone_keeps_it() {
    is_kept_by(|handle| Mapping::new(handle, map::length(handle).unwrap()).unwrap());
}

#[test]
fn a_message_that_is_not_sent_yet_keeps_it() {
    is_kept_by(Arc::clone);
}

#[test]
fn a_frozen_array_is_not_used_again() {
    let oracle = oracle();
    let (array, _) = ones();
    let frozen = array.freeze().unwrap();
    assert_eq!(open_memory().len(), 1);
    drop(frozen);
    assert!(open_memory().is_empty());
    finish(oracle);
}

/// Forks a child that says whether `check` holds once it is told to, and ends.
fn forked(check: impl Fn() -> bool) -> (libc::pid_t, fs::File) {
    let (mut read, write) = io::pipe().unwrap();
    // SAFETY: the child reads from a pipe, looks at memory, and ends.
    match unsafe { libc::fork() } {
        0 => {
            drop(write);
            let ended = read.read(&mut [0]).is_ok();
            // SAFETY: no handler of the parent's runs.
            unsafe { libc::_exit(i32::from(!(ended && check()))) }
        }
        -1 => panic!("{}", io::Error::last_os_error()),
        child => (child, OwnedFd::from(write).into()),
    }
}

fn ended_well((child, mut write): (libc::pid_t, fs::File)) {
    write.write_all(b"!").unwrap();
    let mut status = 0;
    // SAFETY: `status` is live.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "its array was changed");
}

#[test]
fn a_forked_process_keeps_its_copy() {
    let oracle = oracle();
    let (array, memory) = ones();
    let first = array.lock().unwrap().as_ptr();
    // SAFETY: the child's mapping is there until it ends.
    let child =
        forked(|| (0..LENGTH).all(|at| unsafe { first.wrapping_add(at).read_volatile() } == 1));
    drop(array);
    assert!(!is_made_of(memory));
    ended_well(child);
    finish(oracle);
}

#[test]
fn spares_are_not_used_by_two_forked_processes() {
    let oracle = oracle();
    let (array, memory) = ones();
    drop(array);
    let child = forked(|| {
        let before = open_memory();
        let array = SharedArray::from_slice(&vec![7_u8; LENGTH]);
        array.is_ok() && open_memory() != before
    });
    assert!(!is_made_of(memory), "the child has it too");
    ended_well(child);
    finish(oracle);
}

#[test]
fn what_is_kept_is_limited() {
    let oracle = oracle();
    let make = |length: usize| SharedArray::<u8>::zeroed(length).unwrap();
    let kept = |arrays: Vec<SharedArray<u8>>| {
        drop(arrays);
        let kept = open_memory().len();
        release_spare_memory();
        assert!(open_memory().is_empty());
        kept
    };
    assert_eq!(kept((0..6).map(|_| make(LENGTH)).collect()), 4);
    assert_eq!(kept((0..2).map(|_| make(48 << 20)).collect()), 1);
    assert_eq!(kept(vec![make(81 << 20)]), 0);
    assert_eq!(kept(vec![make(SMALL)]), 0, "small ones are made anew");
    let builder = SharedArray::<u8>::builder().in_file();
    drop(builder.zeroed(LENGTH).unwrap());
    assert!(open_memory().is_empty(), "files are");
    finish(oracle);
}

#[test]
fn what_is_kept_makes_room_for_what_is_not_there() {
    let oracle = oracle();
    let full = |()| {
        drop(SharedArray::<u8>::zeroed(LENGTH).unwrap());
        let kept = open_memory().len();
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: `limit` is live.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        let mut files = vec![];
        while let Ok(file) = fs::File::open("/dev/null") {
            files.push(file);
        }
        let made = SharedArray::<u8>::zeroed(2 * LENGTH).is_ok();
        let more = SharedArray::<u8>::zeroed(10).map_err(|error| error.raw_os_error());
        drop(files);
        (kept, made, more.is_ok())
    };
    let child = Process::spawn(full, ()).unwrap();
    assert_eq!(
        within(LIMIT, move || child.join().unwrap()),
        (1, true, true)
    );
    finish(oracle);
}
