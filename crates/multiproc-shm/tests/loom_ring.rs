//! Every order of the ring's steps, on a ring of eight slots. The ring's own code runs; loom's cells
//! stand for the payload and report a read or write that the other end's are not ordered with.

#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use multiproc_shm::ring::{
    Assembler, Consumer, Local, MIN_CAPACITY, Outgoing, PARKED, Position, Producer, local,
};
use multiproc_sync::primitive::{Deadline, futex, model::mortal};

type Ends = (Producer<Local>, Consumer<Local>);

fn explore(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(run);
}

fn ring() -> Ends {
    local(MIN_CAPACITY).unwrap()
}

/// Pushes a record of one byte, waiting for room on the ring's word step by step.
fn push(producer: &mut Producer<Local>, value: u8) {
    while producer.push(&[&[value]], 0).is_err() {
        let park = producer.begin_park(1);
        if park.wake_peer {
            producer.wake_consumer();
        }
        if park.sleep {
            futex::wait(producer.word(), PARKED, Deadline::NEVER);
            producer.end_park();
        }
    }
}

fn publish(producer: &mut Producer<Local>) {
    if producer.publish() {
        producer.wake_consumer();
    }
}

/// The next record's byte, waited for on the ring's word.
fn pop(consumer: &mut Consumer<Local>) -> u8 {
    loop {
        if let Some(record) = consumer.peek().unwrap() {
            let mut value = [0];
            assert!(record.copy_to(&mut value));
            if record.advance() {
                consumer.wake_producer();
            }
            return value[0];
        }
        assert!(consumer.wait_for_record(Deadline::NEVER));
    }
}

#[test]
fn a_consumer_that_parks_is_woken() {
    explore(|| {
        let (mut producer, mut consumer) = ring();
        let sending = thread::spawn(move || {
            for value in 0..2 {
                push(&mut producer, value);
                publish(&mut producer);
            }
        });
        assert_eq!([pop(&mut consumer), pop(&mut consumer)], [0, 1]);
        sending.join().unwrap();
    });
}

#[test]
fn a_producer_that_parks_is_woken_and_overwrites_only_what_was_read() {
    explore(|| {
        let (mut producer, mut consumer) = ring();
        // Four records of 16 bytes fill the ring.
        for value in 0..4 {
            push(&mut producer, value);
        }
        publish(&mut producer);
        let sending = thread::spawn(move || {
            for value in 4..6 {
                push(&mut producer, value);
            }
            publish(&mut producer);
        });
        for value in 0..6 {
            assert_eq!(pop(&mut consumer), value);
        }
        sending.join().unwrap();
    });
}

#[test]
fn a_producer_is_woken_for_room_that_was_only_passed_over() {
    explore(|| {
        let (mut producer, mut consumer) = ring();
        for value in 0..4 {
            let position = producer.push(&[&[value]], 0).unwrap();
            assert!(producer.revoke(position));
        }
        publish(&mut producer);
        let sending = thread::spawn(move || {
            push(&mut producer, 4);
            publish(&mut producer);
        });
        assert_eq!(pop(&mut consumer), 4);
        sending.join().unwrap();
    });
}

#[test]
fn a_producer_that_waits_for_room_has_published() {
    explore(|| {
        let (mut producer, mut consumer) = ring();
        let sending = thread::spawn(move || {
            for value in 0..5 {
                push(&mut producer, value);
            }
            publish(&mut producer);
        });
        for value in 0..5 {
            assert_eq!(pop(&mut consumer), value);
        }
        sending.join().unwrap();
    });
}

#[test]
fn a_record_is_claimed_or_taken_back_never_both() {
    static CLAIMED: AtomicUsize = AtomicUsize::new(0);
    static REVOKED: AtomicUsize = AtomicUsize::new(0);
    explore(|| {
        let (mut producer, mut consumer) = ring();
        let first = producer.push(&[&[1]], 0).unwrap();
        let second = producer.push(&[&[2]], 0).unwrap();
        publish(&mut producer);
        let taking_back = thread::spawn(move || {
            let revoked = [producer.revoke(second), producer.revoke(first)];
            assert_eq!(
                revoked,
                [!producer.is_claimed(second), !producer.is_claimed(first)]
            );
            revoked
        });
        let mut claimed = [false, false];
        while let Some(mut record) = consumer.peek().unwrap() {
            if record.claim() {
                let mut value = [0];
                assert!(record.copy_to(&mut value));
                claimed[usize::from(2 - value[0])] = true;
                let _nobody_waits = record.advance();
            }
        }
        let revoked = taking_back.join().unwrap();
        assert_eq!(revoked.map(|revoked| !revoked), claimed);
        CLAIMED.fetch_add(claimed.iter().filter(|c| **c).count(), Ordering::Relaxed);
        REVOKED.fetch_add(revoked.iter().filter(|r| **r).count(), Ordering::Relaxed);
    });
    assert!(CLAIMED.load(Ordering::Relaxed) > 0 && REVOKED.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_was_done_before_a_claim_is_seen_by_who_sees_the_claim() {
    let asking: [fn(&Producer<Local>, Position) -> bool; 2] = [
        |producer, task| producer.is_claimed(task),
        |producer, task| !producer.revoke(task),
    ];
    for is_claimed in asking {
        explore(move || {
            let (mut producer, mut consumer) = ring();
            let task = producer.push(&[&[1]], 0).unwrap();
            publish(&mut producer);
            let [before, after] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
            let working = thread::spawn({
                let (before, after) = (Arc::clone(&before), Arc::clone(&after));
                move || {
                    before.store(true, Ordering::Relaxed);
                    let task = consumer.peek().unwrap();
                    let _claimed = task.is_some_and(|mut task| task.claim());
                    after.store(true, Ordering::Relaxed);
                }
            });
            // loom tries this load behind that store, and so the question behind the claim.
            let _either = after.load(Ordering::Relaxed);
            if is_claimed(&producer, task) {
                assert!(before.load(Ordering::Relaxed));
            }
            working.join().unwrap();
        });
    }
}

#[test]
fn a_message_of_a_producer_that_dies_is_whole_or_absent() {
    const MESSAGE: [u8; 20] = [7; 20];
    for whole_at_step in 0.. {
        let (whole, died) = (&*Box::leak(Box::default()), &*Box::leak(Box::default()));
        explore(move || {
            let (mut producer, mut consumer) = ring();
            let sending = thread::spawn(move || {
                mortal(whole_at_step, || {
                    let mut message = Outgoing::new(MESSAGE, 0);
                    assert!(message.send(&mut producer, Deadline::NEVER).unwrap());
                })
            });
            let drain = |consumer: &mut Consumer<Local>, assembler: &mut Assembler| {
                let mut messages = 0;
                while let Some(record) = consumer.peek().unwrap() {
                    if assembler.add(&record).unwrap() {
                        assert_eq!(assembler.message(), MESSAGE);
                        messages += 1;
                    }
                    let _nobody_waits = record.advance();
                }
                messages
            };
            let mut assembler = Assembler::default();
            let mut messages = drain(&mut consumer, &mut assembler);
            let finished = sending.join().unwrap().is_some();
            messages += drain(&mut consumer, &mut assembler);
            assert!(messages == 1 || !finished && messages == 0);
            flag(whole, messages == 1);
            flag(died, !finished);
        });
        if !died.load(Ordering::Relaxed) {
            // It takes more than one step, and the message is there once the last is done.
            assert!(whole_at_step > 1 && whole.load(Ordering::Relaxed));
            break;
        }
    }
}

fn flag(flag: &std::sync::atomic::AtomicBool, set: bool) {
    flag.fetch_or(set, Ordering::Relaxed);
}

#[test]
fn a_consumer_that_dies_leaves_its_producer_a_ring_that_works() {
    for steps in 0..12 {
        explore(move || {
            let (mut producer, mut consumer) = ring();
            let task = producer.push(&[&[1]], 0).unwrap();
            let second = producer.push(&[&[2]], 0).unwrap();
            publish(&mut producer);
            let working = thread::spawn(move || {
                mortal(steps, || {
                    while let Some(mut record) = consumer.peek().unwrap() {
                        if record.claim() && record.advance() {
                            consumer.wake_producer();
                        }
                    }
                })
            });
            publish(&mut producer);
            let _died = working.join().unwrap();
            // Each is known to be started, or comes back.
            for position in [task, second] {
                let started = producer.is_claimed(position);
                assert_eq!(producer.revoke(position), !started);
            }
        });
    }
}
