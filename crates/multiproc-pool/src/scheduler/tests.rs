//! The scheduler, driven by scripts and by chance.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

impl Mark for () {
    fn later(self, _: usize) {}
}

fn scheduler(workers: usize) -> Scheduler<()> {
    let mut scheduler = Scheduler::new(workers);
    (0..workers).for_each(|worker| scheduler.ready(worker));
    scheduler
}

/// Sends all that can be sent now.
fn send(scheduler: &mut Scheduler<()>) -> Vec<(usize, usize)> {
    let mut sent = vec![];
    while let Some((worker, task)) = scheduler.next() {
        scheduler.sent(worker, task, 1, ());
        sent.push((worker, task.item));
    }
    sent
}

#[test]
fn every_worker_gets_one_before_any_gets_two() {
    let mut scheduler = scheduler(3);
    scheduler.add(5);
    let sent = send(&mut scheduler);
    let first: HashSet<_> = sent[..3].iter().map(|(worker, _)| *worker).collect();
    assert_eq!(first.len(), 3);
    assert_eq!(
        sent.iter().map(|(_, item)| *item).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
}

#[test]
fn a_run_is_what_may_go_to_a_worker_before_anybody_else_is_served() {
    let mut scheduler = scheduler(2);
    let first = scheduler.add(100_000);
    let run = |scheduler: &mut Scheduler<()>| {
        let (worker, task) = scheduler.next().unwrap();
        let run = scheduler.run(worker, task);
        scheduler.sent(worker, task, run, ());
        (worker, task.item, run)
    };
    // To those who have nothing one by one, and to one of them as much as its window takes.
    assert_eq!(
        [run(&mut scheduler), run(&mut scheduler)],
        [(0, 0, 1), (1, 1, 1)]
    );
    for _ in 0..8 {
        while scheduler.next().is_some() {
            run(&mut scheduler);
        }
        while scheduler.finished(0).is_some() {}
        while scheduler.finished(1).is_some() {}
    }
    let (worker, item, one) = run(&mut scheduler);
    let (_, next, other) = run(&mut scheduler);
    assert_eq!((one, other, next), (1, 1, item + 1));
    let (busy, from, many) = run(&mut scheduler);
    assert_eq!(
        (from, many > 16, scheduler.count(busy)),
        (item + 2, true, many + 1)
    );
    // One that came back does not go with those that never went.
    scheduler.took_back(worker, 1);
    let (_, back, alone) = run(&mut scheduler);
    assert_eq!(alone, 1);
    assert!(back < item + 2 + many);
    // Where others wait, a run ends with the job's turn.
    scheduler.forget_queued(first);
    scheduler.add(100);
    scheduler.add(100);
    while scheduler.finished(0).is_some() {}
    while scheduler.finished(1).is_some() {}
    for _ in 0..6 {
        while scheduler.next().is_some() {
            assert!(run(&mut scheduler).2 <= 16);
        }
        scheduler.finished(0);
        scheduler.finished(1);
    }
}

#[test]
fn nothing_goes_to_a_worker_that_is_not_ready_or_is_full() {
    let mut scheduler: Scheduler<()> = Scheduler::new(2);
    scheduler.add(3);
    assert_eq!(scheduler.next(), None);
    scheduler.ready(1);
    let (worker, _) = scheduler.next().unwrap();
    assert_eq!(worker, 1);
    scheduler.full(1);
    assert_eq!(scheduler.next(), None);
    scheduler.try_again();
    assert_eq!(scheduler.next().unwrap().0, 1);
    scheduler.full(1);
    scheduler.ready(0);
    assert_eq!(scheduler.next().unwrap().0, 0);
}

#[test]
fn the_window_widens_only_for_those_who_run_dry() {
    let mut scheduler = scheduler(1);
    scheduler.add(1000);
    assert_eq!(send(&mut scheduler).len(), 2);
    scheduler.finished(0);
    assert_eq!(send(&mut scheduler).len(), 1);
    scheduler.finished(0);
    scheduler.finished(0);
    assert_eq!(send(&mut scheduler).len(), 4);
}

#[test]
fn the_window_shrinks_to_some_milliseconds_of_work() {
    let mut scheduler = scheduler(1);
    let job = scheduler.add(100_000);
    for _ in 0..12 {
        send(&mut scheduler);
        while scheduler.finished(0).is_some() {}
    }
    assert_eq!(send(&mut scheduler).len(), 4096);
    assert!(!scheduler.pace(job, Duration::from_nanos(500)));
    assert_eq!(scheduler.excess(0), 0);
    assert!(
        !scheduler.pace(job, Duration::from_millis(1)),
        "once is not enough"
    );
    assert!(scheduler.pace(job, Duration::from_millis(1)));
    // As they were sent together, but for what the window still holds.
    let mut taken_back = vec![];
    while scheduler.excess(0) > 0 {
        let excess = scheduler.excess(0);
        let youngest = scheduler.youngest(0).unwrap().count;
        assert!(excess == youngest || scheduler.count(0) - excess == 5);
        scheduler.took_back(0, excess);
        taken_back.push(excess);
    }
    assert_eq!(scheduler.count(0), 5);
    assert_eq!(taken_back.iter().sum::<usize>(), 4091);
    assert!(scheduler.pace(job, Duration::from_secs(1)));
    assert!(!scheduler.pace(job, Duration::from_secs(1)));
}

#[test]
fn workers_are_laden_while_each_has_more_than_one_task_that_takes_time() {
    let mut scheduler = scheduler(2);
    let job = scheduler.add(5);
    assert_eq!(send(&mut scheduler).len(), 4);
    assert!(!scheduler.is_laden(), "nothing is known of how long");
    assert!(!scheduler.pace(job, Duration::from_micros(10)));
    assert!(scheduler.is_laden());
    scheduler.finished(1);
    assert!(!scheduler.is_laden(), "one has nothing behind what it does");
    send(&mut scheduler);
    assert!(scheduler.is_laden());
}

#[test]
fn what_is_forgotten_is_not_taken_back() {
    let mut scheduler = scheduler(1);
    let job = scheduler.add(3);
    send(&mut scheduler);
    scheduler.forget_queued(job);
    scheduler.took_back(0, 1);
    assert!(!scheduler.has_queued());
    scheduler
        .lost(0)
        .into_iter()
        .for_each(|sent| scheduler.returned(sent));
    scheduler.ready(0);
    assert_eq!(send(&mut scheduler), []);
}

#[test]
fn jobs_take_turns() {
    let mut scheduler = scheduler(1);
    let long = scheduler.add(100);
    let short = scheduler.add(1);
    let mut order = vec![];
    while let Some((worker, task)) = scheduler.next() {
        scheduler.sent(worker, task, 1, ());
        order.push(task.job);
        scheduler.finished(worker);
    }
    let at = order.iter().position(|job| *job == short).unwrap();
    assert!(at <= 16, "{at}");
    assert_eq!(order.iter().filter(|job| **job == long).count(), 100);
}

#[test]
fn an_idle_worker_is_given_what_another_has_not_started() {
    let mut scheduler: Scheduler<()> = Scheduler::new(2);
    scheduler.ready(0);
    scheduler.add(2);
    assert_eq!(send(&mut scheduler), [(0, 0), (0, 1)]);
    assert_eq!(scheduler.victim(|_| false), None);
    scheduler.ready(1);
    assert_eq!(scheduler.victim(|_| false), Some((0, 1)));
    assert_eq!(scheduler.victim(|worker| worker == 0), None);
    assert_eq!(scheduler.youngest(0).unwrap().task.item, 1);
    scheduler.took_back(0, 1);
    assert_eq!(send(&mut scheduler), [(1, 1)]);
    assert_eq!(scheduler.victim(|_| false), None);
}

#[test]
fn what_a_lost_worker_had_is_sent_again_first_and_in_order() {
    let mut scheduler = scheduler(1);
    scheduler.add(4);
    send(&mut scheduler);
    let lost = scheduler.lost(0);
    assert_eq!(scheduler.count(0), 0);
    // Item 0 had been started; the rest comes back, the youngest first.
    lost.iter()
        .skip(1)
        .rev()
        .for_each(|sent| scheduler.returned(*sent));
    assert_eq!(scheduler.next(), None);
    scheduler.ready(0);
    let again: Vec<_> = send(&mut scheduler)
        .into_iter()
        .map(|(_, item)| item)
        .collect();
    assert_eq!(again, [1, 2]);
}

#[test]
fn a_removed_job_is_sent_no_more_and_its_index_serves_another() {
    let mut scheduler = scheduler(1);
    let first = scheduler.add(10);
    send(&mut scheduler);
    scheduler.remove(first);
    scheduler.remove(first);
    assert!(!scheduler.has_queued());
    let second = scheduler.add(1);
    assert_eq!(first.index(), second.index());
    assert_ne!(first, second);
    let sent = scheduler.finished(0).unwrap();
    assert_eq!(sent.task.job, first);
    scheduler.returned(sent);
    assert_eq!(send(&mut scheduler), [(0, 0)]);
}

#[derive(Clone, Debug)]
enum Event {
    Submit(usize),
    Send(usize),
    Full,
    Finish(usize),
    TakeBack,
    Die(usize, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..40_usize).prop_map(Event::Submit),
        (0..30_usize).prop_map(Event::Send),
        Just(Event::Full),
        (0..4_usize).prop_map(Event::Finish),
        Just(Event::TakeBack),
        (0..4_usize, any::<bool>()).prop_map(|(worker, started)| Event::Die(worker, started)),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    /// Whatever happens, each task is settled exactly once.
    #[test]
    fn no_task_is_lost_or_settled_twice(events in events()) {
        let mut scheduler = scheduler(4);
        let mut open = HashSet::new();
        let settle = |open: &mut HashSet<TaskId>, task| {
            prop_assert!(open.remove(&task), "settled twice: {task:?}");
            Ok(())
        };
        for event in events {
            match event {
                Event::Submit(items) => {
                    let job = scheduler.add(items);
                    open.extend((0..items).map(|item| TaskId { job, item }));
                }
                Event::Send(count) => {
                    for _ in 0..count {
                        let Some((worker, task)) = scheduler.next() else { break };
                        let run = scheduler.run(worker, task);
                        // Not all of a run may find room.
                        scheduler.sent(worker, task, run.min(count), ());
                    }
                }
                Event::Full => {
                    if let Some((worker, _)) = scheduler.next() {
                        scheduler.full(worker);
                    }
                }
                Event::Finish(worker) => {
                    if let Some(sent) = scheduler.finished(worker) {
                        settle(&mut open, sent.task)?;
                    }
                }
                Event::TakeBack => {
                    if let Some((worker, count)) = scheduler.victim(|_| false) {
                        prop_assert!(count >= 1 && count < scheduler.count(worker));
                        (0..count).for_each(|_| scheduler.took_back(worker, 1));
                    }
                }
                Event::Die(worker, started) => {
                    let mut lost = scheduler.lost(worker);
                    if started && let Some(sent) = lost.pop_front() {
                        settle(&mut open, sent.task)?;
                        lost.push_front(sent.later(1));
                    }
                    let left = lost.iter().rev().filter(|sent| sent.count > 0);
                    left.for_each(|sent| scheduler.returned(*sent));
                    scheduler.ready(worker);
                }
            }
        }
        // Run it dry: nothing is forgotten.
        for _ in 0..100_000 {
            let mut progress = false;
            scheduler.try_again();
            while let Some((worker, task)) = scheduler.next() {
                scheduler.sent(worker, task, 1, ());
                progress = true;
            }
            for worker in 0..4 {
                while let Some(sent) = scheduler.finished(worker) {
                    settle(&mut open, sent.task)?;
                    progress = true;
                }
            }
            if !progress {
                break;
            }
        }
        prop_assert!(open.is_empty(), "never settled: {open:?}");
    }
}

#[test]
fn a_task_for_one_worker_goes_to_it_alone_and_before_all_others() {
    let mut scheduler = scheduler(2);
    scheduler.add(100);
    let sent = send(&mut scheduler);
    assert!(sent.iter().any(|(worker, _)| *worker == 0));
    let each = scheduler.add_for(vec![0, 1]);
    let next = |scheduler: &mut Scheduler<()>| {
        let found = scheduler.next();
        found.map(|(worker, task)| (worker, task.job == each, task.item))
    };
    // While it has something it is sent nothing more, and then its own.
    assert_eq!(next(&mut scheduler), None);
    while scheduler.finished(1).is_some() {}
    assert_eq!(next(&mut scheduler), Some((1, true, 1)));
    let (worker, task) = scheduler.next().unwrap();
    assert_eq!(scheduler.run(worker, task), 1);
    scheduler.sent(worker, task, 1, ());
    assert!(!scheduler.has_own(1) && scheduler.has_own(0));
    // One that comes back, from a worker that is dead or stopped, is that seat's again.
    let lost = scheduler.lost(1);
    assert_eq!(lost.len(), 1);
    scheduler.returned(lost[0]);
    assert!(scheduler.has_own(1));
    scheduler.ready(1);
    assert_eq!(next(&mut scheduler), Some((1, true, 1)));
    scheduler.forget_queued(each);
    assert!(!scheduler.has_own(0) && !scheduler.has_own(1));
    assert_eq!(next(&mut scheduler).map(|(_, own, _)| own), Some(false));
}

#[test]
fn what_waits_is_what_no_worker_can_begin_at_once() {
    let mut scheduler = scheduler(1);
    assert_eq!(scheduler.waiting(), 0);
    scheduler.add(5);
    assert_eq!(scheduler.waiting(), 5);
    send(&mut scheduler);
    assert_eq!(scheduler.waiting(), 4, "one runs");
    scheduler.add_worker();
    scheduler.ready(1);
    send(&mut scheduler);
    scheduler.finished(0);
    assert!(scheduler.waiting() <= 3);
}
