//! Two threads at full speed, asleep and awake, over a ring that is nearly always full or empty.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use multiproc_shm::ring::{Assembler, Consumer, Local, Outgoing, Producer, PushError, local};
use multiproc_sync::primitive::Deadline;
use multiproc_testkit::within;

const LIMIT: Duration = Duration::from_secs(120);

fn push(producer: &mut Producer<Local>, bytes: &[u8], tag: u16) -> multiproc_shm::ring::Position {
    loop {
        match producer.push(&[bytes], tag) {
            Ok(position) => return position,
            Err(PushError::Full) => assert!(producer.wait_for_room(bytes.len(), Deadline::NEVER)),
            Err(other) => panic!("{other}"),
        }
    }
}

fn publish(producer: &mut Producer<Local>) {
    if producer.publish() {
        producer.wake_consumer();
    }
}

/// Runs `each` on every record until it answers false.
fn drain(consumer: &mut Consumer<Local>, mut each: impl FnMut(u16, &[u8]) -> bool) {
    let mut payload = vec![];
    loop {
        assert!(consumer.wait_for_record(Deadline::NEVER));
        while let Some(mut record) = consumer.peek().unwrap() {
            if !record.claim() {
                continue;
            }
            payload.clear();
            record.append_to(&mut payload);
            let tag = record.tag();
            if record.advance() {
                consumer.wake_producer();
            }
            if !each(tag, &payload) {
                return;
            }
        }
    }
}

/// A generator whose seed is in the test, so that a failure can be repeated.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn records_arrive_in_order_and_unharmed() {
    const COUNT: u64 = 300_000;
    for capacity in [64, 1 << 10, 1 << 16] {
        within(LIMIT, move || {
            let (mut producer, mut consumer) = local(capacity).unwrap();
            let sending = thread::spawn(move || {
                let (mut state, max) = (0x9e37_79b9_7f4a_7c15, producer.max_len().min(99) as u64);
                for number in 0..COUNT {
                    let len = 8.max(random(&mut state) % (max + 1));
                    let mut bytes = vec![number.to_le_bytes()[0]; usize::try_from(len).unwrap()];
                    bytes[..8].copy_from_slice(&number.to_le_bytes());
                    push(&mut producer, &bytes, 5);
                    if random(&mut state).is_multiple_of(3) {
                        publish(&mut producer);
                    }
                }
                publish(&mut producer);
            });
            let mut next = 0_u64;
            drain(&mut consumer, |tag, bytes| {
                assert_eq!((tag, &bytes[..8]), (5, &next.to_le_bytes()[..]));
                assert!(bytes[8..].iter().all(|byte| *byte == next.to_le_bytes()[0]));
                next += 1;
                next < COUNT
            });
            sending.join().unwrap();
        });
    }
}

#[test]
fn each_record_is_run_or_taken_back() {
    const COUNT: u64 = 200_000;
    static RUN: AtomicU64 = AtomicU64::new(0);
    let taken_back = within(LIMIT, || {
        let (mut producer, mut consumer) = local(1 << 12).unwrap();
        let running = thread::spawn(move || {
            let mut last = None;
            drain(&mut consumer, |_, bytes| {
                let number = u64::from_le_bytes(bytes.try_into().unwrap());
                assert!(
                    last.is_none_or(|last| number > last),
                    "{number} after {last:?}"
                );
                last = Some(number);
                RUN.fetch_add(number, Ordering::Relaxed);
                number < COUNT
            });
        });
        let (mut state, mut taken_back) = (0x2545_f491_4f6c_dd1d, 0);
        let mut pushed = vec![];
        for number in 0..COUNT {
            pushed.push((number, push(&mut producer, &number.to_le_bytes(), 0)));
            publish(&mut producer);
            if random(&mut state).is_multiple_of(8) {
                for (number, position) in pushed.drain(..).rev() {
                    if producer.revoke(position) {
                        taken_back += number;
                    } else {
                        assert!(producer.is_claimed(position));
                    }
                }
            }
        }
        push(&mut producer, &COUNT.to_le_bytes(), 0);
        publish(&mut producer);
        running.join().unwrap();
        taken_back
    });
    let all = (0..=COUNT).sum::<u64>();
    assert_eq!(RUN.load(Ordering::Relaxed) + taken_back, all);
}

#[test]
fn long_messages_stream_through_a_short_ring() {
    within(LIMIT, || {
        let (mut producer, mut consumer) = local(1 << 10).unwrap();
        let lengths = [0, 1, 248, 249, 10_000, 1_000_000, 3];
        let message = |length: usize| {
            (0..length)
                .map(|at| (at % 251).to_le_bytes()[0])
                .collect::<Vec<_>>()
        };
        let sending = thread::spawn(move || {
            for length in lengths {
                let mut outgoing = Outgoing::new(message(length), 1);
                assert!(outgoing.send(&mut producer, Deadline::NEVER).unwrap());
            }
        });
        let mut assembler = Assembler::default();
        for length in lengths {
            loop {
                assert!(consumer.wait_for_record(Deadline::NEVER));
                let Some(record) = consumer.peek().unwrap() else {
                    continue;
                };
                let whole = assembler.add(&record).unwrap();
                if record.advance() {
                    consumer.wake_producer();
                }
                if whole {
                    break;
                }
            }
            assert_eq!(assembler.take(), message(length));
        }
        sending.join().unwrap();
    });
}
