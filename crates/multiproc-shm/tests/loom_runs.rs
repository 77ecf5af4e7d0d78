//! Every order of the steps by which tasks of one record are claimed, answered and taken back: the code of `claims.rs`,
//! `items.rs` and the ring's, on a ring of eight slots.

#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Arc;
use loom::thread;
use multiproc_shm::ring::{
    Claiming, Claims, Consumer, ItemConsumer, Local, MIN_CAPACITY, Producer, local, local_items,
};
use multiproc_sync::primitive::{AtomicU64, model::mortal};

fn explore(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(run);
}

/// Those of [`Claims`].
struct Words([AtomicU64; 2]);

impl Words {
    fn new() -> Arc<Words> {
        Arc::new(Words([AtomicU64::new(0), AtomicU64::new(0)]))
    }

    fn claims(&self) -> Claims<'_> {
        Claims::new(&self.0[0], &self.0[1])
    }
}

/// Claims what records there are, each of two tasks that have the numbers in it, and does them.
fn work(consumer: &mut Consumer<Local>, words: &Words, mut each: impl FnMut(u32)) {
    let claims = words.claims();
    let mut claiming = Claiming::new();
    while let Some(mut record) = consumer.peek().unwrap() {
        let mut first = [0];
        assert!(record.copy_to(&mut first));
        let first = u32::from(first[0]);
        claiming.begin(&claims, first, 2);
        if !record.claim() {
            continue;
        }
        let _nobody_waits = record.advance();
        while let Some(index) = claiming.claim(&claims) {
            each(first + u32::from(index));
        }
    }
}

/// Takes back what can be had of the two tasks of a record, at most `most` if it was claimed: how many.
fn take_back(
    producer: &Producer<Local>,
    words: &Words,
    (first, position): (u32, multiproc_shm::ring::Position),
    most: u16,
) -> u16 {
    match producer.revoke(position) {
        true => 2,
        false => words.claims().take_back(first, 2, most),
    }
}

#[test]
fn a_task_is_claimed_or_taken_back_never_both() {
    static CLAIMED: AtomicUsize = AtomicUsize::new(0);
    static TAKEN: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    explore(|| {
        let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
        let words = Words::new();
        let records = [1, 3].map(|first: u8| {
            let position = producer.push(&[&[first]], 0).unwrap();
            (u32::from(first), position)
        });
        let _asleep = producer.publish();
        let taking_back = thread::spawn({
            let words = Arc::clone(&words);
            move || {
                // The younger first, as it is done.
                let [older, younger] = records;
                let younger = take_back(&producer, &words, younger, 1);
                [take_back(&producer, &words, older, 1), younger]
            }
        });
        let mut done = Vec::new();
        work(&mut consumer, &words, |task| done.push(task));
        let taken = taking_back.join().unwrap();
        // What is claimed is so from the front, and what is taken back from the end: none is both, and none neither.
        let expected: Vec<u32> = [(1, taken[0]), (3, taken[1])]
            .iter()
            .flat_map(|(first, taken)| *first..*first + 2 - u32::from(*taken))
            .collect();
        assert_eq!(done, expected);
        CLAIMED.fetch_add(done.len(), Ordering::Relaxed);
        for taken in taken {
            TAKEN[usize::from(taken)].fetch_add(1, Ordering::Relaxed);
        }
    });
    let seen = TAKEN.iter().all(|count| count.load(Ordering::Relaxed) > 0);
    assert!(seen && CLAIMED.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_was_taken_back_before_is_not_claimed_while_more_is_asked_for() {
    static TAKEN: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    explore(|| {
        let words = Words::new();
        let mut claiming = Claiming::new();
        claiming.begin(&words.claims(), 7, 2);
        let working = thread::spawn({
            let words = Arc::clone(&words);
            move || {
                let mut done = 0;
                while let Some(task) = claiming.claim(&words.claims()) {
                    assert_eq!(task, done);
                    done += 1;
                }
                done
            }
        });
        let last = words.claims().take_back(7, 2, 1);
        let taken = last + words.claims().take_back(7, 2 - last, 1);
        let done = working.join().unwrap();
        assert_eq!(taken + done, 2);
        TAKEN[usize::from(taken)].fetch_add(1, Ordering::Relaxed);
    });
    assert!(TAKEN.iter().all(|count| count.load(Ordering::Relaxed) > 0));
}

#[test]
fn of_what_a_dead_worker_had_at_most_one_was_begun_and_not_answered() {
    let died = &*Box::leak(Box::new(std::sync::atomic::AtomicBool::new(true)));
    for steps in 0.. {
        if !died.swap(false, Ordering::Relaxed) {
            assert!(steps > 8);
            break;
        }
        explore(move || {
            let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
            let (mut answers, mut heard) = local_items(MIN_CAPACITY).unwrap();
            let words = Words::new();
            let position = producer.push(&[&[1]], 0).unwrap();
            let _asleep = producer.publish();
            let working = thread::spawn({
                let words = Arc::clone(&words);
                move || {
                    mortal(steps, || {
                        work(&mut consumer, &words, |task| {
                            assert!(answers.append(&[1, u8::try_from(task).unwrap()]));
                        });
                    })
                }
            });
            let early = words.claims().claimed(1);
            let finished = working.join().unwrap().is_some();
            died.fetch_or(!finished, Ordering::Relaxed);
            // What was begun counts among those that are not taken back in the end.
            let claimed = match producer.revoke(position) {
                true => 0,
                false => 2 - words.claims().take_back(1, 2, 2),
            };
            let answered = take(&mut heard).len();
            let claimed = usize::from(claimed);
            assert!(answered <= claimed && claimed <= answered + 1);
            assert!(usize::from(early.unwrap_or(0)) <= claimed);
            assert!(!finished || answered == 2);
        });
    }
}

/// The items that are there, without their lengths.
fn take(items: &mut ItemConsumer<Local>) -> Vec<Vec<u8>> {
    let (mut buffer, mut places) = (vec![], [0; 4]);
    let _any = items.look();
    let taken = items.take(&mut buffer, &mut places).unwrap();
    let item = |place: &u64| {
        let place = usize::try_from(*place).unwrap();
        buffer[place..place + usize::from(buffer[place - 1])].to_vec()
    };
    places[..taken].iter().map(item).collect()
}

#[test]
fn items_come_whole_and_in_order_and_overwrite_only_what_was_taken() {
    explore(|| {
        let (mut producer, mut consumer) = local_items(MIN_CAPACITY).unwrap();
        // So that the third goes round the end, and has no room before one was taken.
        let item = |value: u8| {
            let mut item = [value; 25];
            item[0] = 24;
            item
        };
        assert!(producer.append(&item(1)) && producer.append(&item(2)));
        let appending = thread::spawn(move || {
            let third = producer.append(&item(3));
            let fourth = producer.append(&item(4));
            (third, fourth)
        });
        let mut taken = take(&mut consumer);
        let (third, fourth) = appending.join().unwrap();
        taken.extend(take(&mut consumer));
        let values = [(1, true), (2, true), (3, third), (4, fourth)];
        let expected = values.iter().filter(|(_, there)| *there);
        let expected: Vec<_> = expected.map(|(value, _)| vec![*value; 24]).collect();
        assert_eq!(taken, expected);
    });
}

#[test]
fn an_item_is_taken_for_the_answer_to_no_other_task() {
    explore(|| {
        let (mut records, mut record) = local(MIN_CAPACITY).unwrap();
        let (mut items, mut item) = local_items(MIN_CAPACITY).unwrap();
        let working = thread::spawn(move || {
            // The first and the third task are answered by an item, the second by a record.
            assert!(items.append(&[1, 0]));
            records.push(&[&[1]], 0).unwrap();
            records.publish_quietly();
            assert!(items.append(&[1, 2]));
        });
        let mut oldest = 0;
        let mut hear = || {
            // As a parent does it: whether there are items first, then the record before which they count.
            let any = item.look();
            let ticket = record.peek().unwrap().map(|record| {
                let mut ticket = [0];
                assert!(record.copy_to(&mut ticket));
                ticket[0]
            });
            let before = ticket.map_or(usize::MAX, |ticket| usize::from(ticket - oldest));
            let (mut buffer, mut places) = (vec![], [0; 3]);
            if any && before > 0 {
                let most = before.min(places.len());
                let taken = item.take(&mut buffer, &mut places[..most]).unwrap();
                assert!(taken > 0);
                for answer in buffer.chunks(2) {
                    assert_eq!(answer, [1, oldest]);
                    oldest += 1;
                }
            } else if ticket == Some(oldest) {
                let _nobody_waits = record.peek().unwrap().unwrap().advance();
                oldest += 1;
            }
        };
        (0..3).for_each(|_| hear());
        working.join().unwrap();
        (0..3).for_each(|_| hear());
        assert_eq!(oldest, 3);
    });
}
