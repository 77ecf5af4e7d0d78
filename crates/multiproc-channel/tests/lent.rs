//! Long bytes between processes: lent, read where they lie, and nothing left of them, whoever is killed.

mod oracle;

use std::fs;
use std::time::Duration;

use multiproc_channel::{
    Bytes, ChannelBuilder, Receiver, RecvTimeoutError, Sender, channel, channel_with_capacity,
};
use multiproc_process::Process;
use multiproc_shm::release_spare_memory;
use multiproc_testkit::{forever, within};

use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(60);
const LONG: usize = 1 << 20;

fn bytes(n: u8) -> Bytes {
    Bytes::from(vec![n; LONG])
}

fn is_right(bytes: &Bytes, n: u8) -> bool {
    bytes.len() == LONG && bytes.iter().step_by(61).all(|byte| *byte == n)
}

/// How often a process has shared memory mapped, and how many files it has open.
fn has() -> (usize, usize) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter(|line| line.contains("memfd:"));
    (
        mapped.count(),
        fs::read_dir("/proc/self/fd").unwrap().count(),
    )
}

/// Receives so many; whether they were right, and how many were lent.
fn receive_all((receiver, count): (Receiver<Bytes>, u8)) -> (bool, usize) {
    let mut lent = 0;
    let before = has();
    let all = (0..count).all(|n| {
        let bytes = receiver.recv_timeout(LIMIT).unwrap();
        lent += usize::from(bytes.is_lent());
        is_right(&bytes, n)
    });
    let after = has();
    assert!(
        after.0 <= before.0 + 16 && after.1 <= before.1 + 20,
        "{before:?} {after:?}"
    );
    (all, lent)
}

#[test]
fn many_long_messages_go_through_few_pieces_of_memory() {
    let oracle = oracle();
    let before = has();
    let (sender, receiver) = channel().unwrap();
    let child = Process::spawn(receive_all, (receiver, 200)).unwrap();
    for n in 0..200 {
        sender.send(bytes(n)).unwrap();
        let now = has();
        assert!(
            now.0 <= before.0 + 24 && now.1 <= before.1 + 40,
            "{before:?} {now:?}"
        );
    }
    let (all, lent) = within(LIMIT, move || child.join().unwrap());
    assert!(all && lent >= 16, "{lent}");
    drop(sender);
    release_spare_memory();
    oracle.finish();
}

#[test]
fn what_was_sent_before_the_receiver_moved_is_received_where_it_is() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    for n in 0..5 {
        sender.send(bytes(n)).unwrap();
    }
    // One was looked for, and travels with the receiver.
    assert!(!receiver.is_empty().unwrap());
    let child = Process::spawn(receive_all, (receiver, 5)).unwrap();
    let told = within(LIMIT, move || child.join().unwrap());
    assert_eq!(told, (true, 5));
    drop(sender);
    release_spare_memory();
    oracle.finish();
}

fn hold((receiver, told): (Receiver<Bytes>, Sender<usize>)) {
    let held: Vec<_> = (0..5).map(|_| receiver.recv().unwrap()).collect();
    told.send(held.len()).unwrap();
    forever();
}

#[test]
fn a_receiver_that_is_killed_with_what_it_was_lent_leaves_nothing_behind() {
    let oracle = oracle();
    for _ in 0..5 {
        let (sender, receiver) = channel().unwrap();
        let (told, told_here) = channel().unwrap();
        let child = Process::spawn(hold, (receiver, told)).unwrap();
        for n in 0..5 {
            sender.send(bytes(n)).unwrap();
        }
        assert_eq!(told_here.recv_timeout(LIMIT).unwrap(), 5);
        child.kill().unwrap();
        within(LIMIT, move || child.join().unwrap_err());
        let mut n = 0;
        let back = loop {
            n += 1;
            if let Err(error) = sender.send(bytes(n)) {
                break error.into_inner();
            }
        };
        assert!(is_right(&back, n));
    }
    release_spare_memory();
    oracle.finish();
}

fn send_some_and_wait((sender, told): (Sender<Bytes>, Sender<()>)) {
    (0..5).for_each(|n| sender.send(bytes(n)).unwrap());
    told.send(()).unwrap();
    forever();
}

#[test]
fn what_a_sender_that_is_killed_has_lent_stays_as_it_is() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let (told, told_here) = channel().unwrap();
    let child = Process::spawn(send_some_and_wait, (sender, told)).unwrap();
    told_here.recv_timeout(LIMIT).unwrap();
    let first = receiver.recv_timeout(LIMIT).unwrap();
    child.kill().unwrap();
    within(LIMIT, move || child.join().unwrap_err());
    let rest: Vec<_> = (1..5)
        .map(|_| receiver.recv_timeout(LIMIT).unwrap())
        .collect();
    assert!(first.is_lent() && is_right(&first, 0));
    assert!((1..).zip(&rest).all(|(n, bytes)| is_right(bytes, n)));
    let end = receiver.recv_timeout(LIMIT);
    assert!(matches!(end, Err(RecvTimeoutError::Disconnected(_))));
    drop((first, rest, receiver, told_here));
    release_spare_memory();
    oracle.finish();
}

#[test]
fn what_was_not_sent_is_not_lent_and_the_longest_message_is_what_was_said() {
    let oracle = oracle();
    let (sender, receiver) = channel_with_capacity::<Bytes>(1 << 14).unwrap();
    // More than can be lent, to nobody who receives: the last finds no room.
    let mut sent = 0_u8;
    while sender.try_send(bytes(sent)).is_ok() {
        sent += 1;
    }
    assert!((1..=16).contains(&sent), "{sent}");
    assert!((0..sent).all(|n| is_right(&receiver.recv().unwrap(), n)));
    sender.send(bytes(9)).unwrap();
    assert!(
        receiver.recv().unwrap().is_lent(),
        "what came back is lent again"
    );
    let (short, _receiver) = ChannelBuilder::new()
        .max_message(LONG / 2)
        .channel::<Bytes>()
        .unwrap();
    let error = short.send(bytes(1)).unwrap_err();
    assert!(is_right(&error.into_inner(), 1));
    drop((short, _receiver, receiver, sender));
    release_spare_memory();
    oracle.finish();
}
