//! Channels between real processes: moves, disconnection, deaths.

mod oracle;

use std::time::Duration;

use multiproc_channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, Sender, channel, channel_with_capacity,
};
use multiproc_process::Process;
use multiproc_testkit::{forever, within};

use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(60);

/// The oracle, once what a process keeps for good (the lifeline, the reaper) is there.
fn join<R: serde::de::DeserializeOwned + Send + 'static>(child: Process<R>) -> R {
    within(LIMIT, move || child.join().unwrap())
}

/// Waits for a message as long as a test may.
fn receive<T: serde::de::DeserializeOwned>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(LIMIT).unwrap()
}

fn assert_ended<T: serde::de::DeserializeOwned>(receiver: &Receiver<T>) {
    let end = receiver.recv_timeout(LIMIT);
    assert!(matches!(end, Err(RecvTimeoutError::Disconnected(_))));
}

fn count_up((sender, to): (Sender<u64>, u64)) {
    (0..to).for_each(|number| sender.send(number).unwrap());
}

fn echo((receiver, sender): (Receiver<u64>, Sender<u64>)) {
    for message in &receiver {
        sender.send(message.unwrap()).unwrap();
    }
}

#[test]
fn a_childs_messages_arrive_and_then_its_end() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let child = Process::spawn(count_up, (sender, 200_000)).unwrap();
    for expected in 0..200_000 {
        assert_eq!(receive(&receiver), expected);
    }
    assert_ended(&receiver);
    join(child);
    drop(receiver);
    oracle.finish();
}

#[test]
fn messages_go_back_and_forth_between_the_awake_and_the_asleep() {
    let oracle = oracle();
    let (to_child, from_parent) = channel().unwrap();
    let (to_parent, from_child) = channel().unwrap();
    let child = Process::spawn(echo, (from_parent, to_parent)).unwrap();
    for number in 0..20_000 {
        to_child.send(number).unwrap();
        assert_eq!(receive(&from_child), number);
        if number % 1_000 == 0 {
            multiproc_testkit::linger(Duration::from_millis(2));
        }
    }
    drop(to_child);
    assert_ended(&from_child);
    join(child);
    drop(from_child);
    oracle.finish();
}

#[test]
fn a_receiver_moves_to_a_process_and_comes_back_with_its_result() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    (0..10).for_each(|number| sender.send(number).unwrap());
    let take_some = |receiver: Receiver<u64>| {
        let sum: u64 = (0..5).map(|_| receiver.recv().unwrap()).sum();
        (sum, receiver)
    };
    let (sum, receiver) = join(Process::spawn(take_some, receiver).unwrap());
    assert_eq!(sum, 10);
    drop(sender);
    assert_eq!(
        receiver.iter().collect::<Result<Vec<_>, _>>().unwrap(),
        [5, 6, 7, 8, 9]
    );
    drop(receiver);
    oracle.finish();
}

#[test]
fn many_processes_send_long_messages_and_each_arrives_whole() {
    let oracle = oracle();
    let (sender, receiver) = channel_with_capacity::<Vec<u32>>(1 << 12).unwrap();
    let send_many = |(sender, name): (Sender<Vec<u32>>, u32)| {
        for length in [10, 2_000, 0, 50_000] {
            sender.send(vec![name; length]).unwrap();
        }
    };
    let children: Vec<_> = (0..4)
        .map(|name| Process::spawn(send_many, (sender.clone(), name)).unwrap())
        .collect();
    drop(sender);
    let mut lengths = vec![];
    while let Ok(message) = receiver.recv_timeout(LIMIT) {
        assert!(message.iter().all(|name| *name == message[0]));
        lengths.push(message.len());
    }
    lengths.sort_unstable();
    let expected = [0, 10, 2_000, 50_000].map(|length| [length; 4]);
    assert_eq!(lengths, expected.as_flattened());
    children.into_iter().for_each(join);
    drop(receiver);
    oracle.finish();
}

#[test]
fn a_sender_that_arrives_often_is_one_end() {
    let oracle = oracle();
    let (sender, receiver) = channel::<usize>().unwrap();
    let open_files = |senders: Vec<Sender<usize>>| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        senders[0].send(open).unwrap();
    };
    let one = vec![sender.clone()];
    let many = vec![sender.clone(); 100];
    join(Process::spawn(open_files, one).unwrap());
    join(Process::spawn(open_files, many).unwrap());
    assert_eq!(receive(&receiver), receive(&receiver));
    drop((sender, receiver));
    oracle.finish();
}

#[test]
fn a_sender_in_a_message_that_nobody_has_received_counts() {
    let oracle = oracle();
    let (sender, receiver) = channel::<u32>().unwrap();
    let (outer, senders) = channel::<Sender<u32>>().unwrap();
    outer.send(sender).unwrap();
    let waiting = receiver.recv_timeout(Duration::from_millis(5));
    assert!(
        matches!(waiting, Err(RecvTimeoutError::Timeout)),
        "it is in flight"
    );
    let forward = |senders: Receiver<Sender<u32>>| senders.recv().unwrap().send(7).unwrap();
    let child = Process::spawn(forward, senders).unwrap();
    assert_eq!(receive(&receiver), 7);
    join(child);
    assert_ended(&receiver);
    drop((outer, receiver));
    oracle.finish();
}

fn send_and_stay(sender: Sender<u64>) {
    sender.send(1).unwrap();
    forever()
}

#[test]
fn a_killed_sender_is_a_sender_gone() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let child = Process::spawn(send_and_stay, sender).unwrap();
    assert_eq!(receive(&receiver), 1);
    child.kill().unwrap();
    let Err(RecvTimeoutError::Disconnected(peer)) = receiver.recv_timeout(LIMIT) else {
        panic!("the sender is gone")
    };
    assert!(peer.died());
    assert_eq!(peer.pid(), Some(child.pid()));
    let how = RecvTimeoutError::Disconnected(peer).to_string();
    assert!(how.contains("SIGKILL"), "{how}");
    drop((child, receiver));
    oracle.finish();
}

/// Sends until that fails, and gives the message back that failed.
fn send_until_it_fails(sender: Sender<u64>) -> u64 {
    within(LIMIT, move || {
        for number in 0.. {
            match sender.send(number) {
                Ok(()) => {}
                Err(SendError::Disconnected(message, _)) => {
                    assert_eq!(message, number);
                    return number;
                }
                Err(other) => panic!("{other}"),
            }
        }
        unreachable!()
    })
}

fn never_receive((_receiver, ready): (Receiver<u64>, Sender<()>)) {
    ready.send(()).unwrap();
    forever()
}

#[test]
fn a_killed_receiver_is_learnt_of_by_who_waits_for_room_and_by_who_does_not() {
    let oracle = oracle();
    for capacity in [1 << 10, 1 << 24] {
        let (sender, receiver) = channel_with_capacity(capacity).unwrap();
        let (ready, is_ready) = channel().unwrap();
        let child = Process::spawn(never_receive, (receiver, ready)).unwrap();
        receive(&is_ready);
        let sending = std::thread::spawn(move || send_until_it_fails(sender));
        child.kill().unwrap();
        let _how_many_were_sent = sending.join().unwrap();
        drop((child, is_ready));
    }
    oracle.finish();
}

fn take_one((receiver, taken): (Receiver<u64>, Sender<u64>)) {
    taken.send(receiver.recv().unwrap()).unwrap();
    forever()
}

#[test]
fn a_rare_sender_learns_of_a_killed_receiver_without_waiting_for_room() {
    let oracle = oracle();
    let (sender, receiver) = channel().unwrap();
    let (taken, was_taken) = channel().unwrap();
    let child = Process::spawn(take_one, (receiver, taken)).unwrap();
    sender.send(1).unwrap();
    assert_eq!(receive(&was_taken), 1);
    child.kill().unwrap();
    assert_ended(&was_taken);
    let refused = within(LIMIT, move || {
        (2..).find_map(|number| {
            multiproc_testkit::linger(Duration::from_millis(2));
            sender.send(number).err()
        })
    });
    // One message may have passed while the child was being taken apart.
    assert!(
        matches!(refused, Some(SendError::Disconnected(2..=3, _))),
        "{refused:?}"
    );
    drop((child, was_taken));
    oracle.finish();
}

#[test]
fn a_sender_killed_in_a_long_message_takes_nobody_along() {
    let oracle = oracle();
    let (sender, receiver) = channel_with_capacity::<String>(256).unwrap();
    let send_long = |sender: Sender<String>| {
        sender.send("before".to_owned()).unwrap();
        // Stops where the channel is full: its receiver takes no part.
        sender.send("x".repeat(1 << 20)).unwrap();
    };
    let child = Process::spawn(send_long, sender.clone()).unwrap();
    assert_eq!(receive(&receiver), "before");
    let half_way = receiver.recv_timeout(Duration::from_millis(20));
    if half_way.is_err() {
        child.kill().unwrap();
    }
    let _killed_or_not = within(LIMIT, move || child.join().is_ok());
    within(LIMIT, move || {
        sender.send("after".to_owned()).unwrap();
        drop(sender);
        assert_eq!(receiver.recv().unwrap(), "after");
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
    });
    oracle.finish();
}
