//! What a channel adds to its ring, in every order: closing while somebody sends, a bound, and a sleep in two places.
//!
//! The ring's own code runs; the lock between senders is loom's, and a word stands for the bell.

#![cfg(loom)]

use loom::sync::{Arc, Mutex};
use loom::thread;
use multiproc_shm::ring::{
    AWAKE, Consumer, Local, MIN_CAPACITY, PARKED, Producer, local, take as ask,
};
use multiproc_sync::EventWord;
use multiproc_sync::primitive::{AtomicU32, AtomicU64, Deadline, Ordering, futex};

fn explore(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(run);
}

fn take(consumer: &mut Consumer<Local>) -> bool {
    match consumer.peek().unwrap() {
        Some(record) => {
            if record.advance() {
                consumer.wake_producer();
            }
            true
        }
        None => false,
    }
}

#[test]
fn a_message_that_was_sent_while_the_channel_was_closed_is_received() {
    explore(|| {
        let (producer, mut consumer) = local(MIN_CAPACITY).unwrap();
        let turn = Arc::new(Mutex::new(producer));
        let closed = Arc::new(AtomicU32::new(0));
        let sending = thread::spawn({
            let (turn, closed) = (Arc::clone(&turn), Arc::clone(&closed));
            move || {
                let mut producer = turn.lock().unwrap();
                if closed.load(Ordering::Acquire) != 0 {
                    return false;
                }
                producer.push(&[&[1]], 0).unwrap();
                let _nobody_sleeps = producer.publish();
                true
            }
        });
        closed.fetch_or(1, Ordering::SeqCst);
        // As the receiver does: nobody has the lock, and then nothing is there.
        let found = take(&mut consumer) || {
            drop(turn.lock().unwrap());
            take(&mut consumer)
        };
        assert_eq!(sending.join().unwrap(), found);
    });
}

/// What a side's word holds while it waits for the bell.
const ON_BELL: u32 = 2;

#[test]
fn a_receiver_that_sleeps_in_one_place_after_the_other_is_woken() {
    explore(|| {
        let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
        let bell = Arc::new(AtomicU32::new(0));
        let sending = thread::spawn({
            let bell = Arc::clone(&bell);
            move || {
                producer.push(&[&[1]], 0).unwrap();
                if !producer.publish() {
                    return;
                }
                if producer.found_asleep() == PARKED {
                    producer.wake_consumer();
                } else {
                    bell.store(1, Ordering::Release);
                    futex::wake(&bell, 1);
                }
            }
        });
        // The first sleep times out, however early; a wake on its way there wakes nobody.
        let park = consumer.begin_park();
        if park.sleep {
            consumer.end_park();
        }
        while !take(&mut consumer) {
            let park = consumer.begin_park_on(ON_BELL);
            if park.sleep {
                futex::wait(&bell, 0, Deadline::NEVER);
                consumer.end_park();
            }
        }
        sending.join().unwrap();
    });
}

/// The sender passes no fence: it looks at the receiver's word behind its release of the lock, which the receiver
/// changes, too, before its last look.
#[test]
fn a_receiver_that_sleeps_is_woken_by_a_brief_turn() {
    explore(|| {
        let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
        let lock = Arc::new(AtomicU32::new(0));
        let sending = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
                    .unwrap();
                producer.push(&[&[1]], 0).unwrap();
                producer.publish_quietly();
                lock.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed)
                    .unwrap();
                let word = producer.consumers_word();
                if word.load(Ordering::Relaxed) != AWAKE && ask(word) != AWAKE {
                    producer.wake_consumer();
                }
            }
        });
        while !take(&mut consumer) {
            let park = consumer.begin_park();
            if !park.sleep {
                continue;
            }
            lock.fetch_or(0, Ordering::AcqRel);
            if !consumer.has_news() {
                futex::wait(consumer.word(), PARKED, Deadline::NEVER);
            }
            consumer.end_park();
        }
        sending.join().unwrap();
    });
}

#[test]
fn a_sender_that_waits_for_one_message_fewer_is_woken() {
    explore(|| {
        let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
        let taken = Arc::new(AtomicU64::new(0));
        // Too short for its room to be given back by itself.
        producer.push(&[&[]], 0).unwrap();
        let _nobody_sleeps = producer.publish();
        let sending = thread::spawn({
            let taken = Arc::clone(&taken);
            move || {
                let has_place = |_: &mut Producer<Local>| taken.load(Ordering::Relaxed) == 1;
                while !has_place(&mut producer) {
                    if producer.begin_park_on(PARKED, has_place).sleep {
                        futex::wait(producer.word(), PARKED, Deadline::NEVER);
                        producer.end_park();
                    }
                }
            }
        });
        // As a receiver does in a channel with a bound: counted before, released after each message.
        let record = consumer.peek().unwrap().unwrap();
        taken.store(1, Ordering::Relaxed);
        let mut wake = record.advance();
        wake |= consumer.release();
        if wake {
            consumer.wake_producer();
        }
        sending.join().unwrap();
    });
}

/// A future that waits for room: an event is cleared by it, and set by the receiver behind the fence of each release, also
/// of that before a sleep.
#[test]
fn a_future_that_waits_for_room_is_woken() {
    explore(|| {
        let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
        let room = Arc::new(EventWord::default());
        room.set();
        // So short that their room is not given back by itself.
        while producer.push(&[&[]], 0).is_ok() {}
        let _nobody_sleeps = producer.publish();
        let sending = thread::spawn({
            let room = Arc::clone(&room);
            move || {
                while producer.push(&[&[]], 0).is_err() {
                    room.clear();
                    let seen = room.watch();
                    // Told before it was watched, and perhaps of the room that is taken again.
                    let told = seen & 1 != 0;
                    if told || producer.has_room(0).unwrap() {
                        room.unwatch();
                        continue;
                    }
                    futex::wait(room.word(), seen, Deadline::NEVER);
                    room.unwatch();
                }
            }
        });
        let tell = || {
            if !room.is_set() {
                room.set();
            }
        };
        let record = consumer.peek().unwrap().unwrap();
        let _nobody_sleeps = record.advance();
        if !room.is_set() {
            let _nobody_sleeps = consumer.release();
            tell();
        }
        let _woken_otherwise = consumer.begin_park();
        tell();
        consumer.end_park();
        sending.join().unwrap();
    });
}
