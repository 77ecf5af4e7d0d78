//! Arrays in files, on huge pages, and with their pages entered beforehand.

#![cfg(not(loom))]

mod common;

use std::io;

use multiproc_process::Process;
use multiproc_shm::{SharedArray, SharedValue};
use multiproc_testkit::{eventually, forever, within};

use common::{LIMIT, oracle};

#[test]
fn an_array_in_a_file_is_an_array() {
    let oracle = oracle();
    let array = SharedArray::builder()
        .in_file()
        .from_slice(&[1_u32, 2, 3])
        .unwrap();
    let change = |array: SharedArray<u32>| {
        array.lock().unwrap()[1] = 20;
        array
    };
    let child = Process::spawn(change, array.clone()).unwrap();
    drop(within(LIMIT, move || child.join().unwrap()));
    assert_eq!(array.to_vec().unwrap(), [1, 20, 3]);
    let frozen = array.freeze().unwrap();
    assert_eq!(*frozen, [1, 20, 3], "a copy in memory");
    drop(frozen);
    oracle.finish();
}

#[test]
fn a_file_is_gone_when_all_that_had_it_are_killed() {
    let oracle = oracle();
    let made = SharedValue::new(0_u8).unwrap();
    let make = |made: SharedValue<u8>| {
        let array = SharedArray::<u8>::builder().in_file().zeroed(100_000);
        let _held = array.unwrap().clone();
        made.set(1).unwrap();
        forever();
    };
    let child = Process::<()>::spawn(make, made.clone()).unwrap();
    eventually(LIMIT, "the array is made", || made.get().unwrap() == 1);
    child.kill().unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    drop(made);
    // That it left no file.
    oracle.finish();
}

#[test]
fn what_no_folder_has_room_for_is_an_error_that_names_it() {
    let oracle = oracle();
    let builder = SharedArray::<u8>::builder().in_folder("/no/such/folder");
    let missing = builder.zeroed(1).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(missing.to_string().contains("/no/such/folder"), "{missing}");
    // More than any disk has.
    let builder = SharedArray::<u8>::builder().in_folder(env!("CARGO_TARGET_TMPDIR"));
    let full = builder.zeroed(1 << 55).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    let limited = |()| {
        let limit = libc::rlimit {
            rlim_cur: 1 << 20,
            rlim_max: 1 << 20,
        };
        // SAFETY: `limit` is live.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        let array = SharedArray::<u8>::builder().in_file().zeroed(2 << 20);
        array.unwrap_err().to_string()
    };
    let child = Process::spawn(limited, ()).unwrap();
    let why = within(LIMIT, move || child.join().unwrap());
    assert!(why.contains("limit on file size"), "{why}");
    oracle.finish();
}

#[test]
fn a_file_that_was_shortened_is_refused() {
    let array = SharedArray::<u8>::builder()
        .in_file()
        .zeroed(100_000)
        .unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let child = Process::spawn(|array: SharedArray<u8>| array.len(), array).unwrap();
    assert_eq!(within(LIMIT, move || child.join().unwrap()), 100_000);
    let file = std::fs::File::from(handoff.handles()[0].try_clone().unwrap());
    file.set_len(5000).unwrap();
    let short = multiproc_wire::decode::<SharedArray<u8>>(&bytes, handoff.handles().to_vec());
    let why = short.unwrap_err().to_string();
    assert!(why.contains("not what its header says"), "{why}");
    file.set_len(0).unwrap();
    let empty = multiproc_wire::decode::<SharedArray<u8>>(&bytes, handoff.handles().to_vec());
    assert!(empty.unwrap_err().to_string().contains("too short"));
}

#[test]
fn huge_pages_and_pages_beforehand_change_nothing_but_speed() {
    let array = SharedArray::<u64>::builder()
        .huge_pages(true)
        .populate(true)
        .zeroed(1 << 20)
        .unwrap();
    assert!(array.lock().unwrap().iter().all(|n| *n == 0));
    array.lock().unwrap()[1 << 19] = 5;
    let read = |array: SharedArray<u64>| array.lock().unwrap()[1 << 19];
    let child = Process::spawn(read, array).unwrap();
    assert_eq!(within(LIMIT, move || child.join().unwrap()), 5);
}
