//! What only an end's inside shows.

use multiproc_sync::Deadline;

use super::receiver::Rx;
use super::{Tx, create};
use crate::line::Line;
use crate::transport::{Got, Inlet, Outlet, PREFIX, Received, SHORT, Settings, Transport};

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
            let send = || sender.send(&mut vec![0; PREFIX + len], &[], Some(Deadline::now()));
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
