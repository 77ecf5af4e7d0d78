//! Segments as they arrive from a peer that lies: each is looked at before it is used.

#![cfg(not(loom))]

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;

use multiproc_shm::SharedArray;
use multiproc_sys::map::{self, Mapping};

/// What a peer sends: a segment's handle, and the rest of the message.
struct Sent {
    bytes: Vec<u8>,
    /// The segment's own bytes.
    memory: Vec<u8>,
}

/// An array of five elements, as it was sent by somebody who is gone.
fn sent() -> Sent {
    let array = SharedArray::from_slice(&[1_u32, 2, 3, 4, 5]).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let handle = &handoff.handles()[0];
    let length = map::length(handle).unwrap();
    let mut memory = vec![];
    Mapping::new(handle, length)
        .unwrap()
        .read(0, length, &mut memory);
    Sent { bytes, memory }
}

/// Memory with these bytes in it, sealed as it should be.
fn sealed(bytes: &[u8]) -> OwnedFd {
    let memory = map::create(bytes.len()).unwrap();
    Mapping::new(&memory, bytes.len()).unwrap().write(0, bytes);
    memory
}

fn receive(sent: &Sent, handle: OwnedFd) -> Result<SharedArray<u32>, String> {
    multiproc_wire::decode(&sent.bytes, vec![Arc::new(handle)]).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(sent: &Sent, handle: OwnedFd, why: &str) {
    let error = receive(sent, handle).unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn what_is_as_it_should_be_is_taken() {
    let sent = sent();
    let array = receive(&sent, sealed(&sent.memory)).unwrap();
    assert_eq!(array.to_vec().unwrap(), [1, 2, 3, 4, 5]);
}

#[test]
fn memory_that_could_be_shortened_is_refused() {
    let sent = sent();
    for flags in [0, libc::MFD_ALLOW_SEALING] {
        // SAFETY: the name is a C string.
        let fd = unsafe { libc::memfd_create(c"unsealed".as_ptr(), flags) };
        // SAFETY: just made.
        let unsealed = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = File::from(unsealed);
        std::io::Write::write_all(&mut &file, &sent.memory).unwrap();
        refused(&sent, file.into(), "not sealed against resizing");
    }
    let named = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(named.path(), &sent.memory).unwrap();
    let named = OwnedFd::from(named.reopen().unwrap());
    assert!(receive(&sent, named).is_err(), "a file with a name");
    let null = OwnedFd::from(File::open("/dev/null").unwrap());
    assert!(receive(&sent, null).is_err(), "no memory");
}

#[test]
fn a_header_that_lies_is_refused() {
    let sent = sent();
    refused(&sent, sealed(&sent.memory[..100]), "too short");
    let shorter = &sent.memory[..sent.memory.len() - 1];
    refused(&sent, sealed(shorter), "not what its header says");
    let longer = [&sent.memory[..], &[0]].concat();
    refused(&sent, sealed(&longer), "not what its header says");
    let with = |at: usize, value: u64| {
        let mut bytes = sent.memory.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        sealed(&bytes)
    };
    refused(&sent, with(0, 7), "no segment of this version");
    refused(&sent, with(8, 1 << 32 | 1), "no segment of this version");
    refused(&sent, with(16, 0), "not what its header says");
    for length in [0, 4, 6, u64::MAX, u64::MAX / 4, 1 << 62] {
        refused(&sent, with(32, length), "not what its header says");
    }
    for size in [0, 1, 8, u64::MAX] {
        refused(&sent, with(40, size), "not what its header says");
    }
    for alignment in [0, 3, 1 << 13, u64::MAX] {
        refused(&sent, with(48, alignment), "alignment is none");
    }
    refused(&sent, with(56, 1), "other elements than expected");
    // A kind without slots, whose contents would lie elsewhere.
    assert!(receive(&sent, with(8, 2 << 32 | 2)).is_err());
}
