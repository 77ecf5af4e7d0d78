//! Arrays and values shared by real processes, their locks when a holder dies, and what bad use gets.

#![cfg(not(loom))]

mod common;

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use multiproc_process::Process;
use multiproc_shm::{LockTimeoutError, SharedArray, SharedValue, TryLockError};
use multiproc_testkit::{forever, within};

use common::{LIMIT, join, oracle};

#[test]
fn processes_see_each_others_elements() {
    let oracle = oracle();
    let array = SharedArray::from_slice(&(2..=16).collect::<Vec<i32>>()).unwrap();
    let cube = |(array, i): (SharedArray<i32>, usize)| {
        let mut elements = array.lock().unwrap();
        elements[i] = elements[i].pow(3);
    };
    let children: Vec<_> = (0..array.len())
        .map(|i| Process::spawn(cube, (array.clone(), i)).unwrap())
        .collect();
    children.into_iter().for_each(join);
    let cubes: Vec<i32> = (2..=16_i32).map(|n| n.pow(3)).collect();
    assert_eq!(array.to_vec().unwrap(), cubes);
    drop(array);
    oracle.finish();
}

#[test]
fn arrays_come_back_from_where_they_were_made() {
    let oracle = oracle();
    let make = |length: usize| {
        let array = SharedArray::<f64>::zeroed(length).unwrap();
        array.lock().unwrap()[length - 1] = 0.5;
        (array, SharedValue::new(7_u8).unwrap())
    };
    let (array, value) = join(Process::spawn(make, 1000).unwrap());
    assert_eq!((array.len(), value.get().unwrap()), (1000, 7));
    assert_eq!(array.lock().unwrap()[998..], [0.0, 0.5]);
    drop((array, value));
    oracle.finish();
}

#[test]
fn the_same_array_twice_in_one_message_is_one_array() {
    let oracle = oracle();
    let array = SharedArray::from_slice(&[1_u8]).unwrap();
    let same = |arrays: (SharedArray<u8>, Vec<SharedArray<u8>>)| {
        arrays.0.lock().unwrap()[0] = 9;
        arrays
            .1
            .iter()
            .map(|array| array.lock().unwrap()[0])
            .collect::<Vec<_>>()
    };
    let copies = vec![array.clone(); 300];
    assert_eq!(
        join(Process::spawn(same, (array.clone(), copies)).unwrap()),
        [9; 300]
    );
    drop(array);
    oracle.finish();
}

#[test]
fn a_dead_holder_poisons_and_wakes() {
    let oracle = oracle();
    let array = SharedArray::from_slice(&[0_u64; 2]).unwrap();
    let told = SharedValue::new(0_u32).unwrap();
    let half_way = |(array, told): (SharedArray<u64>, SharedValue<u32>)| {
        let mut elements = array.lock().unwrap();
        elements[0] = 1;
        told.set(1).unwrap();
        if elements[1] == 0 {
            forever();
        }
        elements[1] = 1;
    };
    let holder = Process::spawn(half_way, (array.clone(), told.clone())).unwrap();
    within(LIMIT, {
        let told = told.clone();
        move || while told.get().unwrap() == 0 {}
    });
    assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
    let timed = array.lock_timeout(Duration::from_millis(5));
    assert!(matches!(timed, Err(LockTimeoutError::TimedOut)));
    drop(timed);
    let waiter = {
        let array = array.clone();
        std::thread::spawn(move || {
            let poisoned = array.lock().unwrap_err();
            (poisoned.owner(), poisoned.into_inner().to_vec())
        })
    };
    let pid = holder.pid();
    holder.kill().unwrap();
    let (owner, seen) = within(LIMIT, || waiter.join().unwrap());
    assert_eq!((owner, seen), (Some(pid), vec![1, 0]));
    assert!(array.is_poisoned() && array.to_vec().is_err());
    assert_eq!(array.to_vec().unwrap_err().into_inner(), [1, 0]);
    array.clear_poison();
    assert_eq!(array.to_vec().unwrap(), [1, 0]);
    drop((array, told, holder));
    oracle.finish();
}

#[test]
fn a_panicking_holder_poisons_too() {
    let oracle = oracle();
    let value = SharedValue::new(1_i32).unwrap();
    fn fail(value: SharedValue<i32>) {
        let mut held = value.lock().unwrap();
        *held = 2;
        panic!("half-way");
    }
    let child = Process::builder()
        .print_panics(false)
        .spawn(fail, value.clone())
        .unwrap();
    let pid = child.pid();
    let error = within(LIMIT, move || child.join().unwrap_err());
    assert_eq!(error.panic().unwrap().message, "half-way");
    assert_eq!(value.get().unwrap_err().owner(), Some(pid));
    assert_eq!(value.set(3).unwrap_err().owner(), Some(pid));
    value.clear_poison();
    assert_eq!(value.get().unwrap(), 3);
    drop(value);
    oracle.finish();
}

#[test]
fn a_leaked_guard_keeps_its_memory_and_harms_nothing() {
    let oracle = oracle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let leaked = SharedArray::from_slice(&[1_u8]).unwrap();
            #[expect(clippy::mem_forget, reason = "this is what is tried")]
            std::mem::forget(leaked.lock());
            drop(leaked);
            let other = SharedValue::new(5).unwrap();
            *other.lock().unwrap() += 1;
            assert_eq!(other.get().unwrap(), 6);
        });
    });
    oracle.finish();
}

#[test]
fn a_guard_is_bytes_and_atomics_too() {
    let array = SharedArray::from_slice(&[1_u32, 0x0102_0304]).unwrap();
    let mut guard = array.lock().unwrap();
    assert_eq!(guard.as_bytes()[4..], 0x0102_0304_u32.to_ne_bytes());
    guard.as_bytes_mut().fill(0xff);
    assert_eq!(*guard, [u32::MAX; 2]);
    let atomics = guard.as_atomics();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| atomics[1].fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    });
    assert_eq!(*guard, [u32::MAX, 1]);
}

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

#[test]
fn elements_are_of_any_plain_type_and_number() {
    let oracle = oracle();
    let points = SharedArray::from_slice(&[Point { x: 1.0, y: 2.0 }; 3]).unwrap();
    points.lock().unwrap()[1].y = -1.0;
    assert_eq!(points.to_vec().unwrap()[1], Point { x: 1.0, y: -1.0 });
    let wide = SharedArray::<[u64; 4]>::zeroed(2).unwrap();
    assert_eq!(wide.to_vec().unwrap(), [[0; 4]; 2]);
    let empty = SharedArray::<i32>::from_slice(&[]).unwrap();
    assert!(empty.is_empty() && empty.lock().unwrap().is_empty());
    assert_eq!(
        join(Process::spawn(|a: SharedArray<i32>| a.len(), empty.clone()).unwrap()),
        0
    );
    drop((points, wide, empty));
    oracle.finish();
}

#[test]
fn what_cannot_be_is_an_error() {
    let oracle = oracle();
    for length in [usize::MAX, usize::MAX / 8, 1 << 44] {
        let error = SharedArray::<u64>::zeroed(length).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
    let array = SharedArray::from_slice(&[1_u8, 2]).unwrap();
    let json = serde_json::to_string(&array).unwrap_err();
    assert!(
        json.to_string().contains("can only travel in a message"),
        "{json}"
    );
    let json =
        serde_json::from_str::<SharedValue<u8>>(r#"[{"handle":0,"id":[0,0]},null]"#).unwrap_err();
    assert!(
        json.to_string().contains("can only travel in a message"),
        "{json}"
    );
    // The receiver takes it for something else.
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&array, &mut bytes).unwrap();
    let other = multiproc_wire::decode::<SharedArray<u16>>(&bytes, handoff.handles().to_vec());
    assert!(other.is_err());
    let other = multiproc_wire::decode::<SharedArray<i8>>(&bytes, handoff.handles().to_vec());
    assert!(other.is_err(), "of the same size, but another type");
    let same =
        multiproc_wire::decode::<SharedArray<u8>>(&bytes, handoff.handles().to_vec()).unwrap();
    assert_eq!(same.to_vec().unwrap(), [1, 2]);
    let missing = multiproc_wire::decode::<SharedArray<u8>>(&bytes, vec![]);
    assert!(missing.is_err());
    drop((array, handoff, same));
    oracle.finish();
}

#[test]
fn guards_copies_and_poison_do_to_each_other_what_the_documents_say() {
    let oracle = oracle();
    let array = SharedArray::from_slice(&[1_u8, 2]).unwrap();
    let panics = |run: &dyn Fn()| {
        let message = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let message = *message.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("already"), "{message}");
    };
    let guard = array.lock().unwrap();
    panics(&|| drop(array.lock()));
    panics(&|| drop(array.lock_timeout(LIMIT)));
    panics(&|| drop(array.to_vec()));
    panics(&|| drop(array.clone().freeze()));
    assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock)));
    assert_eq!((array.len(), array.is_poisoned()), (2, false));
    // Nor does any of those take the guard away.
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(array.try_lock(), Err(TryLockError::WouldBlock))));
    });
    drop(guard);
    let abort = |array: SharedArray<u8>| {
        let _held = array.lock().unwrap();
        std::process::abort();
    };
    let child = Process::<()>::spawn(abort, array.clone()).unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    for _ in 0..2 {
        assert_eq!(**array.lock().unwrap_err().get_ref(), [1, 2]);
        assert!(matches!(array.try_lock(), Err(TryLockError::Poisoned(_))));
        assert!(matches!(
            array.lock_timeout(LIMIT),
            Err(LockTimeoutError::Poisoned(_))
        ));
        assert_eq!(array.to_vec().unwrap_err().into_inner(), [1, 2]);
        assert!(array.clone().freeze().unwrap_err().is_poisoned());
    }
    array.clear_poison();
    assert_eq!(array.to_vec().unwrap(), [1, 2]);
    drop(array);
    oracle.finish();
}

/// Forks, runs `child` there, and gives what it answers.
fn forked(child: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child calls nothing but the handles under test, which take no lock of the standard library's
    // that another thread could have had, and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let answer = child();
        // SAFETY: takes no pointer.
        unsafe { libc::_exit(answer.into()) };
    }
    let mut status = 0;
    // SAFETY: `status` is live.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert!(waited == pid && libc::WIFEXITED(status), "{status}");
    libc::WEXITSTATUS(status)
}

#[test]
fn a_forked_child_has_its_parents_handles_but_none_of_its_guards() {
    let oracle = oracle();
    let fork = |()| {
        let array = SharedArray::from_slice(&[1_u8, 2]).unwrap();
        let (lent, value) = (
            SharedArray::from_slice(&[1_u8, 2]).unwrap(),
            SharedValue::new(5).unwrap(),
        );
        // Nobody has a guard: the child takes and releases it.
        let child = || {
            array.lock().unwrap()[0] = 10;
            value.set(6).unwrap();
            array.to_vec().unwrap()[0]
        };
        let seen = forked(child);
        let changed = (seen, array.to_vec().unwrap(), value.get().unwrap());
        // The parent has: the child is kept out, and the copies of the guards do nothing there.
        let guard = array.lock().unwrap();
        let loan = lent.lock().unwrap().lend(1);
        let pieces = loan.pieces();
        let piece = pieces.take(1).unwrap();
        let inherited = std::cell::Cell::new(Some((guard, piece)));
        let child = || {
            drop(inherited.take());
            u8::from(array.try_lock().is_err()) + 2 * u8::from(pieces.take(1).is_err())
        };
        let kept_out = forked(child);
        let still = pieces.take(1).is_err();
        drop(inherited);
        let sound = loan.finish().is_ok() && array.lock().is_ok();
        (changed, kept_out, still, sound)
    };
    let child = Process::spawn(fork, ()).unwrap();
    let (changed, kept_out, still, sound) = within(LIMIT, move || child.join().unwrap());
    assert_eq!(changed, (10, vec![10, 2], 6));
    assert_eq!((kept_out, still, sound), (3, true, true));
    oracle.finish();
}

#[test]
#[should_panic(expected = "already")]
fn taking_a_lock_twice_in_one_thread_panics_rather_than_hang() {
    let value = SharedValue::new(1).unwrap();
    let _held = value.lock().unwrap();
    let _again = value.get();
}
