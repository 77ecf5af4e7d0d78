//! What is particular to the ring: limits in bytes, and what bad use gets.

use std::fs::File;
use std::thread;
use std::time::Duration;

use multiproc_channel::{
    ChannelBuilder, RecvError, SendError, SendTimeoutError, Sender, TryRecvError, TrySendError,
    bounded, channel, channel_with_capacity,
};
use multiproc_testkit::within;
use multiproc_wire::Descriptor;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(3);

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
        assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
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
fn a_receiver_moves_with_what_has_come_of_a_message() {
    within(LIMIT, || {
        // With room for what has come, which travels along: nobody receives there meanwhile.
        let (outer, receivers) = channel_with_capacity(1 << 20).unwrap();
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

#[test]
fn a_bounded_channel_holds_so_many_messages() {
    within(LIMIT, || {
        let (sender, receiver) = bounded(3).unwrap();
        for number in 0..3 {
            sender.try_send(number).unwrap();
        }
        assert!(matches!(sender.try_send(3), Err(TrySendError::Full(3))));
        let late = sender.send_timeout(3, SOON).unwrap_err();
        assert!(matches!(late, SendTimeoutError::Timeout(3)));
        assert_eq!(receiver.len().unwrap(), 3);
        let sending = thread::spawn(move || (3..20_000).try_for_each(|number| sender.send(number)));
        for expected in 0..20_000 {
            assert!(receiver.len().unwrap() <= 3);
            assert_eq!(receiver.recv().unwrap(), expected);
        }
        assert!(matches!(
            receiver.recv(),
            Err(RecvError::Disconnected(peer)) if !peer.died()
        ));
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn a_bound_that_no_channel_can_have_is_an_error() {
    for messages in [0, (1 << 32) + 1, usize::MAX] {
        let error = bounded::<u8>(messages).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_next_is_not() {
    let limited = ChannelBuilder::new().max_message(100);
    let (sender, receiver) = limited.channel().unwrap();
    let refused = sender.send("x".repeat(101)).unwrap_err();
    assert!(matches!(&refused, SendError::Failed(_, error) if error.is_too_long()));
    assert!(refused.to_string().contains("102 bytes"), "{refused}");
    sender.send("x".repeat(99)).unwrap();
    assert_eq!(receiver.recv().unwrap().len(), 99);
}
