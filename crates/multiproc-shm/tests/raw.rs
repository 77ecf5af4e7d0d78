//! Arrays and values without a lock, changed by processes at the same time.

#![cfg(not(loom))]

mod common;

use std::sync::atomic::Ordering::Relaxed;

use bytemuck::{Pod, Zeroable};
use multiproc_process::Process;
use multiproc_shm::{RawArray, RawValue, SharedArray};
use multiproc_testkit::within;

use common::{LIMIT, join, oracle};

#[test]
fn atomics_count_together() {
    let oracle = oracle();
    let (counts, total) = (
        RawArray::<u32>::zeroed(7).unwrap(),
        RawValue::new(0_i64).unwrap(),
    );
    let count = |(counts, total): (RawArray<u32>, RawValue<i64>)| {
        for round in 0..70_000 {
            counts.as_atomics()[round % 7].fetch_add(1, Relaxed);
            total.as_atomic().fetch_sub(1, Relaxed);
        }
    };
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(count, (counts.clone(), total.clone())).unwrap())
        .collect();
    children.into_iter().for_each(join);
    assert_eq!(counts.to_vec(), [30_000; 7]);
    assert_eq!(total.get(), -210_000);
    drop((counts, total));
    oracle.finish();
}

#[test]
fn an_element_as_long_as_it_is_aligned_is_never_seen_half_written() {
    let oracle = oracle();
    let array = RawArray::<f64>::zeroed(2).unwrap();
    let done = RawValue::new(0_u8).unwrap();
    let all = [0.0, 1.0 / 3.0, -1e300, f64::MIN_POSITIVE];
    let write = |(array, all, done): (RawArray<f64>, [f64; 4], RawValue<u8>)| {
        for round in 0..200_000 {
            array.set(1, all[round % 4]);
        }
        done.set(1);
    };
    let child = Process::spawn(write, (array.clone(), all, done.clone())).unwrap();
    within(LIMIT, {
        let array = array.clone();
        move || {
            while done.get() == 0 {
                let seen = array.get(1);
                assert!(all.contains(&seen), "{seen}");
            }
        }
    });
    join(child);
    assert_eq!(array.get(0).to_bits(), 0);
    drop(array);
    oracle.finish();
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Mixed {
    letter: [u8; 4],
    half: u16,
    other: i16,
}

#[test]
fn elements_of_every_alignment_go_in_and_out() {
    fn round_trip<T: Pod + PartialEq + std::fmt::Debug>(one: T, two: T) {
        let array = RawArray::from_slice(&[one, two, one]).unwrap();
        assert_eq!(array.to_vec(), [one, two, one]);
        array.set(0, two);
        assert_eq!([array.get(0), array.get(2)], [two, one]);
        array.copy_from_slice(1, &[one, two]);
        let mut copy = [one; 2];
        array.copy_to_slice(1, &mut copy);
        assert_eq!(copy, [one, two]);
    }
    round_trip(1_u8, 255);
    round_trip(-1_i16, 300);
    round_trip(1.5_f32, -0.25);
    round_trip(u64::MAX, 0);
    round_trip(u128::MAX, 7);
    round_trip([1_u32, 2, 3], [4, 5, 6]);
    round_trip([7_u8; 13], [0; 13]);
    let mixed = Mixed {
        letter: *b"abcd",
        half: 5,
        other: -5,
    };
    round_trip(mixed, Mixed { half: 6, ..mixed });
    let empty = RawArray::<u64>::zeroed(0).unwrap();
    assert!(empty.is_empty() && empty.to_vec().is_empty() && empty.as_atomics().is_empty());
}

#[test]
fn an_array_with_a_lock_is_none_without() {
    let mut bytes = vec![];
    let locked = SharedArray::<u64>::zeroed(1).unwrap();
    let handoff = multiproc_wire::encode(&locked, &mut bytes).unwrap();
    let raw = multiproc_wire::decode::<RawArray<u64>>(&bytes, handoff.handles().to_vec());
    assert!(raw.is_err(), "slices and atomics of the same elements");
    let raw = RawArray::<u64>::zeroed(2).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&raw, &mut bytes).unwrap();
    let handles = || handoff.handles().to_vec();
    assert!(multiproc_wire::decode::<SharedArray<u64>>(&bytes, handles()).is_err());
    assert!(multiproc_wire::decode::<RawArray<i64>>(&bytes, handles()).is_err());
    assert!(multiproc_wire::decode::<RawValue<u64>>(&bytes, handles()).is_err());
    assert!(multiproc_wire::decode::<RawArray<u64>>(&bytes, handles()).is_ok());
}

#[test]
#[should_panic(expected = "elements 2 to 4 of an array of 3")]
fn there_is_nothing_past_the_end() {
    RawArray::<u8>::zeroed(3)
        .unwrap()
        .copy_from_slice(2, &[0; 2]);
}

#[test]
#[should_panic(expected = "of an array of 3")]
fn an_enormous_index_is_none() {
    let _none = RawArray::<u64>::zeroed(3).unwrap().get(usize::MAX);
}
