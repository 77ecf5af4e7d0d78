//! What peers write into shared memory, as functions of bytes: for tests and fuzzers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::ptr;
use std::sync::Arc;

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_wire::{Decoder, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ring::{self, Assembler, Consumer, Producer};
use crate::{
    Barrier, Bells, Bytes, Condition, Event, Lane, Lock, Mutex, Once, RLock, RwLock, Semaphore,
    SharedArray, bulk, release_spare_memory,
};

const CAPACITY: usize = 256;
/// Of a ring of that capacity.
const RING: usize = ring::bytes_needed(CAPACITY);

/// Memory for a ring, aligned as one must be.
#[repr(C, align(128))]
struct Memory([u8; RING]);

impl Memory {
    fn new() -> Box<Memory> {
        Box::new(Memory([0; RING]))
    }

    fn consumer(&mut self) -> Option<Consumer<()>> {
        // SAFETY: aligned, as long, and alive for as long as `self`, which outlives the end in this file; there is
        // no other.
        unsafe { Consumer::new((), ptr::from_mut(self).cast(), CAPACITY) }.ok()
    }

    fn producer(&mut self) -> Option<Producer<()>> {
        // SAFETY: as above.
        unsafe { Producer::new((), ptr::from_mut(self).cast(), CAPACITY) }.ok()
    }
}

/// Good rings, for [`ring`].
///
/// # Panics
/// Where a new ring has no room.
#[must_use]
pub fn ring_seeds() -> Vec<Vec<u8>> {
    let records: [&[&[u8]]; 4] = [&[], &[b"one"], &[b"", &[7; 50]], &[&[9; 40], b"x", b"yz"]];
    let image = |records: &&[&[u8]]| {
        let mut memory = Memory::new();
        // SAFETY: as for its ends, of which there is none yet.
        unsafe { ring::init(ptr::from_mut(&mut *memory).cast(), CAPACITY) }.expect("a capacity");
        let mut producer = memory.producer().expect("a new ring");
        for (tag, record) in (0..).zip(*records) {
            producer.push(&[record], tag).expect("it has room");
        }
        let _parked: bool = producer.publish();
        [&[0][..], &memory.0].concat()
    };
    records.iter().map(image).collect()
}

/// The memory of a ring, behind a byte that says whose end it is met by.
///
/// # Panics
/// Where more comes out of a ring than it can hold.
pub fn ring(bytes: &[u8]) {
    let Some((end, image)) = bytes.split_first() else {
        return;
    };
    let mut memory = Memory::new();
    let length = image.len().min(RING);
    memory.0[..length].copy_from_slice(&image[..length]);
    if end & 1 == 1 {
        let Some(mut producer) = memory.producer() else {
            return;
        };
        while producer.push(&[b"ab", &[1; 20]], 3).is_ok() {
            let _parked: bool = producer.publish();
        }
        return;
    }
    let Some(mut consumer) = memory.consumer() else {
        return;
    };
    let mut assembler = Assembler::new(10 * CAPACITY);
    let mut records = 0;
    while let Ok(Some(mut record)) = consumer.peek() {
        records += 1;
        assert!(records <= CAPACITY, "records of eight bytes at least");
        if end & 2 == 2 && !record.claim() {
            continue;
        }
        let _whole = assembler.add(&record);
        assert!(
            assembler.message().len() <= 10 * CAPACITY,
            "it is over the limit"
        );
        let _waiting: bool = record.advance();
    }
    let _waiting: bool = consumer.release();
}

/// Decodes one type of handle.
type Take = fn(&[u8], Arc<OwnedHandle>) -> bool;

const TAKES: [Take; 15] = [
    take::<SharedArray<u32>>,
    take::<SharedArray<[u64; 3]>>,
    take::<Mutex<u64>>,
    take::<Lock>,
    take::<RLock>,
    take::<RwLock<u64>>,
    take::<Semaphore>,
    take::<Event>,
    take::<Condition>,
    take::<Barrier>,
    take::<Once>,
    take::<Bells>,
    take::<Lane>,
    take_lent,
    take_all_lent,
];

fn take<T: DeserializeOwned>(message: &[u8], memory: Arc<OwnedHandle>) -> bool {
    decode::<T>(message, vec![memory]).is_ok()
}

/// Bytes that are lent, in memory that is mapped anew, and read to their end.
fn take_lent(message: &[u8], memory: Arc<OwnedHandle>) -> bool {
    release_spare_memory();
    let decoder = Decoder::new(message, vec![memory]).lending(&bulk::LENDER);
    let found = decoder.only::<Bytes>();
    found.is_ok_and(|bytes| bytes.is_lent() && black_box(bytes.iter().max()) != Some(&0))
}

/// As [`take_lent`], any number of runs: of one piece there is one.
fn take_all_lent(message: &[u8], memory: Arc<OwnedHandle>) -> bool {
    release_spare_memory();
    let decoder = Decoder::new(message, vec![memory]).lending(&bulk::LENDER);
    let found = decoder.only::<Vec<Bytes>>();
    found.is_ok_and(|all| {
        let lent = all.iter().filter(|bytes| bytes.is_lent()).count();
        assert!(lent <= 1, "one piece has {lent} owners");
        lent == 1
    })
}

/// Good handles and their memory, for [`segment`].
///
/// # Panics
/// Where there is no memory for them.
#[must_use]
pub fn segment_seeds() -> Vec<Vec<u8>> {
    const MADE: &str = "there is memory";
    vec![
        seed(0, &SharedArray::<u32>::zeroed(9).expect(MADE)),
        seed(1, &SharedArray::<[u64; 3]>::zeroed(2).expect(MADE)),
        seed(2, &Mutex::new(5_u64).expect(MADE)),
        seed(3, &Lock::new().expect(MADE)),
        seed(4, &RLock::new().expect(MADE)),
        seed(5, &RwLock::new(5_u64).expect(MADE)),
        seed(6, &Semaphore::new(3).expect(MADE)),
        seed(7, &Event::new().expect(MADE)),
        seed(8, &Condition::new().expect(MADE)),
        seed(9, &Barrier::new(2).expect(MADE)),
        seed(10, &Once::new().expect(MADE)),
        seed(11, &Bells::create(2).expect(MADE)),
        seed(12, &Lane::create(CAPACITY).expect(MADE)),
        lent_seed(13, &LENT_RUN),
        lent_seed(14, &vec![LENT_RUN]),
    ]
}

/// How a run of a hundred bytes in a piece is encoded.
const LENT_RUN: (usize, u32, u64, u64) = (usize::MAX, 0, 64, 100);

/// As [`seed`], of runs in a piece that is shorter than any that is made.
fn lent_seed<T: Serialize + ?Sized>(which: u8, runs: &T) -> Vec<u8> {
    const SIZE: u16 = 512;
    let mut message = vec![];
    let plain = encode(runs, &mut message).expect("it can be encoded");
    assert!(plain.is_empty());
    let mut image = bulk::header(SIZE.into());
    image.resize(SIZE.into(), 7);
    let length = u16::try_from(message.len()).expect("it is short");
    let lengths = [length, SIZE].map(u16::to_le_bytes).concat();
    [&[which][..], &lengths, &message, &image].concat()
}

/// Which type, how long the message is, how long the memory is, the message, the memory.
fn seed<T: Serialize>(which: u8, value: &T) -> Vec<u8> {
    let mut message = vec![];
    let handoff = encode(value, &mut message).expect("it can be encoded");
    let handle = &handoff.handles()[0];
    let size = map::length(handle).expect("it is memory");
    let mut image = vec![];
    Mapping::new(handle, size)
        .expect("it can be mapped")
        .read(0, size, &mut image);
    let lengths = [u16::try_from(message.len()), u16::try_from(size)];
    let lengths = lengths.map(|length| length.expect("it is short").to_le_bytes());
    [&[which][..], &lengths.concat(), &message, &image].concat()
}

thread_local! {
    /// Memory of each length that was asked for, since making it takes longer than all else.
    static MEMORY: RefCell<HashMap<usize, (Arc<OwnedHandle>, Mapping)>> = RefCell::default();
}

/// A message with one handle in it, and the memory behind that, as [`segment_seeds`] has them. Says whether it was
/// taken for what it claims to be.
///
/// # Panics
/// Where there is no memory for it.
pub fn segment(bytes: &[u8]) -> bool {
    let Some(([which, length @ .., low, high], rest)) = bytes.split_first_chunk::<5>() else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (message, image) = rest.split_at(length);
    let size = usize::from(u16::from_le_bytes([*low, *high])).clamp(1, 16 << 10);
    let handle = MEMORY.with_borrow_mut(|memory| {
        if memory.len() > 100 {
            memory.clear();
        }
        let (handle, mapping) = memory.entry(size).or_insert_with(|| {
            let handle = map::create(size).expect("there is memory");
            let mapping = Mapping::new(&handle, size).expect("it can be mapped");
            (Arc::new(handle), mapping)
        });
        let mut whole = image[..image.len().min(size)].to_vec();
        whole.resize(size, 0);
        mapping.write(0, &whole);
        Arc::clone(handle)
    });
    TAKES[usize::from(*which) % TAKES.len()](message, handle)
}

#[cfg(test)]
mod tests;
