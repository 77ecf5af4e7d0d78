//! What a worker says of its times is believed where it can be so, and memory is bounded.

use super::*;

fn called(item: usize) -> Called {
    Called {
        call: 1,
        item,
        items: 1,
        looks: Looks::of::<u8, u8>(),
    }
}

fn now() -> u64 {
    Deadline::now().nanos()
}

fn add(recorder: &mut Recorder, worker: u64, item: usize, started: u64, ended: u64) {
    let stamps = Stamps { started, ended };
    recorder.task(worker, called(item), stamps, TaskOutcome::Returned, || {
        vec![7]
    });
}

#[test]
fn stamps_travel() {
    let stamps = Stamps {
        started: 0x0102_0304_0506_0708,
        ended: u64::MAX - 1,
    };
    assert_eq!(Stamps::from_bytes(stamps.to_bytes()), stamps);
}

#[test]
fn times_that_cannot_be_are_left_out() {
    let mut recorder = Recorder::new(100);
    let born = Deadline::now();
    let worker = recorder.started(0, 1, born, 1);
    let (start, end) = (born.nanos(), now());
    let hour = 3_600_000_000_000;
    for (started, ended) in [
        (start - 1, end),
        (end, end - 1),
        (start, now() + hour),
        (0, 0),
        (u64::MAX, u64::MAX),
        (start, u64::MAX),
    ] {
        add(&mut recorder, worker, 0, started, ended);
    }
    add(&mut recorder, worker, 1, start, end);
    // Not before the one before it has ended.
    add(&mut recorder, worker, 2, end - 1, end);
    add(&mut recorder, worker, 3, end, end);
    let timeline = recorder.timeline(&[]);
    assert_eq!(timeline.implausible, 7);
    let items: Vec<_> = timeline.tasks.iter().map(|task| task.item).collect();
    assert_eq!(items, [1, 3]);
    assert_eq!(recorder.slowest().len(), 2);
}

#[test]
fn the_oldest_tasks_are_forgotten_and_counted() {
    let mut recorder = Recorder::new(10);
    let worker = recorder.started(0, 1, Deadline::now(), 1);
    for item in 0..25 {
        let now = now();
        add(&mut recorder, worker, item, now, now);
    }
    let timeline = recorder.timeline(&[]);
    let items: Vec<_> = timeline.tasks.iter().map(|task| task.item).collect();
    assert_eq!(items, (15..25).collect::<Vec<_>>());
    assert_eq!(timeline.forgotten, 15);
}

#[test]
fn the_oldest_workers_are_forgotten_with_their_tasks() {
    let mut recorder = Recorder::new(usize::MAX);
    let mut first = None;
    for _ in 0..3 * WORKERS {
        let worker = recorder.started(0, 1, Deadline::now(), 1);
        first.get_or_insert(worker);
        let now = now();
        add(&mut recorder, worker, 0, now, now);
        recorder.ended(worker);
    }
    let timeline = recorder.timeline(&[(0, called(0), Deadline::now())]);
    assert_eq!(timeline.workers.len(), WORKERS);
    assert_eq!(timeline.tasks.len(), WORKERS);
    assert_eq!(timeline.forgotten, 2 * WORKERS as u64);
    // One that is not known any more is not told of.
    recorder.ready(first.unwrap());
    recorder.lost(first.unwrap(), Some(called(0)), Deadline::now());
    assert_eq!(recorder.timeline(&[]).tasks.len(), WORKERS);
}

#[test]
fn the_slowest_are_kept_in_order() {
    let mut recorder = Recorder::new(1);
    let born = Deadline::now();
    let worker = recorder.started(0, 9, born, 1);
    let mut at = born.nanos();
    for item in 0..30_u64 {
        // 7 and 31 have no common factor: each from 0 to 30 once.
        let took = (item + 1) * 7 % 31;
        while now() < at + took {
            std::thread::yield_now();
        }
        add(
            &mut recorder,
            worker,
            usize::try_from(took).unwrap(),
            at,
            at + took,
        );
        at += took;
    }
    let slowest: Vec<_> = recorder.slowest().into_iter().map(Slow::told).collect();
    let items: Vec<_> = slowest.iter().map(|slow| slow.item).collect();
    assert_eq!(items, (21..=30).rev().collect::<Vec<_>>());
    assert_eq!(slowest[0].argument.as_deref(), Some("7"));
    assert_eq!((slowest[0].function, slowest[0].pid), ("fn(u8) -> u8", 9));
}
