//! Memory that is sent again through a channel: its descriptor is there already, and let go when it is gone at its sender.
#![expect(
    clippy::print_stdout,
    reason = "by a line a program says that it has begun"
)]

mod oracle;

use std::fmt::Display;
use std::thread;
use std::time::Duration;
use std::{env, fs};

use multiproc_channel::{
    Duplex, Receiver, RecvTimeoutError, Sender, TrySendError, channel, channel_with_capacity,
    duplex,
};
use multiproc_process::Process;
use multiproc_shm::{Event, FrozenArray, Lock, SharedArray, release_spare_memory};
use multiproc_testkit::{
    Calls, Program, SIGKILL, eventually, forever, linger, mark, system_calls, within,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(60);
const TIMES: u64 = 1_000;
/// Where a test runs as the program that is counted.
const ROLE: &str = "MULTIPROC_CHANNEL_COUNTED";
const BEGUN: &str = "messages are sent";

type Array = SharedArray<u64>;

fn array(number: u64) -> Array {
    SharedArray::from_slice(&[number; 8]).unwrap()
}

fn number(array: &Array) -> u64 {
    array.lock().unwrap()[7]
}

/// How many files this process has open.
fn open() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many memories without a name a process has open.
fn memories(pid: impl Display) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets
        .filter(|target| target.to_string_lossy().contains("memfd:"))
        .count()
}

/// Answers each array by what is in it, and, where that is asked, how many files are open, having let go of the array.
fn answer(line: Duplex<(u64, usize), (Array, bool)>) {
    while let Ok((array, asked)) = line.recv() {
        let number = number(&array);
        drop(array);
        let files = if asked { open() } else { 0 };
        if line.send((number, files)).is_err() {
            return;
        }
    }
}

#[test]
fn a_thousand_times_the_same_opens_and_sends_no_descriptor() {
    const TEST: &str = "a_thousand_times_the_same_opens_and_sends_no_descriptor";
    if env::var(ROLE).is_ok() {
        let (ours, theirs) = duplex().unwrap();
        let _child = Process::spawn(answer, theirs).unwrap();
        let array = array(7);
        let ask = |asked| {
            ours.send((array.clone(), asked)).unwrap();
            let (number, files) = ours.recv().unwrap();
            assert_eq!(number, 7);
            files
        };
        (0..10).for_each(|_| assert_eq!(ask(false), 0));
        let before = (open(), ask(true));
        println!("\n{BEGUN}");
        loop {
            mark(true);
            (0..TIMES).for_each(|_| assert_eq!(ask(false), 0));
            mark(false);
            assert_eq!((open(), ask(true)), before);
        }
    }
    let oracle = oracle();
    let itself = env::current_exe().unwrap();
    let program = Program::new(itself).args(["--exact", TEST, "--nocapture"]);
    let mut running = program.env(ROLE, "1").deadline(LIMIT).start();
    while running.next_line(LIMIT) != BEGUN {}
    let threads = system_calls(running.pid());
    running.kill(SIGKILL);
    assert!(!running.wait().status.success());
    let both: Vec<&Calls> = threads.iter().filter(|calls| calls.all() > 0).collect();
    assert!(both.len() >= 2, "{threads:?}");
    for calls in both {
        for opens in [
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_openat,
            libc::SYS_memfd_create,
            libc::SYS_close,
        ] {
            assert_eq!(calls.of(opens), 0, "{calls:?}");
        }
        // A side that was kept from running for milliseconds is woken by a bell, in which there is no descriptor.
        let messages = calls.of(libc::SYS_sendmsg) + calls.of(libc::SYS_recvmsg);
        assert!(messages <= TIMES / 10, "{calls:?}");
    }
    oracle.finish();
}

type All = (Array, FrozenArray<u8>, Lock, Event);

/// How many files are open when so many have been received, and when all that was kept was let go.
fn receive_all((receiver, count): (Receiver<All>, usize)) -> (usize, usize) {
    let before = open();
    for _ in 0..count {
        let (array, frozen, lock, event) = receiver.recv_timeout(LIMIT).unwrap();
        assert_eq!((number(&array), frozen[3]), (5, 7));
        drop(lock.lock().unwrap());
        assert!(event.is_set());
    }
    let kept = open() - before;
    eventually(LIMIT, "it is let go", || {
        let end = receiver.recv_timeout(Duration::from_millis(1));
        assert!(matches!(end, Err(RecvTimeoutError::Timeout)), "{end:?}");
        open() <= before
    });
    (kept, open() - before)
}

#[test]
fn what_is_gone_at_its_sender_is_let_go_by_the_receiver() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let frozen = FrozenArray::from_slice(&[7_u8; 10]).unwrap();
    let all: All = (
        array(5),
        frozen,
        Lock::new().unwrap(),
        Event::new().unwrap(),
    );
    all.3.set();
    let child = Process::spawn(receive_all, (receiver, 10)).unwrap();
    let copy = |all: &All| (all.0.clone(), all.1.clone(), all.2.clone(), all.3.clone());
    (0..10).for_each(|_| sender.send(copy(&all)).unwrap());
    drop(all);
    // It may be that the child had not received the last when they were gone here.
    let (kept, left) = within(LIMIT, move || child.join().unwrap());
    assert!(kept <= 4 && left == 0, "{kept} {left}");
    drop(sender);
    release_spare_memory();
    oracle.finish();
}

#[test]
fn what_is_sent_once_is_not_kept() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let before = memories("self");
    let all: Vec<Array> = (0..20).map(array).collect();
    let with_all = memories("self");
    for (number_, array) in (0..).zip(&all) {
        sender.send(array.clone()).unwrap();
        assert_eq!(number(&receiver.recv().unwrap()), number_);
        assert_eq!(memories("self"), with_all);
    }
    // The second time it is; and let go with it, though it is the same process.
    for array in &all {
        sender.send(array.clone()).unwrap();
        receiver.recv().unwrap();
    }
    assert_eq!(memories("self"), with_all + 20);
    drop(all);
    assert!(receiver.try_recv().is_err());
    release_spare_memory();
    assert_eq!(memories("self"), before);
    drop((sender, receiver));
    oracle.finish();
}

/// Sends back what comes, and has it as long as something comes.
fn send_back(line: Duplex<Array, Option<Array>>) {
    let mut has = None;
    while let Ok(array) = line.recv() {
        if let Some(array) = &array {
            line.send(array.clone()).unwrap();
        }
        has = array;
    }
    drop(has);
}

#[test]
fn two_who_send_each_other_the_same_do_not_keep_it_for_each_other() {
    let oracle = oracle();
    let (ours, theirs) = duplex::<Option<Array>, Array>().unwrap();
    let child = Process::spawn(send_back, theirs).unwrap();
    let pid = child.pid();
    let here = memories("self");
    let array = array(9);
    let exchange = || {
        ours.send(Some(array.clone())).unwrap();
        assert_eq!(number(&ours.recv().unwrap()), 9);
        (memories("self"), memories(pid))
    };
    let without = exchange();
    assert_eq!(without.0, here + 1);
    let _all: Vec<_> = (0..10).map(|_| exchange()).collect();
    assert_eq!(exchange(), (without.0 + 1, without.1 + 1), "both keep it");
    ours.send(None).unwrap();
    drop(array);
    eventually(LIMIT, "both let it go", || {
        assert!(ours.try_recv().is_err());
        release_spare_memory();
        (memories("self") + 1, memories(pid) + 1) == without
    });
    drop(ours);
    within(LIMIT, move || child.join().unwrap());
    oracle.finish();
}

#[test]
fn no_more_is_kept_than_there_are_places() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let all: Vec<Array> = (0..200).map(array).collect();
    let before = memories("self");
    for round in 0..4 {
        for (number_, array) in (0..).zip(&all) {
            sender.send(vec![array.clone()]).unwrap();
            assert_eq!(number(&receiver.recv().unwrap()[0]), number_);
        }
        assert!(memories("self") <= before + 64, "{round}");
    }
    // More than there are places, at once; and as many.
    for count in [200, 64, 65, 63, 64] {
        for _ in 0..3 {
            sender.send(all[..count].to_vec()).unwrap();
            let found = receiver.recv().unwrap();
            assert!(found.iter().map(number).eq(0..count as u64), "{count}");
        }
        assert!(memories("self") <= before + 64, "{count}");
    }
    drop((sender, receiver, all));
    release_spare_memory();
    oracle.finish();
}

fn receive_numbers((receiver, count): (Receiver<(u64, Array)>, u64)) -> bool {
    (0..count).all(|_| {
        let (told, array) = receiver.recv_timeout(LIMIT).unwrap();
        number(&array) == told
    })
}

#[test]
fn a_receiver_that_moves_takes_along_what_it_keeps() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let all: Vec<Array> = (0..10).map(array).collect();
    let send = |times| {
        for _ in 0..times {
            for (number, array) in (0..).zip(&all) {
                sender.send((number, array.clone())).unwrap();
            }
        }
    };
    send(3);
    for _ in 0..25 {
        let (told, array) = receiver.recv().unwrap();
        assert_eq!(number(&array), told);
    }
    // Named, and not received; one is looked for.
    send(2);
    assert!(!receiver.is_empty().unwrap());
    let there = Process::spawn(receive_numbers, (receiver, 75)).unwrap();
    send(5);
    assert!(within(LIMIT, move || there.join().unwrap()));
    drop((sender, all));
    release_spare_memory();
    oracle.finish();
}

#[test]
fn a_message_that_is_given_back_has_named_nothing() {
    let oracle = oracle();
    let (sender, receiver) = channel_with_capacity(1 << 10).unwrap();
    let all: Vec<Array> = (0..100).map(array).collect();
    let mut sent = 0_u64;
    let (mut received, mut refused) = (0_u64, 0);
    // Some introduce, some name, and some of each kind find no room.
    for step in 0..4_000_u64 {
        let number_ = step * step % 100;
        let which = usize::try_from(number_).unwrap();
        match sender.try_send((number_, all[which].clone())) {
            Ok(()) => sent += 1,
            Err(TrySendError::Full((back, array))) => {
                assert_eq!((back, number(&array)), (number_, number_));
                refused += 1;
                for _ in 0..step % 30 {
                    let Ok((told, array)) = receiver.try_recv() else {
                        break;
                    };
                    assert_eq!(number(&array), told);
                    received += 1;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 100, "{refused}");
    while let Ok((told, array)) = receiver.try_recv() {
        assert_eq!(number(&array), told);
        received += 1;
    }
    assert_eq!(sent, received);
    drop((sender, receiver, all));
    release_spare_memory();
    oracle.finish();
}

/// Sends arrays of its own, each again and again, with others between them.
fn send_for_ever((sender, name): (Sender<(u64, Vec<Array>)>, u64)) {
    let all: Vec<Array> = (0..20).map(|_| array(name)).collect();
    for step in 0_usize.. {
        let some = (0..step % 4).map(|at| all[(step * step + at) % 20].clone());
        if sender.send((name, some.collect())).is_err() {
            return;
        }
    }
}

/// Each message has the arrays that its sender has put into it, whoever is killed at whatever instant.
#[test]
fn senders_killed_at_any_instant_spoil_no_others_names() {
    const ROUNDS: u64 = 30;
    let oracle = oracle();
    within(LIMIT, || {
        // As small as one of the messages: a sender is often in the middle of one.
        let (sender, receiver) = channel_with_capacity(1 << 9).unwrap();
        let start = |name| Process::spawn(send_for_ever, (sender.clone(), name)).unwrap();
        let mut senders: Vec<_> = (0..3).map(start).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for name in 3..3 + ROUNDS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let oldest = senders.remove(0);
            let killing = thread::spawn(move || {
                linger(Duration::from_micros(state % 3_000));
                oldest.kill().unwrap();
                oldest.join().unwrap_err();
            });
            senders.push(start(name));
            let mut after = 0;
            while after < 100 {
                let (name, arrays) = receiver.recv_timeout(LIMIT).unwrap();
                for array in &arrays {
                    assert_eq!(number(array), name);
                }
                after += usize::from(killing.is_finished());
            }
            killing.join().unwrap();
        }
        drop(receiver);
        for child in senders {
            child.join().unwrap();
        }
    });
    release_spare_memory();
    oracle.finish();
}

fn keep((receiver, told): (Receiver<Array>, Sender<()>)) {
    let _all: Vec<Array> = (0..10).map(|_| receiver.recv().unwrap()).collect();
    told.send(()).unwrap();
    forever();
}

#[test]
fn a_receiver_that_is_killed_leaves_nothing_behind() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let (told, told_here) = channel().unwrap();
    let child = Process::spawn(keep, (receiver, told)).unwrap();
    let array = array(3);
    (0..10).for_each(|_| sender.send(array.clone()).unwrap());
    told_here.recv_timeout(LIMIT).unwrap();
    child.kill().unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    let back = loop {
        if let Err(error) = sender.send(array.clone()) {
            break error.into_inner();
        }
    };
    assert_eq!(number(&back), 3);
    drop((sender, array, back, told_here));
    release_spare_memory();
    oracle.finish();
}

/// Encodes as an array that nobody has when the message is sent, and is decoded as that.
struct Fresh(Array);

impl Serialize for Fresh {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        array(number(&self.0)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fresh {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fresh, D::Error> {
        Array::deserialize(deserializer).map(Fresh)
    }
}

#[test]
fn what_is_gone_before_its_message_is_sent_arrives() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let array = array(6);
    for _ in 0..5 {
        sender.send((Fresh(array.clone()), array.clone())).unwrap();
    }
    for _ in 0..5 {
        let (Fresh(fresh), old) = receiver.recv().unwrap();
        assert_eq!((number(&fresh), number(&old)), (6, 6));
    }
    drop((sender, receiver, array));
    release_spare_memory();
    oracle.finish();
}
