//! What the models share: how far they go, threads, and threads that die.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each model has its own use for it"
)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use loom::model::Builder;
use loom::sync::mpsc::Sender;
use loom::thread;
use multiproc_sync::primitive::model::{dear_operations, mortal};

pub fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound = builder
        .preemption_bound
        .or(Some(3))
        .map(|most| most.min(preemptions));
    builder.check(model);
}

pub fn go<S: 'static>(shared: &Arc<S>, run: impl FnOnce(&S) + 'static) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || run(&shared))
}

pub fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// What `pair` costs a thread that is alone: two read-modify-writes, one to take and one to give back, and no fence
/// and no system call.
pub fn costs_two_exchanges(pair: impl Fn()) {
    for _ in 0..2 {
        let before = dear_operations();
        pair();
        assert_eq!(dear_operations() - before, 2);
    }
}

/// A thread that lives for so many steps of `run`. Tells whether it came through.
pub fn victim<S: 'static, R: 'static>(
    shared: &Arc<S>,
    steps: u32,
    tell: &Sender<bool>,
    run: fn(&S) -> R,
) -> thread::JoinHandle<()> {
    let tell = tell.clone();
    go(shared, move |shared| {
        tell.send(mortal(steps, || run(shared)).is_some()).unwrap()
    })
}

/// Runs `model` with the number of steps that its mortal threads may live for, from none to as many
/// as they take: until it says that they came through in every execution.
pub fn at_every_step(
    preemptions: usize,
    model: impl Fn(u32) -> bool + Copy + Sync + Send + 'static,
) {
    for steps in 0..300 {
        // Not loom's: kept from one execution to the next.
        let survived = Arc::new(AtomicBool::new(true));
        let all = Arc::clone(&survived);
        explore(preemptions, move || {
            all.fetch_and(model(steps), SeqCst);
        });
        if survived.load(SeqCst) {
            assert!(steps > 5, "the victim has hardly done anything");
            return;
        }
    }
    panic!("the victim never comes to an end");
}
