//! Memory with a name: who can make, open and remove it, and what is left of it.

#![cfg(not(loom))]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use multiproc_process::Process;
use multiproc_shm::{RawValue, SharedMemory};
use multiproc_testkit::{eventually, forever, within};

use common::{LIMIT, join, oracle};

fn path(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

/// A name of this test's own, which nothing has.
fn name(of: &str) -> String {
    format!("multiproc-test-{}-{of}", std::process::id())
}

#[test]
fn a_stranger_opens_it_by_its_name() {
    let oracle = oracle();
    let memory = SharedMemory::create(&name("strangers"), 100).unwrap();
    memory.write(0, &[1_u16, 2, 3]).unwrap();
    let other = |name: String| {
        let memory = SharedMemory::open(&name).unwrap();
        let mut seen = [0_u16; 3];
        memory.read(0, &mut seen).unwrap();
        memory.write(92, &[0.5_f64]).unwrap();
        (memory.len(), seen)
    };
    let (length, seen) = join(Process::spawn(other, memory.name().to_owned()).unwrap());
    assert_eq!((length, seen), (100, [1, 2, 3]));
    assert_eq!(memory.get::<f64>(92).unwrap(), 0.5);
    assert_eq!(memory.get::<u64>(50).unwrap(), 0, "zeroed");
    // Opening takes no name away.
    assert!(path(memory.name()).exists());
    drop(memory);
    oracle.finish();
}

#[test]
fn it_is_made_for_its_user_alone_whatever_the_umask() {
    let oracle = oracle();
    for umask in [0, 0o777] {
        let make = |umask: u32| {
            // SAFETY: no pointer is passed.
            unsafe { libc::umask(umask) };
            let memory = SharedMemory::create_any(10).unwrap();
            SharedMemory::open(memory.name()).unwrap();
            let mode = fs::metadata(path(memory.name())).unwrap().mode();
            (mode & 0o7777, memory.name().to_owned())
        };
        let (mode, name) = join(Process::spawn(make, umask).unwrap());
        assert_eq!(mode, 0o600);
        let digits = name.strip_prefix("psm_").unwrap();
        assert!(digits.len() == 8 && u32::from_str_radix(digits, 16).is_ok());
    }
    oracle.finish();
}

#[test]
fn what_is_there_is_not_made_again_and_what_is_not_is_not_opened() {
    let oracle = oracle();
    let name = name("once");
    let memory = SharedMemory::create(&name, 8).unwrap();
    memory.write(0, &[7_u64]).unwrap();
    let again = SharedMemory::create(&name, 8).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert!(again.to_string().contains(&name));
    assert_eq!(memory.get::<u64>(0).unwrap(), 7);
    memory.unlink().unwrap();
    assert_eq!(memory.unlink().unwrap_err().kind(), ErrorKind::NotFound);
    let gone = SharedMemory::open(&name).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(
        SharedMemory::remove(&name).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // It lives on in who has it, beside another of its name, which its drop leaves alone.
    let other = SharedMemory::create(&name, 8).unwrap();
    assert_eq!(memory.get::<u64>(0).unwrap(), 7);
    assert_eq!(memory.unlink().unwrap_err().kind(), ErrorKind::NotFound);
    drop(memory);
    assert_eq!(other.get::<u64>(0).unwrap(), 0);
    assert!(path(&name).exists());
    drop(other);
    assert!(!path(&name).exists());
    oracle.finish();
}

#[test]
fn names_and_sizes_that_cannot_be_are_errors() {
    let oracle = oracle();
    let long = "x".repeat(256);
    for name in ["", "/", "a/b", "../etc", "a\0b", ".", "..", &long] {
        for error in [
            SharedMemory::create(name, 1).unwrap_err(),
            SharedMemory::open(name).unwrap_err(),
            SharedMemory::remove(name).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}: {error}");
        }
    }
    drop(SharedMemory::create(&"x".repeat(255), 1).unwrap());
    let name = name("size");
    assert_eq!(
        SharedMemory::create(&name, 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    for size in [usize::MAX, 1 << 55] {
        let error = SharedMemory::create(&name, size).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        assert!(!path(&name).exists(), "nothing is left of it");
    }
    oracle.finish();
}

#[test]
fn only_memory_is_opened() {
    let oracle = oracle();
    let (target, name) = (SharedMemory::create_any(10).unwrap(), name("other"));
    let refuse = |what: &str| {
        let error = SharedMemory::open(&name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{what}: {error}");
    };
    symlink(path(target.name()), path(&name)).unwrap();
    refuse("a link");
    // Nor is one followed to make it.
    let made = SharedMemory::create(&name, 10).unwrap_err();
    assert_eq!(made.kind(), ErrorKind::AlreadyExists);
    SharedMemory::remove(&name).unwrap();
    assert!(target.get::<u8>(0).is_ok());
    fs::create_dir(path(&name)).unwrap();
    refuse("a folder");
    fs::remove_dir(path(&name)).unwrap();
    let pipe = std::ffi::CString::new(path(&name).to_str().unwrap()).unwrap();
    // SAFETY: `pipe` is a C string.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    refuse("a pipe");
    fs::remove_file(path(&name)).unwrap();
    fs::File::create(path(&name)).unwrap();
    refuse("nothing");
    fs::remove_file(path(&name)).unwrap();
    drop(target);
    oracle.finish();
}

#[test]
fn bytes_that_are_not_there_are_errors() {
    let oracle = oracle();
    let memory = SharedMemory::create_any(16).unwrap();
    assert_eq!(
        memory.get::<u64>(9).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        memory.get::<u64>(usize::MAX).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        memory.write(15, &[1_u16]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    memory.write(16, &[0_u8; 0]).unwrap();
    // Somebody shortens it.
    let file = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path(memory.name()))
        .unwrap();
    file.set_len(4).unwrap();
    drop(file);
    for error in [
        memory.get::<u64>(0).unwrap_err(),
        memory.write(0, &[1_u64]).unwrap_err(),
        memory.get::<u8>(15).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("was shortened"), "{error}");
    }
    assert_eq!(memory.get::<u32>(0).unwrap(), 0);
    drop(memory);
    oracle.finish();
}

#[test]
fn strangers_count_together() {
    let oracle = oracle();
    let memory = SharedMemory::create_any(100).unwrap();
    let count = |name: String| {
        let memory = SharedMemory::open(&name).unwrap();
        for _ in 0..50_000 {
            memory.as_atomics::<u64>().unwrap()[11].fetch_add(1, Relaxed);
        }
    };
    let children: Vec<_> = (0..2)
        .map(|_| Process::spawn(count, memory.name().to_owned()).unwrap())
        .collect();
    children.into_iter().for_each(join);
    let atomics = memory.as_atomics::<i64>().unwrap();
    assert_eq!((atomics.len(), atomics[11].load(Relaxed)), (12, 100_000));
    assert_eq!(memory.get::<u64>(88).unwrap(), 100_000);
    // By whatever handle, in this process.
    let same = SharedMemory::open(memory.name()).unwrap();
    let error = same.as_atomics::<u8>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(same.as_atomics::<u64>().is_ok());
    drop((same, memory));
    oracle.finish();
}

#[test]
fn a_killed_makers_block_stays_until_it_is_removed() {
    let oracle = oracle();
    let name = name("left");
    let made = RawValue::new(0_u8).unwrap();
    let make = |(name, made): (String, RawValue<u8>)| {
        let memory = SharedMemory::create(&name, 8).unwrap();
        memory.write(0, &[5_u64]).unwrap();
        made.set(1);
        forever();
    };
    let child = Process::<()>::spawn(make, (name.clone(), made.clone())).unwrap();
    eventually(LIMIT, "it is made", || made.get() == 1);
    child.kill().unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    let left = SharedMemory::open(&name).unwrap();
    assert_eq!(left.get::<u64>(0).unwrap(), 5);
    drop(left);
    SharedMemory::remove(&name).unwrap();
    // Kept on purpose.
    SharedMemory::create(&name, 8).unwrap().keep();
    assert!(path(&name).exists());
    SharedMemory::open(&name).unwrap().unlink().unwrap();
    drop(made);
    oracle.finish();
}
