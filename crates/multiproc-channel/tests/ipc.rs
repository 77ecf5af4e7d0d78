//! ipc-channel's ends inside our messages, and its traps, which do not bite there; channels over it between processes.
#![cfg(feature = "ipc")]

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::time::Duration;

use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use multiproc_channel::ipc::Carried;
use multiproc_channel::{
    ChannelBuilder, Receiver, RecvTimeoutError, SendTimeoutError, Sender, Transport, TrySendError,
    channel,
};
use multiproc_process::Process;
use multiproc_testkit::{Oracle, forever, within};
use multiproc_wire::{Descriptor, decode, encode};
use serde::{Deserialize, Serialize, Serializer, ser};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(5);

/// Runs a test under a deadline, and fails it where it leaves something behind.
fn checked(test: impl FnOnce() + Send + 'static) {
    let warm_up = || {
        let child = Process::spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
        drop(over_ipc::<u8>());
    };
    let oracle = Oracle::after(warm_up);
    within(LIMIT, test);
    oracle.finish();
}

fn over_ipc<T>() -> (Sender<T>, Receiver<T>) {
    ChannelBuilder::new()
        .transport(Transport::Ipc)
        .channel()
        .unwrap()
}

fn say(sender: Carried<IpcSender<String>>) {
    sender.into_inner().unwrap().send("said".into()).unwrap();
}

fn hear(receiver: Carried<IpcReceiver<String>>) -> String {
    receiver.into_inner().unwrap().recv().unwrap()
}

#[test]
fn ends_travel_to_a_child_and_back() {
    checked(|| {
        let (sender, receiver) = ipc::channel().unwrap();
        let child = Process::spawn(say, Carried::new(sender)).unwrap();
        assert_eq!(receiver.recv().unwrap(), "said");
        child.join().unwrap();
        let (sender, receiver) = ipc::channel().unwrap();
        let child = Process::spawn(hear, Carried::new(receiver)).unwrap();
        sender.send("heard".into()).unwrap();
        assert_eq!(child.join().unwrap(), "heard");
        // As a result.
        let make = |()| {
            let (sender, receiver) = ipc::channel::<String>().unwrap();
            sender.send("from the child".into()).unwrap();
            Carried::new(receiver)
        };
        let made = Process::spawn(make, ()).unwrap().join().unwrap();
        assert_eq!(hear(made), "from the child");
    });
}

#[test]
fn a_bare_sender_in_another_codec_goes_astray_and_a_carried_one_does_not() {
    checked(|| {
        // The trap: what looks like a message with a sender in it has none.
        let (stray, _) = ipc::channel::<u8>().unwrap();
        let mut bytes = vec![];
        assert!(
            encode(&stray, &mut bytes).unwrap().is_empty(),
            "if this fails the trap is gone"
        );
        // It waits for the thread's next ipc message. Ours are none of those, however many wait.
        for _ in 0..70 {
            assert!(encode(&ipc::channel::<u8>().unwrap(), &mut vec![]).is_ok());
        }
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let mut bytes = vec![];
        let handoff = encode(&Carried::new(sender), &mut bytes).unwrap();
        assert_eq!(handoff.handles().len(), 1);
        let arrived: Carried<IpcSender<u8>> = decode(&bytes, handoff.handles().to_vec()).unwrap();
        arrived.into_inner().unwrap().send(7).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7);
    });
}

/// Puts senders, and then cannot be encoded.
struct FailsHalfWay(Vec<Carried<IpcSender<u8>>>);
impl Serialize for FailsHalfWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("half-way"))
            }
        }
        (&self.0, Refuses).serialize(serializer)
    }
}

#[test]
fn a_failed_encoding_leaves_nothing_for_the_threads_next_message() {
    checked(|| {
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let failing = FailsHalfWay(vec![Carried::new(sender)]);
        assert!(encode(&failing, &mut vec![]).is_err());
        // A stale sender in this message would keep the channel open for as long as it lies there.
        let (other, others) = ipc::channel::<u8>().unwrap();
        other.send(1).unwrap();
        drop(failing);
        assert!(receiver.recv().is_err(), "its last sender is gone");
        assert_eq!(others.recv().unwrap(), 1);
    });
}

#[test]
fn more_than_sixty_four_in_one_message() {
    checked(|| {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..100).map(|_| ipc::channel::<u64>().unwrap()).unzip();
        let senders: Vec<Carried<_>> = senders.into_iter().map(Carried::new).collect();
        let count = |senders: Vec<Carried<IpcSender<u64>>>| {
            for (number, sender) in (0..).zip(senders) {
                sender.into_inner().unwrap().send(number).unwrap();
            }
        };
        let child = Process::spawn(count, senders).unwrap();
        for (number, receiver) in (0..).zip(receivers) {
            assert_eq!(receiver.recv().unwrap(), number);
        }
        child.join().unwrap();
    });
}

#[test]
fn a_receiver_moves_only_with_a_message_that_was_sent() {
    checked(|| {
        let (sender, receiver) = ipc::channel::<String>().unwrap();
        let carried = Carried::new(receiver);
        // Given up.
        drop(encode(&carried, &mut vec![]).unwrap());
        sender.send("still here".into()).unwrap();
        let (to, from) = channel().unwrap();
        to.send(carried).unwrap();
        let arrived: Carried<IpcReceiver<String>> = from.recv().unwrap();
        assert_eq!(hear(arrived), "still here");
        // Sent by reference it has moved.
        let (_sender, receiver) = ipc::channel::<String>().unwrap();
        let carried = Carried::new(receiver);
        encode(&carried, &mut vec![]).unwrap().sent();
        let error = carried.into_inner().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    });
}

#[test]
fn a_sender_that_is_sent_again_is_the_same_open_file() {
    checked(|| {
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let carried = Carried::new(sender);
        let handles: Vec<_> = (0..10)
            .map(|_| encode(&carried, &mut vec![]).unwrap().handles()[0].clone())
            .collect();
        assert!(
            handles
                .iter()
                .all(|handle| std::sync::Arc::ptr_eq(handle, &handles[0]))
        );
        drop(handles);
        // And it can be used here.
        carried.into_inner().unwrap().send(9).unwrap();
        assert_eq!(receiver.recv().unwrap(), 9);
    });
}

#[test]
fn in_another_format_an_end_is_an_error_and_stays() {
    checked(|| {
        let (sender, receiver) = ipc::channel::<u8>().unwrap();
        let carried = Carried::new(sender);
        let error = serde_json::to_string(&carried).unwrap_err();
        assert!(error.to_string().contains("in another format"), "{error}");
        carried.into_inner().unwrap().send(1).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
    });
}

#[test]
fn a_full_channel_over_ipc_says_so_in_time() {
    checked(|| {
        let (sender, receiver) = over_ipc::<u64>();
        let mut sent = 0;
        let full = loop {
            match sender.try_send(sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, TrySendError::Full(_)) && sent > 10, "{sent}");
        let waited = sender.send_timeout(0, SOON);
        assert!(matches!(waited, Err(SendTimeoutError::Timeout(0))));
        assert_eq!(receiver.len().unwrap(), usize::try_from(sent).unwrap());
        let all: Result<Vec<_>, _> = receiver.try_iter().collect();
        assert!(all.unwrap().into_iter().eq(0..sent));
        sender.send(5).unwrap();
        assert_eq!(receiver.recv().unwrap(), 5);
    });
}

fn echo((receiver, sender): (Receiver<Vec<u8>>, Sender<Vec<u8>>)) {
    receiver
        .iter()
        .for_each(|message| sender.send(message.unwrap()).unwrap());
}

#[test]
fn messages_of_all_lengths_go_to_a_child_and_back() {
    checked(|| {
        let (sender, theirs) = over_ipc();
        let (answers, receiver) = over_ipc();
        let child = Process::spawn(echo, (theirs, answers)).unwrap();
        for length in [0_usize, 1, 32 << 10, (32 << 10) + 1, 300 << 10, 5 << 20] {
            let message = vec![length.to_le_bytes()[0] ^ 7; length];
            sender.send(message.clone()).unwrap();
            assert!(receiver.recv_timeout(LIMIT).unwrap() == message, "{length}");
        }
        drop(sender);
        child.join().unwrap();
        let end = receiver.recv_timeout(LIMIT);
        assert!(matches!(end, Err(RecvTimeoutError::Disconnected(end)) if !end.died()));
    });
}

#[derive(Serialize, Deserialize)]
struct Mixed {
    file: Descriptor,
    ipc: Carried<IpcSender<String>>,
    ring: Sender<u8>,
    same: Sender<u8>,
}

#[test]
fn all_kinds_of_handles_travel_over_ipc() {
    checked(|| {
        let (mut reader, writer) = pipe().unwrap();
        let (ipc, ipc_receiver) = ipc::channel().unwrap();
        let (ring, ring_receiver) = channel().unwrap();
        let (same, same_receiver) = over_ipc();
        let (sender, receiver) = over_ipc();
        let use_all = |receiver: Receiver<Mixed>| {
            let Mixed {
                file,
                ipc,
                ring,
                same,
            } = receiver.recv().unwrap();
            file.into_std::<File>().unwrap().write_all(b"file").unwrap();
            ipc.into_inner().unwrap().send("ipc".into()).unwrap();
            ring.send(1).unwrap();
            same.send(2).unwrap();
        };
        let child = Process::spawn(use_all, receiver).unwrap();
        let file = Descriptor::from(writer);
        sender
            .send(Mixed {
                file,
                ipc: Carried::new(ipc),
                ring,
                same,
            })
            .unwrap();
        child.join().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "file");
        assert_eq!(ipc_receiver.recv().unwrap(), "ipc");
        assert_eq!(ring_receiver.recv().unwrap(), 1);
        assert_eq!(same_receiver.recv().unwrap(), 2);
    });
}

fn send_for_ever(sender: Sender<Vec<u64>>) {
    for number in 0.. {
        // Some in one piece, most in several.
        sender.send(vec![number; 20_000]).unwrap();
    }
}

#[test]
fn a_sender_that_is_killed_leaves_whole_messages_and_then_the_end() {
    checked(|| {
        for _ in 0..5 {
            let (sender, receiver) = over_ipc();
            let child = Process::spawn(send_for_ever, sender.clone()).unwrap();
            for number in 0..3 {
                assert!(receiver.recv_timeout(LIMIT).unwrap() == vec![number; 20_000]);
            }
            child.kill().unwrap();
            // Another goes on behind what it has left.
            let last = vec![u64::MAX; 3];
            let went_on = {
                let (sender, last) = (sender.clone(), last.clone());
                std::thread::spawn(move || sender.send(last).unwrap())
            };
            drop(sender);
            let mut next = 3;
            loop {
                let message = receiver.recv_timeout(LIMIT).unwrap();
                if message == last {
                    break;
                }
                assert!(message == vec![next; 20_000]);
                next += 1;
            }
            went_on.join().unwrap();
            let end = receiver.recv_timeout(LIMIT);
            assert!(
                matches!(end, Err(RecvTimeoutError::Disconnected(_))),
                "{end:?}"
            );
            child.join().unwrap_err();
        }
    });
}

#[test]
fn a_receiver_that_is_killed_is_the_end_for_its_senders() {
    checked(|| {
        let (sender, receiver) = over_ipc::<Vec<u8>>();
        fn wait((_receiver, arrived): (Receiver<Vec<u8>>, Sender<()>)) {
            arrived.send(()).unwrap();
            forever()
        }
        // Killed while it takes the receiver in, it would leave the folder that this is done in.
        let (arrived, has_arrived) = channel().unwrap();
        let child = Process::spawn(wait, (receiver, arrived)).unwrap();
        has_arrived.recv().unwrap();
        // Waits for room that nobody will make.
        let sending = std::thread::spawn(move || {
            loop {
                if let Err(error) = sender.send(vec![0; 100_000]) {
                    break error;
                }
            }
        });
        child.kill().unwrap();
        let error = sending.join().unwrap();
        assert!(error.to_string().contains("gone"), "{error}");
        child.join().unwrap_err();
    });
}

#[test]
fn what_ipc_cannot_do_is_an_error() {
    let bounded = ChannelBuilder::new()
        .transport(Transport::Ipc)
        .bound(3)
        .channel::<u8>();
    assert_eq!(bounded.unwrap_err().kind(), std::io::ErrorKind::Unsupported);
}
