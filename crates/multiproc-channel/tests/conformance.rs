//! What users are promised of a channel, whatever carries it: each test for each transport.
//!
//! A transport is added to the list at the end.

mod executor;

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use multiproc_channel::{
    ChannelBuilder, Duplex, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError,
    Sender, Transport, TryRecvError, TrySendError,
};
use multiproc_testkit::within;
use multiproc_wire::Descriptor;
use serde::{Deserialize, Serialize, Serializer, de, ser};

use executor::block_on;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(3);

/// Both ends of a channel over this transport.
fn channel<T>(over: Transport) -> (Sender<T>, Receiver<T>) {
    ChannelBuilder::new().transport(over).channel().unwrap()
}

fn messages_arrive_in_order_and_then_the_end(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel(over);
        let sending = thread::spawn(move || (0..100_000).try_for_each(|n: u32| sender.send(n)));
        let received: Result<Vec<u32>, _> = receiver.iter().collect();
        assert!(received.unwrap().into_iter().eq(0..100_000));
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
        assert!(matches!(
            receiver.try_recv(),
            Err(TryRecvError::Disconnected(_))
        ));
        sending.join().unwrap().unwrap();
    });
}

fn a_receiver_that_goes_without_says_so(over: Transport) {
    let (sender, receiver) = channel::<u8>(over);
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
    assert!(matches!(ended, Err(RecvTimeoutError::Disconnected(_))));
}

fn what_was_sent_outlives_its_sender(over: Transport) {
    let (sender, receiver) = channel(over);
    sender.send("kept".to_owned()).unwrap();
    drop(sender);
    assert_eq!(
        receiver.into_iter().collect::<Result<Vec<_>, _>>().unwrap(),
        ["kept"]
    );
}

fn a_sender_sees_what_is_there_and_closes_for_all(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel(over);
        assert!(sender.is_empty() && !sender.is_closed() && !sender.is_full());
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        assert_eq!((sender.len(), receiver.len().unwrap()), (2, 2));
        let other = sender.clone();
        let receiving = thread::spawn(move || {
            let received = [receiver.recv().unwrap(), receiver.recv().unwrap()];
            assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
            received
        });
        while !sender.is_empty() {
            thread::yield_now();
        }
        // The receiver waits by now, or is about to.
        other.close();
        assert!(sender.is_closed());
        assert!(matches!(sender.send(3), Err(SendError::Disconnected(3, _))));
        assert_eq!(receiving.join().unwrap(), [1, 2]);

        let (here, there) = ChannelBuilder::new()
            .transport(over)
            .duplex::<u8, u8>()
            .unwrap();
        here.send(1).unwrap();
        here.close().unwrap();
        assert_eq!(there.recv().unwrap(), 1);
        assert!(matches!(there.recv(), Err(RecvError::Disconnected(_))));
        assert!(matches!(there.send(2), Err(SendError::Disconnected(2, _))));
        assert!(matches!(here.send(2), Err(SendError::Disconnected(2, _))));

        let (sender, receiver) = channel::<u8>(over);
        drop(receiver);
        assert!(sender.is_closed());
    });
}

fn futures_wait_for_room_and_for_the_end(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel::<Vec<u8>>(over);
        let taking = thread::spawn(move || {
            for number in 0..=u8::MAX {
                assert_eq!(receiver.recv().unwrap(), vec![number; 1_000]);
            }
        });
        block_on(async {
            for number in 0..=u8::MAX {
                sender.send_async(vec![number; 1_000]).await.unwrap();
            }
            // Until there is no room, and then until there is no receiver.
            while sender.send_async(vec![0; 1_000]).await.is_ok() {}
        });
        taking.join().unwrap();
    });
}

fn a_message_for_nobody_comes_back(over: Transport) {
    let (sender, receiver) = channel(over);
    drop(receiver);
    let error = sender.send("lost".to_owned()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing more can be sent: the channel or queue is closed, or its receiver gone"
    );
    assert!(matches!(&error, SendError::Disconnected(..)));
    assert_eq!(error.into_inner(), "lost");
    let error = sender.try_send("lost".to_owned()).unwrap_err();
    assert!(matches!(error, TrySendError::Disconnected(..)));
    let error = sender.send_timeout("lost".to_owned(), SOON).unwrap_err();
    assert!(matches!(error, SendTimeoutError::Disconnected(..)));
}

fn messages_longer_than_the_channel_pass_through_it_whole(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel::<(u8, Vec<u8>)>(over);
        let senders: Vec<_> = (0..4)
            .map(|name| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for length in [0, 900, 1100, 5_000, 3_000_000, 1] {
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
                .all(|lengths| lengths == &[0, 900, 1100, 5_000, 3_000_000, 1])
        );
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
    });
}

fn many_senders_take_turns(over: Transport) {
    const SENDERS: usize = 8;
    const EACH: u64 = 5_000;
    within(LIMIT, move || {
        let (sender, receiver) = channel(over);
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

fn ends_travel_in_messages(over: Transport) {
    within(LIMIT, move || {
        let (outer, receivers) = channel::<(Sender<u32>, Receiver<u32>)>(over);
        let (sender, receiver) = channel(over);
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

fn a_receiver_moves_only_with_a_message_that_was_sent(over: Transport) {
    let (outer, others) = channel::<Receiver<u8>>(over);
    let (sender, receiver) = channel(over);
    let (to_nobody, nobody) = channel::<Receiver<u8>>(over);
    drop(nobody);
    let receiver = to_nobody.send(receiver).unwrap_err().into_inner();
    sender.send(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 1, "it has stayed here");
    // Kept by reference, so that it can be asked afterwards.
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&receiver, &mut bytes).unwrap();
    let twice = multiproc_wire::encode(&receiver, &mut vec![]).unwrap_err();
    assert!(
        twice.to_string().contains("already in a message"),
        "{twice}"
    );
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

fn files_travel_in_messages_hundreds_at_a_time(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel::<Vec<Descriptor>>(over);
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

fn what_cannot_be_encoded_or_decoded_fails_alone(over: Transport) {
    let (sender, receiver) = channel(over);
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

fn a_message_may_send_another_while_it_is_encoded(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel::<u32>(over);
        let (chatty, heard) = channel::<Chatty>(over);
        chatty.send(Chatty(sender)).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
        drop((chatty, heard));
    });
}

fn what_is_there_is_counted(over: Transport) {
    let (sender, receiver) = channel(over);
    assert!(receiver.is_empty().unwrap());
    for length in [1, 100, 10_000] {
        sender.send("z".repeat(length)).unwrap();
    }
    assert_eq!(receiver.len().unwrap(), 3);
    assert_eq!(receiver.recv().unwrap(), "z");
    assert_eq!(receiver.len().unwrap(), 2);
    drop(sender);
    assert_eq!(receiver.iter().count(), 2);
    assert!(receiver.is_empty().unwrap());
}

fn a_closed_channel_gives_what_was_sent_and_then_the_end(over: Transport) {
    within(LIMIT, move || {
        let (sender, receiver) = channel(over);
        sender.send(1).unwrap();
        receiver.close().unwrap();
        let refused = sender.send(2).unwrap_err();
        assert!(matches!(refused, SendError::Disconnected(2, peer) if !peer.died()));
        assert_eq!(receiver.recv().unwrap(), 1);
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
        assert!(matches!(
            receiver.try_recv(),
            Err(TryRecvError::Disconnected(_))
        ));
    });
}

fn closing_while_others_send_loses_nothing_that_was_sent(over: Transport) {
    within(LIMIT, move || {
        for _ in 0..100 {
            let (sender, receiver) = channel::<u32>(over);
            let sending = thread::spawn(move || (0..).find(|n| sender.send(*n).is_err()).unwrap());
            let first = receiver.recv().unwrap();
            receiver.close().unwrap();
            let rest = receiver.iter().map(Result::unwrap);
            let received = std::iter::once(first).chain(rest).count();
            assert_eq!(u32::try_from(received).unwrap(), sending.join().unwrap());
        }
    });
}

fn duplex_ends_talk_to_each_other_and_move(over: Transport) {
    within(LIMIT, move || {
        let pair = ChannelBuilder::new().transport(over).duplex();
        let (here, there) = pair.unwrap();
        let (ends, moved) = channel::<Duplex<u32, String>>(over);
        let answering = thread::spawn(move || {
            let there = moved.recv().unwrap();
            while let Ok(text) = there.recv() {
                there.send(u32::try_from(text.len()).unwrap()).unwrap();
            }
        });
        let mut bytes = vec![];
        let handoff = multiproc_wire::encode(&there, &mut bytes).unwrap();
        drop(handoff);
        ends.send(there).unwrap();
        for length in 0..10 {
            here.send("a".repeat(length)).unwrap();
            assert_eq!(here.recv().unwrap() as usize, length);
        }
        drop(here);
        answering.join().unwrap();
    });
}

fn a_duplex_end_that_has_moved_says_so_and_keeps_nobody_waiting(over: Transport) {
    within(LIMIT, move || {
        let pair = ChannelBuilder::new().transport(over).duplex::<u8, u8>();
        let (here, there) = pair.unwrap();
        let mut bytes = vec![];
        let handoff = multiproc_wire::encode(&there, &mut bytes).unwrap();
        let handles = handoff.handles().to_vec();
        handoff.sent();
        let moved: Duplex<u8, u8> = multiproc_wire::decode(&bytes, handles).unwrap();
        assert!(matches!(there.send(1), Err(SendError::Failed(1, error)) if error.is_moved()));
        assert!(matches!(there.recv(), Err(RecvError::Failed(error)) if error.is_moved()));
        assert!(there.len().unwrap_err().is_moved());
        assert!(multiproc_wire::encode(&there, &mut vec![]).is_err());
        moved.send(5).unwrap();
        assert_eq!(here.recv().unwrap(), 5);
        drop(moved);
        assert!(matches!(here.recv(), Err(RecvError::Disconnected(_))));
        assert!(here.send(6).is_err());
    });
}

/// Each test over each transport.
macro_rules! conformance {
    ($($(#[$when:meta])? $name:ident = $transport:ident),* : $tests:tt) => {$(
        $(#[$when])?
        mod $name {
            conformance! { @ $transport $tests }
        }
    )*};
    (@ $transport:ident [$($test:ident),* $(,)?]) => {$(
        #[test]
        fn $test() {
            super::$test(multiproc_channel::Transport::$transport);
        }
    )*};
}

conformance!(ring = Ring, #[cfg(feature = "ipc")] ipc = Ipc: [
    what_is_there_is_counted,
    a_closed_channel_gives_what_was_sent_and_then_the_end,
    closing_while_others_send_loses_nothing_that_was_sent,
    duplex_ends_talk_to_each_other_and_move,
    a_duplex_end_that_has_moved_says_so_and_keeps_nobody_waiting,
    messages_arrive_in_order_and_then_the_end,
    a_receiver_that_goes_without_says_so,
    what_was_sent_outlives_its_sender,
    a_message_for_nobody_comes_back,
    a_sender_sees_what_is_there_and_closes_for_all,
    futures_wait_for_room_and_for_the_end,
    messages_longer_than_the_channel_pass_through_it_whole,
    many_senders_take_turns,
    ends_travel_in_messages,
    a_receiver_moves_only_with_a_message_that_was_sent,
    files_travel_in_messages_hundreds_at_a_time,
    what_cannot_be_encoded_or_decoded_fails_alone,
    a_message_may_send_another_while_it_is_encoded,
]);
