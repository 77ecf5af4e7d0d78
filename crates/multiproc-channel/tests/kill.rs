//! Senders killed at any instant: what arrives is whole, in order, and nobody waits for ever.

mod oracle;

use std::thread;
use std::time::Duration;

use multiproc_channel::{Sender, channel_with_capacity};
use multiproc_process::Process;
use multiproc_testkit::{linger, within};
use multiproc_wire::Descriptor;

use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 60;

/// What a sender sends: its name, a number, and bytes that tell whose they are; now and then a file.
type Message = (u8, u64, Vec<u8>, Option<Descriptor>);

fn send_for_ever((sender, name): (Sender<Message>, u8)) {
    let file = Descriptor::from(std::fs::File::open("/dev/null").unwrap());
    for number in 0.. {
        let length = usize::try_from(number * 7919 % 3_000).unwrap();
        let file = (number % 5 == 0).then(|| file.clone());
        if sender
            .send((name, number, vec![name; length], file))
            .is_err()
        {
            return;
        }
    }
}

#[test]
fn senders_killed_at_any_instant_leave_a_channel_that_works() {
    let oracle = oracle();
    within(LIMIT, || {
        let mut state = 0x1234_5678_9abc_def1_u64;
        for _ in 0..ROUNDS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            round(Duration::from_micros(state % 8_000));
        }
    });
    oracle.finish();
}

/// Kills one of two senders after a while, and the other when it has sent on without it.
fn round(a_while: Duration) {
    // Smaller than most messages: a sender is nearly always in the middle of one.
    let (sender, receiver) = channel_with_capacity(1 << 11).unwrap();
    let start = |name: u8| Process::spawn(send_for_ever, (sender.clone(), name)).unwrap();
    let (first, second) = (start(0), start(1));
    drop(sender);
    let killing = thread::spawn(move || {
        linger(a_while);
        first.kill().unwrap();
        first
    });
    let (mut next, mut without_the_first) = ([0, 0], 0);
    for message in &receiver {
        let (name, number, bytes, file) = message.unwrap();
        let next = &mut next[usize::from(name)];
        assert_eq!(number, *next, "of sender {name}");
        *next += 1;
        assert!(bytes.iter().all(|byte| *byte == name));
        assert_eq!(file.is_some(), number % 5 == 0);
        if killing.is_finished() {
            without_the_first += 1;
            if without_the_first == 50 {
                second.kill().unwrap();
            }
        }
    }
    assert!(without_the_first >= 50, "the second sender sends on");
    for child in [killing.join().unwrap(), second] {
        assert!(child.join().is_err(), "killed");
    }
}
