//! Arrays that nobody changes any more: who can have them, and that nobody can.

#![cfg(not(loom))]

mod common;

use multiproc_process::Process;
use multiproc_shm::{FrozenArray, SharedArray};
use multiproc_testkit::within;

use common::{LIMIT, join, oracle};

#[test]
fn what_workers_have_filled_is_a_slice_for_all() {
    let oracle = oracle();
    let array = SharedArray::<f64>::zeroed(1000).unwrap();
    let fill = |(array, part): (SharedArray<f64>, usize)| {
        let mut elements = array.lock().unwrap();
        elements[part * 500..][..500].fill(part as f64);
    };
    for part in 0..2 {
        join(Process::spawn(fill, (array.clone(), part)).unwrap());
    }
    let frozen = array.freeze().unwrap();
    assert_eq!(frozen[499..501], [0.0, 1.0]);
    // It travels, is a slice there, and comes back.
    let sum = |frozen: FrozenArray<f64>| (frozen.iter().sum::<f64>(), frozen);
    let (total, back) = join(Process::spawn(sum, frozen.clone()).unwrap());
    assert_eq!(total, 500.0);
    assert_eq!(back.as_ptr(), frozen.as_ptr(), "mapped once");
    drop((frozen, back));
    oracle.finish();
}

#[test]
fn nobody_else_is_deprived() {
    let oracle = oracle();
    let array = SharedArray::from_slice(&[1_u16, 2, 3]).unwrap();
    let other = array.clone();
    let frozen = array.freeze().unwrap();
    other.lock().unwrap()[0] = 9;
    assert_eq!(*frozen, [1, 2, 3], "a copy");
    assert_eq!(other.to_vec().unwrap(), [9, 2, 3]);
    // Another process has it: a copy too.
    let keep = |array: SharedArray<u16>| {
        let frozen = array.clone().freeze().unwrap();
        (array.to_vec().unwrap(), frozen)
    };
    let (seen, theirs) = join(Process::spawn(keep, other.clone()).unwrap());
    assert_eq!((seen, theirs.to_vec()), (vec![9, 2, 3], vec![9, 2, 3]));
    other.lock().unwrap()[1] = 8;
    assert_eq!(*other.freeze().unwrap(), [9, 8, 3]);
    drop((frozen, theirs));
    oracle.finish();
}

#[test]
fn a_handle_that_is_on_its_way_arrives_as_an_error() {
    let array = SharedArray::from_slice(&[1_u16, 2, 3]).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let frozen = array.freeze().unwrap();
    let handles = || handoff.handles().to_vec();
    let late = multiproc_wire::decode::<SharedArray<u16>>(&bytes, handles());
    assert!(late.unwrap_err().to_string().contains("was frozen"));
    let same = multiproc_wire::decode::<FrozenArray<u16>>(&bytes, handles()).unwrap();
    assert_eq!((same.as_ptr(), &*same), (frozen.as_ptr(), &[1, 2, 3][..]));
}

#[test]
fn what_is_not_frozen_does_not_pass_for_it() {
    let array = SharedArray::from_slice(&[1_u16, 2, 3]).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let refused = multiproc_wire::decode::<FrozenArray<u16>>(&bytes, handoff.handles().to_vec());
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("not sealed against writing"), "{why}");
    let frozen = FrozenArray::from_slice(&[1_u16, 2, 3]).unwrap();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&frozen, &mut bytes).unwrap();
    let handles = || handoff.handles().to_vec();
    assert!(multiproc_wire::decode::<FrozenArray<i16>>(&bytes, handles()).is_err());
    assert!(multiproc_wire::decode::<SharedArray<u16>>(&bytes, handles()).is_err());
    assert!(serde_json::to_string(&frozen).is_err());
}

#[test]
fn a_poisoned_array_is_not_frozen_before_that_is_cleared() {
    let oracle = oracle();
    let array = SharedArray::from_slice(&[1_u8, 2]).unwrap();
    let kill = |array: SharedArray<u8>| {
        let _held = array.lock().unwrap();
        std::process::abort();
    };
    let child = Process::<()>::spawn(kill, array.clone()).unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    let refused = array.freeze().unwrap_err();
    assert!(refused.is_poisoned(), "{refused:?}");
    let array = refused.into_array().unwrap();
    array.clear_poison();
    let frozen = array.freeze().unwrap();
    assert!(!frozen.is_poisoned());
    drop(frozen);
    oracle.finish();
}

#[test]
fn nothing_can_be_frozen_too() {
    let empty = SharedArray::<u64>::zeroed(0).unwrap().freeze().unwrap();
    assert!(empty.is_empty());
    let wide = FrozenArray::from_slice(&[u128::MAX; 3]).unwrap();
    assert_eq!(*wide, [u128::MAX; 3]);
}
