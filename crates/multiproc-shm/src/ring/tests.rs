//! What a hostile or damaged peer can leave in the memory, and the edges of the two ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use multiproc_sync::primitive::Deadline;
use proptest::prelude::*;

use super::layout::{Header, State, Word};
use super::*;

const CAPACITY: usize = 256;

/// A ring's memory that a test may write into as a peer could.
#[repr(C, align(128))]
struct Bytes {
    header: Header,
    words: [AtomicU64; CAPACITY / 8],
}

fn memory() -> Arc<Bytes> {
    // SAFETY: made of atomics, for which all zeroes is a value.
    let memory: Arc<Bytes> = Arc::new(unsafe { std::mem::zeroed() });
    // SAFETY: aligned, of the size for this capacity, and nobody else's yet.
    unsafe { init(base(&memory), CAPACITY) }.unwrap();
    memory
}

fn base(memory: &Arc<Bytes>) -> *mut u8 {
    Arc::as_ptr(memory).cast_mut().cast()
}

fn producer(memory: &Arc<Bytes>) -> Result<Producer<Arc<Bytes>>, Corrupt> {
    // SAFETY: aligned, alive as long as the owner; each test has one producer.
    unsafe { Producer::new(memory.clone(), base(memory), CAPACITY) }
}

fn consumer(memory: &Arc<Bytes>) -> Result<Consumer<Arc<Bytes>>, Corrupt> {
    // SAFETY: aligned, alive as long as the owner; each test has one consumer.
    unsafe { Consumer::new(memory.clone(), base(memory), CAPACITY) }
}

fn ends(memory: &Arc<Bytes>) -> (Producer<Arc<Bytes>>, Consumer<Arc<Bytes>>) {
    (producer(memory).unwrap(), consumer(memory).unwrap())
}

/// What `peek` finds, without the record.
fn peek<M>(consumer: &mut Consumer<M>) -> Result<bool, Corrupt> {
    consumer.peek().map(|record| record.is_some())
}

fn pop<M>(consumer: &mut Consumer<M>) -> Option<(u16, Vec<u8>)> {
    let record = consumer.peek().unwrap()?;
    let mut payload = vec![];
    record.append_to(&mut payload);
    let tag = record.tag();
    let _nobody_waits = record.advance();
    Some((tag, payload))
}

#[test]
fn parts_arrive_as_one_payload_with_their_tag() {
    let (mut producer, mut consumer) = local(1 << 12).unwrap();
    producer.push(&[b"one ", b"", b"record"], 7).unwrap();
    producer.push(&[], u16::MAX).unwrap();
    assert!(consumer.peek().unwrap().is_none(), "nothing is published");
    assert!(!producer.publish(), "nobody sleeps");
    assert_eq!(pop(&mut consumer), Some((7, b"one record".to_vec())));
    assert_eq!(pop(&mut consumer), Some((u16::MAX, vec![])));
    assert_eq!(pop(&mut consumer), None);
}

#[test]
fn what_does_not_fit_is_told_apart_from_what_never_will() {
    let (mut producer, mut consumer) = local(CAPACITY).unwrap();
    assert_eq!(producer.max_len(), 56);
    let too_large = PushError::TooLarge { len: 57, max: 56 };
    assert_eq!(producer.push(&[&[0; 50], &[0; 7]], 0), Err(too_large));
    let half: &[u8] = &[0; 1 << 20];
    let error = producer.push(&vec![half; 1 << 13], 0).unwrap_err();
    assert!(matches!(error, PushError::TooLarge { .. }));
    for _ in 0..4 {
        producer.push(&[&[1; 56]], 0).unwrap();
    }
    assert_eq!(producer.push(&[], 0), Err(PushError::Full));
    assert_eq!(producer.has_room(0), Ok(false));
    assert_eq!(producer.has_room(57), Ok(false));
    let _nobody_sleeps = producer.publish();
    assert!(pop(&mut consumer).is_some());
    assert_eq!(producer.has_room(56), Ok(true));
}

#[test]
fn what_was_taken_back_is_passed_over_with_the_rest_of_its_message() {
    let (mut producer, mut consumer) = local(CAPACITY).unwrap();
    let mut long = Outgoing::new([1; 100], 0);
    assert!(long.push(&mut producer).unwrap());
    let short = producer.push(&[&[2]], 0).unwrap();
    let _nobody_sleeps = producer.publish();
    assert!(producer.revoke(long.position().unwrap()));
    assert!(
        !producer.revoke(long.position().unwrap()),
        "taken back already"
    );
    let mut record = consumer.peek().unwrap().unwrap();
    assert!(
        record.claim() && record.claim(),
        "claiming twice is claiming"
    );
    assert!(!producer.revoke(short) && producer.is_claimed(short));
    assert_eq!(pop(&mut consumer), Some((0, vec![2])));
    assert_eq!(pop(&mut consumer), None);
    assert!(!producer.is_claimed(long.position().unwrap()));
}

#[test]
fn a_message_behind_a_head_is_received_as_one_however_it_is_cut() {
    for (head, body) in [
        (0, 0),
        (5, 0),
        (0, 5),
        (5, 5),
        (100, 3),
        (3, 200),
        (100, 100),
    ] {
        let (mut producer, mut consumer) = local(CAPACITY).unwrap();
        let mut assembler = Assembler::new(1000);
        let mut outgoing = Outgoing::new(vec![2; body], 7).behind(vec![1; head]);
        let mut whole = false;
        while !whole {
            let _done = outgoing.push(&mut producer).unwrap();
            let _nobody_sleeps = producer.publish();
            while let Some(record) = consumer.peek().unwrap() {
                assert_eq!(record.tag(), 7);
                whole = assembler.add(&record).unwrap();
                let _waiting: bool = record.advance();
            }
            let _nobody_waits: bool = consumer.release();
        }
        assert!(outgoing.is_done());
        assert_eq!(assembler.take(), [vec![1; head], vec![2; body]].concat());
    }
}

#[test]
fn a_record_that_was_overwritten_counts_as_claimed() {
    let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
    let first = producer.push(&[&[0; 8]], 0).unwrap();
    for _ in 0..20 {
        let _nobody_sleeps = producer.publish();
        pop(&mut consumer).unwrap();
        producer.push(&[&[0; 8]], 0).unwrap();
    }
    assert!(producer.is_claimed(first) && !producer.revoke(first));
}

#[test]
fn the_next_producer_goes_on_behind_what_was_published() {
    let memory = memory();
    let (mut first, mut consumer) = ends(&memory);
    first.push(&[b"published"], 1).unwrap();
    let _nobody_sleeps = first.publish();
    first.push(&[b"lost"], 2).unwrap();
    drop(first);
    let mut second = producer(&memory).unwrap();
    second.push(&[b"next"], 3).unwrap();
    let _nobody_sleeps = second.publish();
    assert_eq!(pop(&mut consumer), Some((1, b"published".to_vec())));
    assert_eq!(pop(&mut consumer), Some((3, b"next".to_vec())));
    assert_eq!(pop(&mut consumer), None);
}

#[test]
fn producers_take_turns_by_reloading() {
    let memory = memory();
    let mut consumer = consumer(&memory).unwrap();
    let mut producers = [producer(&memory).unwrap(), producer(&memory).unwrap()];
    for turn in 0..100_u8 {
        let producer = &mut producers[usize::from(turn % 2)];
        producer.reload().unwrap();
        producer.push(&[&[turn; 20]], 0).unwrap();
        let _nobody_sleeps = producer.publish();
        producer.push(&[b"never published"], 0).unwrap();
        assert_eq!(pop(&mut consumer), Some((0, vec![turn; 20])));
    }
}

#[test]
fn the_next_consumer_finds_what_was_not_released() {
    let memory = memory();
    let (mut producer, mut first) = ends(&memory);
    for value in 0..3 {
        producer.push(&[&[value]], 0).unwrap();
    }
    let _nobody_sleeps = producer.publish();
    pop(&mut first).unwrap();
    assert!(!first.release());
    pop(&mut first).unwrap();
    drop(first);
    let mut second = consumer(&memory).unwrap();
    assert_eq!(pop(&mut second), Some((0, vec![1])));
}

#[test]
fn an_unfinished_message_disappears_when_the_next_begins() {
    let (mut producer, mut consumer) = local(CAPACITY).unwrap();
    let mut assembler = Assembler::default();
    let mut unfinished = Outgoing::new(vec![1; 1000], 0);
    assert!(!unfinished.push(&mut producer).unwrap());
    let _nobody_sleeps = producer.publish();
    while let Some(record) = consumer.peek().unwrap() {
        assert!(!assembler.add(&record).unwrap());
        let _nobody_waits = record.advance();
    }
    producer.push(&[b"whole"], 0).unwrap();
    let _nobody_sleeps = producer.publish();
    assert!(assembler.add(&consumer.peek().unwrap().unwrap()).unwrap());
    assert_eq!(assembler.message(), b"whole");
}

#[test]
fn a_message_over_the_limit_is_refused_and_the_next_is_not() {
    let (mut producer, mut consumer) = local(1 << 10).unwrap();
    let mut assembler = Assembler::new(300);
    for length in [301, 300] {
        assert!(
            Outgoing::new(vec![5; length], 0)
                .push(&mut producer)
                .unwrap()
        );
    }
    let _nobody_sleeps = producer.publish();
    let mut answers = vec![];
    while let Some(record) = consumer.peek().unwrap() {
        answers.push(assembler.add(&record));
        let _nobody_waits = record.advance();
    }
    assert_eq!(
        answers,
        [
            Ok(false),
            Err(AssembleError::TooLong { limit: 300 }),
            Ok(false),
            Ok(true)
        ]
    );
    assert_eq!(assembler.take(), [5; 300]);
}

#[test]
fn a_deadline_ends_a_wait_on_either_side() {
    let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
    let soon = || Deadline::after(Duration::from_millis(2));
    assert!(!consumer.wait_for_record(soon()));
    for _ in 0..4 {
        producer.push(&[&[0; 8]], 0).unwrap();
    }
    assert!(!producer.wait_for_room(8, soon()));
    assert!(
        !producer.wait_for_room(usize::MAX, soon()),
        "as for the longest"
    );
    let mut late = Outgoing::new([0; 9], 0);
    assert!(!late.send(&mut producer, soon()).unwrap());
    assert!(consumer.wait_for_record(soon()));
    while pop(&mut consumer).is_some() {}
    assert!(
        producer.wait_for_room(usize::MAX, Deadline::NEVER),
        "as for the longest"
    );
}

#[test]
fn a_side_that_parks_is_reported_once() {
    let (mut producer, mut consumer) = local(MIN_CAPACITY).unwrap();
    assert_eq!(
        consumer.begin_park(),
        Park {
            sleep: true,
            wake_peer: false
        }
    );
    for expected in [true, false] {
        producer.push(&[&[0]], 0).unwrap();
        assert_eq!(producer.publish(), expected);
    }
    assert!(consumer.end_park(), "a wake-up was sent");
    assert_eq!(
        consumer.begin_park(),
        Park {
            sleep: false,
            wake_peer: false
        }
    );
    producer.push(&[&[0]], 0).unwrap();
    producer.push(&[&[0]], 0).unwrap();
    assert_eq!(
        producer.begin_park(8),
        Park {
            sleep: true,
            wake_peer: false
        }
    );
    let advanced = [(); 2].map(|()| consumer.peek().unwrap().unwrap().advance());
    assert_eq!(advanced, [true, false]);
    assert_eq!(
        producer.begin_park(8),
        Park {
            sleep: false,
            wake_peer: false
        }
    );
}

#[test]
fn memory_that_is_no_ring_is_refused() {
    let memory = memory();
    let identity = &memory.header.identity;
    for (word, value) in [
        (&identity.magic, 0),
        (&identity.version, 2),
        (&identity.capacity, 512),
    ] {
        let before = word.swap(value, Relaxed);
        assert_eq!(
            producer(&memory).unwrap_err(),
            consumer(&memory).unwrap_err()
        );
        word.store(before, Relaxed);
    }
    for capacity in [0, 1, 63, 96, MAX_CAPACITY + 1, usize::MAX] {
        let expected = Corrupt::Capacity {
            found: capacity as u64,
        };
        assert_eq!(local(capacity).unwrap_err(), expected);
        // SAFETY: nothing is accessed beyond the header.
        let result = unsafe { Producer::new((), base(&memory), capacity) };
        assert_eq!(result.unwrap_err(), expected);
    }
}

#[test]
fn impossible_positions_are_reported_by_both_sides() {
    for tail in [7, 1 << 20, u64::MAX, u64::MAX - 7, (1 << 62) + 8] {
        let memory = memory();
        let (_, mut consumer) = ends(&memory);
        memory.header.forward.tail.store(tail, Relaxed);
        assert_eq!(peek(&mut consumer), Err(Corrupt::Tail { found: tail }));
        assert_eq!(peek(&mut consumer), Err(Corrupt::Tail { found: tail }));
        assert_eq!(
            consumer.begin_park(),
            Park {
                sleep: false,
                wake_peer: false
            }
        );
        assert!(producer(&memory).is_err());
    }
    for head in [12, 264, 1 << 20, u64::MAX, u64::MAX - 7] {
        let memory = memory();
        let mut first = producer(&memory).unwrap();
        memory.header.backward.head.store(head, Relaxed);
        for _ in 0..4 {
            first.push(&[&[0; 56]], 0).unwrap();
        }
        let wrong = Corrupt::Head { found: head };
        assert_eq!(first.push(&[&[]], 0), Err(PushError::Corrupt(wrong)));
        assert_eq!(
            first.begin_park(8),
            Park {
                sleep: false,
                wake_peer: false
            }
        );
        assert!(producer(&memory).is_err());
    }
}

#[test]
fn impossible_records_are_reported() {
    let ready = |len| Word::new(len, 0, Word::FIRST, State::Ready).0;
    let padding = |len| Word::new(len, 0, 0, State::Padding).0;
    let cases = [
        (0, Corrupt::State { found: 0 }),
        (ready(1) | 0xff << 56, Corrupt::State { found: 0xff }),
        (ready(57), Corrupt::Length { found: 57 }),
        (ready(u32::MAX), Corrupt::Length { found: u32::MAX }),
        (ready(17), Corrupt::Length { found: 17 }),
        (padding(8), Corrupt::Length { found: 8 }),
        (padding(256), Corrupt::Length { found: 256 }),
        (padding(248), Corrupt::Length { found: 248 }),
    ];
    for (word, expected) in cases {
        let memory = memory();
        let (_, mut consumer) = ends(&memory);
        memory.words[0].store(word, Relaxed);
        memory.header.forward.tail.store(24, Relaxed);
        assert_eq!(peek(&mut consumer), Err(expected), "{word:#x}");
    }
}

#[test]
fn a_message_that_was_not_begun_is_reported() {
    let (mut producer, mut consumer) = local(CAPACITY).unwrap();
    producer.push_part(&[&[1]], 0, 0).unwrap();
    let _nobody_sleeps = producer.publish();
    let record = consumer.peek().unwrap().unwrap();
    let error = Assembler::default().add(&record).unwrap_err();
    assert_eq!(error, AssembleError::Corrupt(Corrupt::Continuation));
}

/// A word as a hostile peer might write it: anything, or nearly right.
fn hostile_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..80_u32, any::<u16>(), 0..4_u64, 0..6_u64).prop_map(|(len, tag, flags, state)| {
            u64::from(len) | u64::from(tag) << 32 | flags << 48 | state << 56
        }),
    ]
}

proptest! {
    /// Whatever lies in the memory, both ends come to an end of it without a panic.
    #[test]
    fn no_memory_makes_an_end_panic_or_loop(
        words in proptest::collection::vec(hostile_word(), CAPACITY / 8),
        tail in prop_oneof![any::<u64>(), (0..40_u64).prop_map(|n| n * 8)],
        head in prop_oneof![any::<u64>(), (0..40_u64).prop_map(|n| n * 8)],
        lengths in proptest::collection::vec(0..60_usize, 10),
    ) {
        let memory = memory();
        let (mut early_producer, mut early_consumer) = ends(&memory);
        for (place, word) in memory.words.iter().zip(words) {
            place.store(word, Relaxed);
        }
        memory.header.forward.tail.store(tail, Relaxed);
        memory.header.backward.head.store(head, Relaxed);
        let drain = |consumer: &mut Consumer<Arc<Bytes>>| {
            let mut assembler = Assembler::new(100);
            for _ in 0..CAPACITY {
                let Ok(Some(mut record)) = consumer.peek() else { return Ok(()) };
                let _may_fail = assembler.add(&record);
                record.claim();
                let _wake = record.advance();
            }
            Err(TestCaseError::fail("more records than there is room for"))
        };
        drain(&mut early_consumer)?;
        if let Ok(mut consumer) = consumer(&memory) {
            drain(&mut consumer)?;
        }
        for producer in [Ok(&mut early_producer), producer(&memory).as_mut()].into_iter().flatten() {
            for length in &lengths {
                if let Ok(position) = producer.push(&[&vec![0; *length]], 0) {
                    producer.revoke(position);
                }
            }
            let _wake = producer.publish();
            let _may_fail = producer.reload();
            let _wake = producer.begin_park(56);
        }
    }
}

#[test]
fn payloads_of_every_length_come_out_as_they_went_in() {
    let memory = memory();
    let (mut producer, mut consumer) = ends(&memory);
    let bytes: Vec<u8> = (1..=56).collect();
    for len in 0..=producer.max_len() {
        for cut in 0..=len {
            let (first, second) = bytes[..len].split_at(cut);
            producer.push(&[first, second], 9).unwrap();
            // Nobody sleeps who would have to be told.
            producer.publish_quietly();
            let record = consumer.peek().unwrap().unwrap();
            let mut behind = vec![0];
            record.append_behind(cut, &mut behind);
            assert_eq!(behind[1..], *second);
            let mut none = vec![];
            record.append_behind(len + 1, &mut none);
            assert!(none.is_empty());
            assert!(!record.advance());
            assert!(!peek(&mut consumer).unwrap());
        }
    }
}
