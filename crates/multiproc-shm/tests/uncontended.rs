//! What is taken and given back by one thread alone: neither the kernel nor the allocator has to do with it.

#![cfg(not(loom))]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use multiproc_process::Process;
use multiproc_shm::{
    ArrayPieces, BoundedSemaphore, Lock, Mutex, Once, RLock, RawValue, RwLock, Semaphore,
    SharedArray,
};
use multiproc_testkit::{eventually, within};
use serde::{Deserialize, Serialize};

use common::{LIMIT, oracle};

const TURNS: u64 = 100;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is the system's allocator's; counting touches no memory of anybody's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's obligations.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// From here on the kernel kills the thread at its first system call.
fn without_system_calls() {
    const STRICT: libc::c_ulong = libc::SECCOMP_MODE_STRICT as libc::c_ulong;
    // SAFETY: takes no pointer.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, STRICT) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[derive(Serialize, Deserialize)]
struct All {
    pieces: ArrayPieces<u64>,
    array: SharedArray<u64>,
    mutex: Mutex<u64>,
    lock: Lock,
    rlock: RLock,
    rwlock: RwLock<u64>,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    once: Once,
    /// In the end: 1, and the allocations.
    done: RawValue<u64>,
    allocations: RawValue<u64>,
}

impl All {
    fn turn(&self, number: usize) {
        self.pieces.take(number).unwrap()[0] += 1;
        self.array.lock().unwrap()[0] += 1;
        self.array.try_lock().unwrap()[0] += 1;
        *self.mutex.lock().unwrap() += 1;
        drop(self.lock.lock().unwrap());
        drop(self.lock.try_lock().unwrap());
        self.lock.lock().unwrap().keep();
        self.lock.release().unwrap();
        drop((self.rlock.lock().unwrap(), self.rlock.lock().unwrap()));
        *self.rwlock.write().unwrap() += 1;
        let several = self.rwlock.read().unwrap();
        assert!(self.rwlock.try_read().is_ok() && self.rwlock.try_write().is_err());
        drop(several);
        drop(self.semaphore.acquire());
        drop((self.semaphore.acquire(), self.semaphore.acquire()));
        self.semaphore.release();
        self.semaphore.acquire().forget();
        drop(self.bounded.acquire());
        self.once.call_once(|_| ());
    }
}

#[test]
fn who_is_alone_needs_neither_the_kernel_nor_memory() {
    let oracle = oracle();
    let lent = SharedArray::<u64>::zeroed(1000).unwrap();
    let loan = lent.lock().unwrap().lend(10);
    let (done, allocations) = (RawValue::new(0).unwrap(), RawValue::new(0).unwrap());
    let mutex = Mutex::new(0).unwrap();
    let all = All {
        pieces: loan.pieces(),
        array: SharedArray::zeroed(1).unwrap(),
        mutex: mutex.clone(),
        lock: Lock::new().unwrap(),
        rlock: RLock::new().unwrap(),
        rwlock: RwLock::new(1).unwrap(),
        semaphore: Semaphore::new(2).unwrap(),
        bounded: BoundedSemaphore::new(1).unwrap(),
        once: Once::new().unwrap(),
        done: done.clone(),
        allocations: allocations.clone(),
    };
    let work = |all: All| -> () {
        // What is looked up once in a thread.
        all.turn(0);
        let before = ALLOCATIONS.load(Relaxed);
        without_system_calls();
        (0..all.pieces.len()).for_each(|number| all.turn(number));
        all.allocations.set(ALLOCATIONS.load(Relaxed) - before);
        all.done.set(1);
        loop {
            std::hint::spin_loop();
        }
    };
    let child = Process::<()>::spawn(work, all).unwrap();
    eventually(LIMIT, "all turns are taken", || {
        done.get() == 1 || !child.is_alive().unwrap()
    });
    child.kill().unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    assert_eq!(loan.finish().unwrap()[990], 1);
    assert_eq!(*mutex.lock().unwrap(), TURNS + 1);
    assert_eq!(allocations.get(), 0);
    drop((lent, mutex, done, allocations));
    oracle.finish();
}
