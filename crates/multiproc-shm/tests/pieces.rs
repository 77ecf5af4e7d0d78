//! Arrays lent out in pieces: who gets one, who does not, and what a death leaves.

#![cfg(not(loom))]

mod common;

use std::thread;
use std::time::Duration;

use multiproc_process::Process;
use multiproc_shm::{
    ArrayPiece, ArrayPieces, LockTimeoutError, PieceError, SharedArray, SharedValue, TryLockError,
};
use multiproc_testkit::{eventually, forever, within};

use common::{LIMIT, join, oracle};

/// Takes a piece, says so, and never gives it back.
fn hold((piece, told): (ArrayPiece<u64>, SharedValue<u32>)) {
    let mut elements = piece.take().unwrap();
    elements[0] = 99;
    told.set(1).unwrap();
    forever()
}

#[test]
fn processes_change_an_array_piece_by_piece() {
    let oracle = oracle();
    let array = SharedArray::<usize>::zeroed(1001).unwrap();
    let loan = array.lock().unwrap().lend(10);
    let pieces = loan.pieces();
    assert_eq!((pieces.len(), pieces.range(100)), (101, 1000..1001));
    let work = |(pieces, part): (ArrayPieces<usize>, usize)| {
        for index in (part..pieces.len()).step_by(3) {
            let first = pieces.range(index).start;
            let mut elements = pieces.take(index).unwrap();
            for (at, element) in elements.iter_mut().enumerate() {
                *element = first + at;
            }
        }
    };
    let children: Vec<_> = (0..3)
        .map(|part| Process::spawn(work, (pieces.clone(), part)).unwrap())
        .collect();
    children.into_iter().for_each(join);
    let elements = loan.finish().unwrap();
    assert!(elements.iter().enumerate().all(|(at, n)| at == *n));
    drop((elements, pieces));
    drop(array);
    oracle.finish();
}

#[test]
fn a_piece_is_used_by_one_at_a_time() {
    let oracle = oracle();
    let array = SharedArray::<u64>::zeroed(4).unwrap();
    let told = SharedValue::new(0).unwrap();
    let loan = array.lock().unwrap().lend(2);
    let piece = loan.pieces().get(1);
    // As often as one likes, by whoever has a handle.
    for _ in 0..3 {
        let taken = piece.take().unwrap();
        assert_eq!(piece.take().unwrap_err(), PieceError::InUse);
        thread::scope(|scope| {
            let other = scope.spawn(|| piece.take().map(drop));
            assert_eq!(other.join().unwrap(), Err(PieceError::InUse));
        });
        drop(taken);
    }
    let child = Process::spawn(hold, (loan.pieces().get(1), told.clone())).unwrap();
    eventually(LIMIT, "the piece is taken", || told.get().unwrap() == 1);
    assert_eq!(piece.take().unwrap_err(), PieceError::InUse);
    assert_eq!(loan.pieces().take(0).unwrap().len(), 2);
    let loan = loan.finish_timeout(Duration::from_millis(5)).unwrap_err();
    assert_eq!(loan.pieces().take(0).unwrap_err(), PieceError::Ended);
    child.kill().unwrap();
    let poisoned = loan.finish().unwrap_err();
    assert_eq!(poisoned.owner(), Some(child.pid()));
    assert_eq!(**poisoned.get_ref(), [0, 0, 99, 0]);
    drop((poisoned, child, piece, told));
    drop(array);
    oracle.finish();
}

#[test]
fn many_who_want_the_same_pieces_take_turns() {
    let oracle = oracle();
    let array = SharedArray::<u64>::zeroed(3).unwrap();
    let loan = array.lock().unwrap().lend(1);
    let work = |pieces: ArrayPieces<u64>| {
        for round in 0..3000 {
            let mut element = loop {
                match pieces.take(round % 3) {
                    Ok(piece) => break piece,
                    Err(PieceError::InUse) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            // Two writes that another must not come between.
            let before = element[0];
            element[0] = u64::MAX;
            std::hint::black_box(&mut element);
            element[0] = before + 1;
        }
    };
    let children: Vec<_> = (0..3)
        .map(|_| Process::spawn(work, loan.pieces()).unwrap())
        .collect();
    children.into_iter().for_each(join);
    assert_eq!(*loan.finish().unwrap(), [3000; 3]);
    drop(array);
    oracle.finish();
}

#[test]
fn what_is_not_lent_any_more_cannot_be_taken() {
    let oracle = oracle();
    let array = SharedArray::<u8>::zeroed(10).unwrap();
    let loan = array.lock().unwrap().lend(5);
    let old = loan.pieces();
    drop(old.take(1).unwrap());
    drop(loan);
    assert_eq!(old.take(1).unwrap_err(), PieceError::Ended);
    let loan = array.lock().unwrap().lend(5);
    assert_eq!(old.take(1).unwrap_err(), PieceError::Ended);
    drop(loan.pieces().take(1).unwrap());
    assert_eq!(loan.finish().unwrap().len(), 10);
    assert!(array.try_lock().is_ok());
    // Nothing to lend.
    let empty = SharedArray::<u8>::zeroed(0).unwrap();
    let loan = empty.lock().unwrap().lend(5);
    assert!(loan.pieces().is_empty() && loan.pieces().iter().len() == 0);
    drop(loan);
    drop((old, array, empty));
    oracle.finish();
}

#[test]
fn as_many_pieces_are_in_use_at_a_time_as_the_documents_say() {
    let array = SharedArray::<u8>::zeroed(1000).unwrap();
    let loan = array.lock().unwrap().lend(1);
    let pieces = loan.pieces();
    let taken: Vec<_> = (0..256).map(|at| pieces.take(at).unwrap()).collect();
    assert_eq!(pieces.take(256).unwrap_err(), PieceError::TooMany);
    assert_eq!(pieces.take(0).unwrap_err(), PieceError::InUse);
    drop(taken);
    drop(pieces.take(256).unwrap());
    assert!(loan.finish().is_ok());
}

#[test]
fn a_piece_of_a_dead_user_is_free_again_and_the_array_poisoned() {
    let oracle = oracle();
    let array = SharedArray::<u64>::zeroed(4).unwrap();
    let told = SharedValue::new(0).unwrap();
    let loan = array.lock().unwrap().lend(2);
    let piece = loan.pieces().get(0);
    for _ in 0..10 {
        let child = Process::spawn(hold, (loan.pieces().get(0), told.clone())).unwrap();
        eventually(LIMIT, "the piece is taken", || told.get().unwrap() == 1);
        told.set(0).unwrap();
        child.kill().unwrap();
        within(LIMIT, move || child.join().unwrap_err());
        let mut elements = piece.take().unwrap();
        assert_eq!(elements[0], 99);
        elements[0] = 0;
    }
    assert!(array.is_poisoned());
    array.clear_poison();
    let fail = |piece: ArrayPiece<u64>| piece.take().unwrap()[2] = 1;
    let child = Process::builder()
        .print_panics(false)
        .spawn(fail, loan.pieces().get(0))
        .unwrap();
    let pid = child.pid();
    assert!(within(LIMIT, move || child.join()).is_err());
    assert_eq!(loan.finish().unwrap_err().owner(), Some(pid));
    array.clear_poison();
    assert!(array.lock().is_ok());
    drop((piece, array, told));
    oracle.finish();
}

#[test]
fn a_dead_lenders_array_is_not_had_before_its_pieces_are_free() {
    let oracle = oracle();
    let array = SharedArray::<u64>::zeroed(4).unwrap();
    let told = SharedValue::new(0).unwrap();
    let lend = |(array, told): (SharedArray<u64>, SharedValue<u32>)| {
        let _loan = array.lock().unwrap().lend(2);
        told.set(1).unwrap();
        forever()
    };
    let lender = Process::<()>::spawn(lend, (array.clone(), told.clone())).unwrap();
    eventually(LIMIT, "it is lent", || told.get().unwrap() == 1);
    // What the lender would have sent: it is the array's first lending, and the pieces are of two.
    let pieces: ArrayPieces<u64> = forged(&(array.clone(), 1_u64, 2_u64)).unwrap();
    let piece = pieces.take(1).unwrap();
    let pid = lender.pid();
    lender.kill().unwrap();
    within(LIMIT, move || lender.join().unwrap_err());
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
            let timed = array.lock_timeout(Duration::from_millis(20));
            assert!(matches!(timed, Err(LockTimeoutError::TimedOut)));
        });
        other.join().unwrap();
    });
    assert_eq!(pieces.take(0).unwrap_err(), PieceError::Ended);
    drop(piece);
    assert_eq!(array.lock().unwrap_err().owner(), Some(pid));
    drop((pieces, array, told));
    oracle.finish();
}

/// Whoever makes the bytes of a handle by hand.
fn forged<T: serde::de::DeserializeOwned>(
    parts: &impl serde::Serialize,
) -> Result<T, multiproc_wire::DecodeError> {
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(parts, &mut bytes).unwrap();
    multiproc_wire::decode(&bytes, handoff.handles().to_vec())
}

#[test]
fn handles_that_no_lender_made_are_errors() {
    let oracle = oracle();
    let array = SharedArray::<u64>::zeroed(4).unwrap();
    let loan = array.lock().unwrap().lend(2);
    assert!(forged::<ArrayPieces<u64>>(&(array.clone(), 1_u64, 0_u64)).is_err());
    assert!(forged::<ArrayPiece<u64>>(&(array.clone(), 1_u64, 2_u64, 2_u64)).is_err());
    assert!(forged::<ArrayPiece<u32>>(&(array.clone(), 1_u64, 2_u64, 0_u64)).is_err());
    // Longer pieces than are lent would lie over others.
    let long: ArrayPieces<u64> = forged(&(array.clone(), 1_u64, 3_u64)).unwrap();
    assert_eq!(long.take(0).unwrap_err(), PieceError::Ended);
    drop((long, loan));
    drop(array);
    oracle.finish();
}

#[test]
#[should_panic(expected = "used by the calling thread")]
fn ending_a_loan_of_which_the_same_thread_uses_a_piece_panics_rather_than_hang() {
    let array = SharedArray::<u64>::zeroed(4).unwrap();
    let loan = array.lock().unwrap().lend(2);
    let pieces = loan.pieces();
    let _piece = pieces.take(1).unwrap();
    drop(loan.finish());
}
