//! Users of pieces and whole groups of processes, killed at random instants.

#![cfg(not(loom))]

mod common;

use multiproc_process::Process;
use multiproc_shm::{
    ArrayPieces, FrozenArray, PieceError, RawArray, RawValue, SharedArray, SharedValue,
};
use multiproc_testkit::{SIGKILL, descendants, eventually, forever, kill, within};

use common::{LIMIT, oracle};

/// How many are killed; more with the variable set.
fn kills() -> u32 {
    std::env::var("MULTIPROC_KILLS").map_or(60, |kills| kills.parse().expect("a number"))
}

/// Changes pieces for ever, each in two steps.
fn change((pieces, turns): (ArrayPieces<[u64; 2]>, RawValue<u64>)) {
    for index in (0..pieces.len()).cycle() {
        match pieces.take(index) {
            Ok(mut piece) => {
                piece[0][0] += 1;
                (0..200).for_each(|_| std::hint::spin_loop());
                piece[0][1] += 1;
            }
            Err(PieceError::InUse) => {}
            Err(error) => panic!("{error}"),
        }
        turns
            .as_atomic()
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn what_a_killed_user_left_half_changed_is_said_and_no_piece_is_lost() {
    let oracle = oracle();
    let array = SharedArray::<[u64; 2]>::zeroed(3).unwrap();
    let (mut told, mut torn) = (0, 0);
    for round in 0..kills() {
        let turns = RawValue::new(0_u64).unwrap();
        let loan = array.lock().unwrap().lend(1);
        let work = || Process::<()>::spawn(change, (loan.pieces(), turns.clone())).unwrap();
        let (victim, survivor) = (work(), work());
        let enough = u64::from(round % 13) * 97 + 1;
        eventually(LIMIT, "they work", || turns.get() > enough);
        victim.kill().unwrap();
        // Whatever the victim had is had by the other after that.
        let seen = turns.get();
        eventually(LIMIT, "the other works on", || turns.get() > seen + 30);
        let pieces = loan.pieces();
        for index in 0..pieces.len() {
            eventually(LIMIT, "the piece can be had", || pieces.take(index).is_ok());
        }
        survivor.kill().unwrap();
        let mut elements = match loan.finish() {
            Ok(elements) => {
                let sound = elements.iter().all(|[one, two]| one == two);
                assert!(sound, "half changed, and nobody told: {elements:?}");
                elements
            }
            Err(poisoned) => {
                told += 1;
                let pids = [victim.pid(), survivor.pid()];
                assert!(pids.contains(&poisoned.owner().unwrap()));
                poisoned.into_inner()
            }
        };
        for pair in elements.iter_mut() {
            torn += u32::from(pair[0] != pair[1]);
            pair[1] = pair[0];
        }
        array.clear_poison();
        drop(elements);
        for child in [victim, survivor] {
            within(LIMIT, move || child.join().unwrap_err());
        }
    }
    let line = format!(
        "FIGURE users of pieces killed: {}; {told} lenders told, {torn} pieces half changed",
        kills() * 2
    );
    // Without a standard error there is no report.
    let _nobody_reads = std::io::Write::write_all(&mut std::io::stderr(), (line + "\n").as_bytes());
    drop(array);
    oracle.finish();
}

type Everything = (
    SharedArray<u64>,
    SharedArray<u64>,
    FrozenArray<u64>,
    RawArray<u64>,
    ArrayPieces<u64>,
    SharedValue<u64>,
);

/// Holds what it can of it, says so, and goes on.
fn hold((everything, held): (Everything, RawValue<u64>)) {
    let (memory, file, frozen, raw, pieces, value) = everything;
    let _locks = (memory.try_lock(), file.try_lock(), value.try_lock());
    let _piece = (0..pieces.len()).find_map(|index| pieces.take(index).ok());
    raw.set(0, frozen[0]);
    held.as_atomic()
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    forever();
}

/// Makes one of each, and a group that has them.
fn lead((held, group): (RawValue<u64>, usize)) {
    let memory = SharedArray::<u64>::zeroed(1 << 20).unwrap();
    let file = SharedArray::<u64>::builder().in_file();
    let file = file.zeroed(1 << 16).unwrap();
    let frozen = FrozenArray::from_slice(&[7; 1000]).unwrap();
    let lent = SharedArray::<u64>::zeroed(100).unwrap();
    let loan = lent.lock().unwrap().lend(1);
    let everything = (
        memory,
        file,
        frozen,
        RawArray::zeroed(10).unwrap(),
        loan.pieces(),
        SharedValue::new(5).unwrap(),
    );
    let _group: Vec<_> = (0..group)
        .map(|_| Process::<()>::spawn(hold, (everything.clone(), held.clone())).unwrap())
        .collect();
    forever();
}

#[test]
fn nothing_is_left_of_a_group_that_is_killed_whole() {
    let oracle = oracle().with_orphans();
    for _ in 0..5 {
        let held = RawValue::new(0_u64).unwrap();
        let leader = Process::<()>::spawn(lead, (held.clone(), 3)).unwrap();
        eventually(LIMIT, "all have what they can", || held.get() == 3);
        let group = descendants(std::process::id());
        assert!(group.len() >= 4, "{group:?}");
        for process in group {
            // One may have ended with its parent.
            let _gone = kill(process.pid, SIGKILL);
        }
        within(LIMIT, move || leader.join().unwrap_err());
    }
    oracle.finish();
}
