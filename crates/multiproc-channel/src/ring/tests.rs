//! What only an end's inside shows.

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use multiproc_shm::SharedArray;
use multiproc_sync::Deadline;
use multiproc_sync::primitive::Ordering;
use multiproc_wire::Handoff;

use super::receiver::Rx;
use super::sender::{NAMED, PLAIN};
use super::shared::Shared;
use super::{Tx, create};
use crate::channel::{Receiver, Sender};
use crate::error::{ChannelError, TryRecvError};
use crate::line::{Heard, Line};
use crate::transport::{self, Got, Inlet, Outlet, PREFIX, Received, SHORT, Settings, Transport};

const CAPACITY: usize = 1024;

fn ends() -> (Tx, Rx) {
    let settings = Settings {
        transport: Transport::Ring,
        bytes: CAPACITY,
        messages: None,
        max_message: 1 << 20,
    };
    create(&settings).unwrap()
}

/// The length of the next message, if there is one now.
fn take(receiver: &Rx) -> Option<usize> {
    match receiver.receive(&mut [0; SHORT], None).ok()? {
        Got::Short(len) => Some(len),
        Got::Message(message) => Some(message.bytes().len()),
    }
}

/// The receiver's end of the line is closed between the sender's question whether it is there and the bell, as when
/// another receives the message and is gone at once.
#[test]
fn a_message_that_was_given_back_is_not_received() {
    // Of one record, and of more.
    for len in [8, CAPACITY / 2] {
        let mut unasked = 0;
        for _ in 0..1000 {
            let (sender, receiver) = ends();
            let send = || {
                sender.send(
                    &mut vec![0; PREFIX + len],
                    &Handoff::default(),
                    Some(Deadline::now()),
                )
            };
            send().unwrap();
            assert_eq!(take(&receiver), Some(len));
            let watch = receiver.watch().unwrap();
            drop(watch);
            let (_other, line) = Line::pair().unwrap();
            receiver.seat.with(|end| end.line = line).unwrap();
            let sent = send();
            assert_eq!(
                sent.is_ok(),
                take(&receiver).is_some(),
                "{len} bytes: {sent:?}"
            );
            unasked += u32::from(sent.is_ok());
        }
        assert!(unasked > 0, "the sender asks once a millisecond");
    }
}

struct Tell(SyncSender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Tell>) {
        // Nobody listens once the message is there.
        let _heard = self.0.send(());
    }
}

#[test]
fn a_future_finds_a_message_whose_sender_was_killed_before_it_rang() {
    let (sender, receiver) = ends();
    let receiver = Receiver::<u8>::new(transport::Rx::Ring(receiver));
    let (tell, told) = sync_channel(100);
    let waker = Waker::from(Arc::new(Tell(tell)));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(receiver.recv_async());
    assert!(future.as_mut().poll(&mut context).is_pending());
    let shared = sender.0.shared();
    let turn = shared.turn(None).unwrap();
    let mut producer = shared.producer(&turn).unwrap();
    producer.push(&[&[7]], PLAIN).unwrap();
    producer.publish_quietly();
    drop(turn);
    let answer = loop {
        told.recv_timeout(Duration::from_secs(60))
            .expect("it looks by itself");
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            break answer;
        }
    };
    assert_eq!(answer.unwrap(), 7);
}

#[test]
fn no_message_makes_two_receivers_of_one() {
    let (_sender, receiver) = ends();
    let mut bytes = vec![];
    let handoff = multiproc_wire::encode(&receiver, &mut bytes).unwrap();
    let twice = bytes.repeat(2);
    let handles = || handoff.handles().to_vec();
    let error = multiproc_wire::decode::<(Rx, Rx)>(&twice, handles()).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    multiproc_wire::decode::<Rx>(&bytes, handles()).unwrap();
}

type Array = SharedArray<u64>;

fn typed() -> (Sender<Array>, Receiver<Array>, Shared) {
    let (sender, receiver) = ends();
    let shared = sender.0.shared().clone();
    let sender = Sender::new(transport::Tx::Ring(sender));
    (sender, Receiver::new(transport::Rx::Ring(receiver)), shared)
}

fn ring_of(receiver: &Receiver<Array>) -> &Rx {
    match receiver.rx() {
        transport::Rx::Ring(receiver) => receiver,
        #[cfg(feature = "ipc")]
        transport::Rx::Ipc(_) => unreachable!("it is made over the ring"),
    }
}

#[test]
fn a_message_that_names_what_is_not_kept_is_an_error_and_what_follows_is_received() {
    let (sender, receiver, shared) = typed();
    let array = Array::from_slice(&[5]).unwrap();
    let send = || sender.send(array.clone()).unwrap();
    let receive = || receiver.try_recv().map(|array| array.to_vec().unwrap());
    (0..3).for_each(|_| send());
    (0..3).for_each(|_| assert_eq!(receive().unwrap(), [5]));
    let tables: [&[u8]; 10] = [
        &[],
        &[200, 0],
        &[1],
        &[1, 1],
        &[1, 63],
        &[1, 64],
        &[1, 0x7f],
        &[1, 0x80],
        &[1, 0xff],
        &[3, 0, 0x85, 0xbf],
    ];
    for table in tables {
        let forged = [&[0; PREFIX], table, &[9; 20]].concat();
        let turn = shared.turn(None).unwrap();
        let mut producer = shared.producer(&turn).unwrap();
        // Cut short where it claims more than there is.
        let forged = if table.len() < 3 && table.first() != Some(&1) {
            &forged[..PREFIX + table.len()]
        } else {
            &forged[..]
        };
        producer.push(&[forged], NAMED).unwrap();
        producer.publish_quietly();
        drop(turn);
        send();
        match receive() {
            Err(TryRecvError::Failed(error)) => {
                assert_eq!(error.to_string(), ChannelError::HANDLES_LOST.to_string());
            }
            other => panic!("{table:?}: {other:?}"),
        }
        // What was sent before that was heard may name what the forged one has taken away. What comes now does not.
        drop(receive());
        send();
        assert_eq!(receive().unwrap(), [5], "after {table:?}");
    }
}

#[test]
fn what_was_lost_on_its_way_is_sent_anew() {
    let (sender, receiver, _) = typed();
    let array = Array::from_slice(&[5]).unwrap();
    let send = || sender.send(array.clone()).unwrap();
    send();
    receiver.try_recv().unwrap();
    // It is introduced, and named twice.
    (0..3).for_each(|_| send());
    let drained = ring_of(&receiver).seat.with(|end| {
        let heard = end
            .line
            .listen(&mut vec![], &mut vec![], Deadline::now())
            .unwrap();
        (heard, end.parcels.len())
    });
    assert_eq!(drained.unwrap(), (Heard::Something, 0));
    for _ in 0..3 {
        match receiver.try_recv() {
            Err(TryRecvError::Failed(error)) => {
                assert_eq!(error.to_string(), ChannelError::HANDLES_LOST.to_string());
            }
            other => panic!("{other:?}"),
        }
    }
    (0..3).for_each(|_| send());
    for _ in 0..3 {
        assert_eq!(receiver.try_recv().unwrap().to_vec().unwrap(), [5]);
    }
}

#[test]
fn a_sender_killed_before_it_publishes_an_introduction_leaves_a_number_that_nobody_knows() {
    let (sender, receiver, shared) = typed();
    let arrays = [5, 6].map(|number| Array::from_slice(&[number]).unwrap());
    let exchange = |array: &Array| {
        sender.send(array.clone()).unwrap();
        receiver.try_recv().unwrap().to_vec().unwrap()
    };
    let numbers = || [0, 1].map(|place| shared.number_at(place).load(Ordering::Relaxed));
    for _ in 0..3 {
        assert_eq!([exchange(&arrays[0]), exchange(&arrays[1])], [[5], [6]]);
    }
    assert_eq!(numbers(), [1, 2]);
    // What such a one has written: the last number, and that at the place of the first.
    shared.last_number().store(3, Ordering::Relaxed);
    shared.number_at(0).store(3, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!([exchange(&arrays[0]), exchange(&arrays[1])], [[5], [6]]);
    }
    // The first is introduced anew, at a place that is free; what nobody knows there makes room in its turn.
    assert_eq!(numbers(), [3, 2]);
    assert_eq!(shared.number_at(2).load(Ordering::Relaxed), 4);
    let [first, second] = arrays;
    drop(first);
    assert!(receiver.try_recv().is_err());
    assert_eq!(shared.number_at(2).load(Ordering::Relaxed), 0);
    assert_eq!(numbers(), [3, 2]);
    let kept = || ring_of(&receiver).seat.with(|end| end.kept.all().count());
    assert_eq!(
        kept().unwrap(),
        2,
        "what was introduced at the first place is not asked for"
    );
    drop(second);
    assert!(receiver.try_recv().is_err());
    assert_eq!(kept().unwrap(), 1);
}
