//! A channel inside one process: order, limits, ends, and what bad use gets.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use multiproc_channel::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, channel, channel_with_capacity,
};
use multiproc_testkit::within;
use multiproc_wire::Descriptor;
use serde::{Deserialize, Serialize, Serializer, de, ser};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(3);

#[test]
fn messages_arrive_in_order_and_then_the_end() {
    within(LIMIT, || {
        let (sender, receiver) = channel().unwrap();
        let sending = thread::spawn(move || (0..100_000).try_for_each(|n: u32| sender.send(n)));
        let received: Result<Vec<u32>, _> = receiver.iter().collect();
        assert!(received.unwrap().into_iter().eq(0..100_000));
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
        assert!(matches!(
            receiver.try_recv(),
            Err(TryRecvError::Disconnected)
        ));
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn a_receiver_that_goes_without_says_so() {
    let (sender, receiver) = channel::<u8>().unwrap();
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
    let timed_out = receiver.recv_timeout(SOON);
    assert!(matches!(timed_out, Err(RecvTimeoutError::Timeout)));
    assert!(receiver.try_iter().next().is_none());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!(
        receiver.try_iter().collect::<Result<Vec<_>, _>>().unwrap(),
        [1, 2]
    );
    drop(sender);
    let ended = receiver.recv_timeout(LIMIT);
    assert!(matches!(ended, Err(RecvTimeoutError::Disconnected)));
}

#[test]
fn what_was_sent_outlives_its_sender() {
    let (sender, receiver) = channel().unwrap();
    sender.send("kept".to_owned()).unwrap();
    drop(sender);
    assert_eq!(
        receiver.into_iter().collect::<Result<Vec<_>, _>>().unwrap(),
        ["kept"]
    );
}

#[test]
fn a_message_for_nobody_comes_back() {
    let (sender, receiver) = channel().unwrap();
    drop(receiver);
    let error = sender.send("lost".to_owned()).unwrap_err();
    assert_eq!(error.to_string(), "the channel's receiver is gone");
    assert!(matches!(&error, SendError::Disconnected(_)));
    assert_eq!(error.into_inner(), "lost");
    let error = sender.try_send("lost".to_owned()).unwrap_err();
    assert!(matches!(error, TrySendError::Disconnected(_)));
    let error = sender.send_timeout("lost".to_owned(), SOON).unwrap_err();
    assert!(matches!(error, SendTimeoutError::Disconnected(_)));
}

#[test]
fn a_full_channel_refuses_times_out_or_waits_as_asked() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity(256).unwrap();
        let mut sent = 0..;
        let refused = loop {
            let number: u32 = sent.next().unwrap();
            if let Err(error) = sender.try_send(number) {
                break error;
            }
        };
        assert!(matches!(refused, TrySendError::Full(_)));
        let next = refused.into_inner();
        let error = sender.send_timeout(next, SOON).unwrap_err();
        assert!(matches!(error, SendTimeoutError::Timeout(number) if number == next));
        let sending = thread::spawn(move || sender.send(next));
        for expected in 0..=next {
            assert_eq!(receiver.recv().unwrap(), expected);
        }
        sending.join().unwrap().unwrap();
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected)));
    });
}

#[test]
fn a_sender_that_waits_for_room_learns_that_the_receiver_is_gone() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity(64).unwrap();
        while sender.try_send([0_u8; 4]).is_ok() {}
        let sending = thread::spawn(move || sender.send([7; 4]));
        assert_eq!(receiver.recv_timeout(LIMIT).unwrap(), [0; 4]);
        drop(receiver);
        if let Err(error) = sending.join().unwrap() {
            assert_eq!(error.into_inner(), [7; 4]);
        }
    });
}

#[test]
fn messages_longer_than_the_channel_pass_through_it_whole() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity::<(u8, Vec<u8>)>(1 << 12).unwrap();
        let senders: Vec<_> = (0..4)
            .map(|name| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for length in [0, 900, 1100, 5_000, 300_000, 1] {
                        sender.send((name, vec![name; length])).unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let mut lengths = [const { Vec::new() }; 4];
        for message in &receiver {
            let (name, bytes) = message.unwrap();
            assert!(bytes.iter().all(|byte| *byte == name));
            lengths[usize::from(name)].push(bytes.len());
        }
        assert!(
            lengths
                .iter()
                .all(|lengths| lengths == &[0, 900, 1100, 5_000, 300_000, 1])
        );
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn of_a_message_that_times_out_half_way_nothing_arrives() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity(256).unwrap();
        let long = "x".repeat(10_000);
        let refused = sender.try_send(long.clone()).unwrap_err();
        assert!(
            matches!(refused, TrySendError::Full(_)),
            "it needs a receiver that takes part"
        );
        let late = sender.send_timeout(long, SOON).unwrap_err();
        assert_eq!(late.into_inner().len(), 10_000);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        sender.send("short".to_owned()).unwrap();
        assert_eq!(receiver.recv().unwrap(), "short");
    });
}

#[test]
fn many_senders_take_turns() {
    const SENDERS: usize = 8;
    const EACH: u64 = 5_000;
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity(1 << 10).unwrap();
        let start = Arc::new(Barrier::new(SENDERS));
        for name in 0..SENDERS {
            let (sender, start) = (sender.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                (0..EACH).for_each(|number| sender.send((name, number)).unwrap());
            });
        }
        drop(sender);
        let mut next = [0; SENDERS];
        for message in receiver {
            let (name, number) = message.unwrap();
            let next = &mut next[name];
            assert_eq!(number, *next);
            *next += 1;
        }
        assert_eq!(next, [EACH; SENDERS]);
    });
}

#[test]
fn ends_travel_in_messages() {
    within(LIMIT, || {
        let (outer, receivers) = channel::<(Sender<u32>, Receiver<u32>)>().unwrap();
        let (sender, receiver) = channel().unwrap();
        sender.send(1).unwrap();
        outer.send((sender.clone(), receiver)).unwrap();
        sender.send(2).unwrap();
        let (again, receiver) = receivers.recv().unwrap();
        again.send(3).unwrap();
        drop((sender, again));
        assert_eq!(
            receiver.iter().collect::<Result<Vec<_>, _>>().unwrap(),
            [1, 2, 3]
        );
    });
}

#[test]
fn a_receiver_moves_only_with_a_message_that_was_sent() {
    let (outer, others) = channel::<Receiver<u8>>().unwrap();
    let (sender, receiver) = channel().unwrap();
    let (to_nobody, nobody) = channel::<Receiver<u8>>().unwrap();
    drop(nobody);
    let receiver = to_nobody.send(receiver).unwrap_err().into_inner();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1, "it has stayed here");
    // Kept by reference, so that it can be asked afterwards.
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&receiver, &mut bytes).unwrap();
    let twice = multiproc_wire::encode(&receiver, &mut vec![]).unwrap_err();
    assert!(twice.to_string().contains("`Serialize`"), "{twice}");
    let handles = handoff.handles().to_vec();
    handoff.sent();
    for error in [receiver.recv().unwrap_err(), receiver.recv().unwrap_err()] {
        assert!(matches!(error, RecvError::Failed(error) if error.is_moved()));
    }
    assert_eq!(receiver.iter().count(), 1, "the error is the last item");
    let moved: Receiver<u8> = multiproc_wire::decode(&bytes, handles).unwrap();
    sender.send(2).unwrap();
    assert_eq!(moved.recv().unwrap(), 2);
    // The place where it was keeps nothing open.
    drop(moved);
    assert!(sender.send(3).is_err());
    drop((outer, others, receiver));
}

#[test]
fn a_receiver_moves_with_what_has_come_of_a_message() {
    within(LIMIT, || {
        let (outer, receivers) = channel().unwrap();
        let (sender, receiver) = channel_with_capacity::<String>(256).unwrap();
        let long = "y".repeat(100_000);
        let sending = thread::spawn({
            let long = long.clone();
            move || sender.send(long).is_ok()
        });
        let early = receiver.recv_timeout(SOON);
        if early.is_err() {
            outer.send(receiver).unwrap();
            assert_eq!(receivers.recv().unwrap().recv().unwrap(), long);
        }
        assert!(sending.join().unwrap());
    });
}

#[test]
fn files_travel_in_messages_hundreds_at_a_time() {
    within(LIMIT, || {
        let (sender, receiver) = channel::<Vec<Descriptor>>().unwrap();
        for count in [0, 1, 253, 254, 600] {
            let open = |_| Descriptor::from(File::open("/proc/self/comm").unwrap());
            sender.send((0..count).map(open).collect()).unwrap();
            let received = receiver.recv().unwrap();
            assert_eq!(received.len(), count);
            for descriptor in received {
                let mut text = String::new();
                File::from(descriptor.into_owned().unwrap())
                    .read_to_string(&mut text)
                    .unwrap();
                assert!(!text.is_empty());
            }
        }
    });
}

#[test]
fn a_refused_message_with_files_leaves_none_behind() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity::<(u32, Descriptor)>(64).unwrap();
        let file = Descriptor::from(File::open("/dev/null").unwrap());
        for number in 0..1_000 {
            while sender.try_send((number, file.clone())).is_ok() {}
            let (received, _) = receiver.recv().unwrap();
            assert!(received <= number);
        }
        drop(sender);
        assert!(receiver.iter().all(|message| message.is_ok()));
    });
}

/// Encodes as nothing, and not at all, or comes out of nothing, as told.
#[derive(Debug, PartialEq)]
struct Stubborn {
    refuses: bool,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.refuses {
            return Err(ser::Error::custom("no"));
        }
        7_u8.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(de::Error::custom("never again"))
    }
}

#[test]
fn what_cannot_be_encoded_or_decoded_fails_alone() {
    let (sender, receiver) = channel().unwrap();
    let error = sender.send(Err(Stubborn { refuses: true })).unwrap_err();
    assert!(
        matches!(&error, SendError::Failed(_, error) if error.is_codec()),
        "{error}"
    );
    assert_eq!(error.into_inner(), Err(Stubborn { refuses: true }));
    sender.send(Err(Stubborn { refuses: false })).unwrap();
    sender.send(Ok(5)).unwrap();
    let error = receiver.recv().unwrap_err();
    assert!(
        matches!(&error, RecvError::Failed(error) if error.is_codec()),
        "{error}"
    );
    assert_eq!(receiver.recv().unwrap(), Ok(5));
}

/// Sends something itself while it is encoded.
struct Chatty(Sender<u32>);

impl Serialize for Chatty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.send(1).map_err(ser::Error::custom)?;
        2_u32.serialize(serializer)
    }
}

#[test]
fn a_message_may_send_another_while_it_is_encoded() {
    within(LIMIT, || {
        let (sender, receiver) = channel::<u32>().unwrap();
        let (chatty, heard) = channel::<Chatty>().unwrap();
        chatty.send(Chatty(sender)).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
        drop((chatty, heard));
    });
}

#[test]
fn ends_are_values_of_messages_only() {
    let (sender, receiver) = channel::<u8>().unwrap();
    let error = serde_json::to_string(&sender).unwrap_err();
    assert!(
        error.to_string().contains("can only travel in a message"),
        "{error}"
    );
    assert!(serde_json::to_string(&receiver).is_err());
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1, "the receiver has stayed");
    assert!(serde_json::from_str::<Sender<u8>>(r#"{"id":[1,2]}"#).is_err());
}

#[test]
fn a_capacity_that_no_channel_can_have_is_an_error() {
    for bytes in [0, 63, 100, 1 << 31, usize::MAX] {
        let error = channel_with_capacity::<u8>(bytes).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}
