//! Futures in a process that was forked: its threads are not there, and what sleeps for futures is its own.
//!
//! The only test of this file, so that there are no other threads when it forks.
#![expect(unsafe_code, reason = "to fork is to promise something about threads")]

mod executor;

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use multiproc_channel::{bounded, channel};
use multiproc_process::{ForkPromise, Process};
use multiproc_testkit::{linger, within};

use executor::block_on;

#[test]
fn futures_work_in_a_forked_process_and_leave_those_of_its_parent_alone() {
    within(Duration::from_secs(60), fork_among_futures);
}

fn fork_among_futures() {
    let (sender, receiver) = bounded::<u32>(1).unwrap();
    let (tell, told) = channel::<u32>().unwrap();
    sender.send(0).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    // Has both threads of this process started.
    let mut sending = sender.send_async(1);
    let mut receiving = told.recv_async();
    assert!(pin!(&mut sending).poll(&mut context).is_pending());
    assert!(pin!(&mut receiving).poll(&mut context).is_pending());
    let work = move || {
        let (sender, receiver) = bounded::<u32>(1).unwrap();
        sender.send(2).unwrap();
        let taking = std::thread::spawn(move || {
            linger(Duration::from_millis(5));
            [
                receiver.recv().unwrap(),
                block_on(receiver.recv_async()).unwrap(),
            ]
        });
        block_on(sender.send_async(3)).unwrap();
        tell.send(taking.join().unwrap().into_iter().sum()).unwrap();
    };
    // SAFETY: the other threads are those that sleep for futures, which hold nothing then, and the harness's, which
    // waits for this one; nothing of either is waited for in the child.
    let promise = unsafe { ForkPromise::among_threads() };
    // SAFETY: the same, which is what the promise is about.
    let child = unsafe { Process::builder().fork(promise, work) }.unwrap();
    assert_eq!(block_on(receiving).unwrap(), 5);
    let taking = std::thread::spawn(move || [receiver.recv().unwrap(), receiver.recv().unwrap()]);
    block_on(sending).unwrap();
    assert_eq!(taking.join().unwrap(), [0, 1]);
    child.join().unwrap();
}
