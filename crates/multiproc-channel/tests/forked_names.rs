//! What the receiver keeps, where a sender is forked: both know what was sent, and neither spoils what the other names.
//!
//! The only test of this file, so that there are no other threads when it forks.
#![expect(unsafe_code, reason = "to fork is to promise something about threads")]

use std::time::Duration;

use multiproc_channel::{Sender, channel};
use multiproc_process::{ForkPromise, Process};
use multiproc_shm::SharedArray;
use multiproc_testkit::within;

type Message = (u64, SharedArray<u64>);

fn array(number: u64) -> SharedArray<u64> {
    SharedArray::from_slice(&[number]).unwrap()
}

fn send(sender: &Sender<Message>, number: u64, array: &SharedArray<u64>) {
    for _ in 0..5 {
        sender.send((number, array.clone())).unwrap();
    }
}

#[test]
fn a_forked_sender_names_what_its_parent_has_sent_and_takes_nothing_from_it() {
    within(Duration::from_secs(60), fork_a_sender);
}

fn fork_a_sender() {
    let (sender, receiver) = channel::<Message>().unwrap();
    let (one, two) = (array(1), array(2));
    send(&sender, 1, &one);
    let theirs = (sender.clone(), one.clone(), two.clone());
    let work = move || {
        let (sender, one, two) = theirs;
        send(&sender, 1, &one);
        send(&sender, 2, &two);
        let three = array(3);
        send(&sender, 3, &three);
        // Gone here, and not in the parent.
        drop((one, two, three));
        send(&sender, 4, &array(4));
    };
    // SAFETY: the other threads are the harness's, which wait for this one; nothing of theirs is waited for in the child.
    let promise = unsafe { ForkPromise::among_threads() };
    // SAFETY: the same, which is what the promise is about.
    let child = unsafe { Process::builder().fork(promise, work) }.unwrap();
    let mut count = [0; 5];
    for round in 0..10 {
        send(&sender, 1, &one);
        send(&sender, 2, &two);
        if round == 5 {
            child.join().unwrap();
        }
        while let Ok((number, array)) = receiver.try_recv() {
            assert_eq!(array.to_vec().unwrap(), [number]);
            count[usize::try_from(number).unwrap()] += 1;
        }
    }
    drop(sender);
    while let Ok((number, array)) = receiver.recv() {
        assert_eq!(array.to_vec().unwrap(), [number]);
        count[usize::try_from(number).unwrap()] += 1;
    }
    assert_eq!(count, [0, 60, 55, 5, 5]);
}
