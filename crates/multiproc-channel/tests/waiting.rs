//! Waiting on many things, by threads and by futures.

mod executor;
mod oracle;

use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_core::Stream;
use multiproc_channel::{
    Deadline, Queue, Readable, Receiver, RecvError, Sender, Source, channel, duplex, wait,
};
use multiproc_process::Process;
use multiproc_shm::Event;
use multiproc_testkit::{forever, linger, within};

use executor::block_on;
use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(3);

#[test]
fn nothing_is_ready_until_the_timeout() {
    let (_sender, receiver) = channel::<u8>().unwrap();
    let queue = Queue::<u8>::new().unwrap();
    let begin = Instant::now();
    assert!(wait(&[&receiver, &queue], Some(SOON)).unwrap().is_empty());
    assert!(begin.elapsed() >= SOON);
    assert!(wait(&[], Some(SOON)).unwrap().is_empty());
}

/// A wait that has nothing to do wakes up for nothing but the look at everything, once a second.
#[test]
fn a_wait_for_an_event_sleeps() {
    let oracle = oracle();
    let wakes = |with_a_channel: bool| {
        let (event, channel) = (Event::new().unwrap(), channel::<u8>().unwrap());
        let waiting = thread::spawn({
            let event = event.clone();
            move || {
                let (_sender, receiver) = channel;
                let all: [&dyn Source; 2] = [&event, &receiver];
                wait(&all[..1 + usize::from(with_a_channel)], None).unwrap()
            }
        });
        linger(Duration::from_millis(50));
        let before = sleeps_of_others();
        linger(Duration::from_millis(300));
        let after = sleeps_of_others();
        event.set();
        assert_eq!(waiting.join().unwrap(), [0]);
        after - before
    };
    within(LIMIT, move || {
        for with_a_channel in [false, true] {
            // In a process of its own, where no other test's threads are.
            let child = Process::spawn(wakes, with_a_channel).unwrap();
            let wakes = child.join().unwrap();
            assert!(wakes <= 4, "{wakes} wake-ups in 300 ms");
        }
    });
    oracle.finish();
}

/// How often the other threads of this process have gone to sleep so far.
fn sleeps_of_others() -> u64 {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let switches = |task: std::fs::DirEntry| {
        if own.ends_with(task.file_name()) {
            return 0;
        }
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let mut counts = status
            .lines()
            .filter_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        counts
            .next()
            .map_or(0, |count| count.trim().parse().unwrap())
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| switches(task.unwrap())).sum()
}

#[test]
fn whatever_becomes_ready_first_ends_the_wait() {
    within(LIMIT, || {
        let (sender, receiver) = channel::<u32>().unwrap();
        let (queue, event) = (Queue::<u32>::new().unwrap(), Event::new().unwrap());
        let (here, there) = duplex::<u32, u32>().unwrap();
        for round in 0..40 {
            let which = round % 4;
            let telling = thread::spawn({
                let (sender, queue, event) = (sender.clone(), queue.clone(), event.clone());
                let there = pin_send(&there);
                move || {
                    linger(Duration::from_micros(u64::from(round) * 50));
                    match which {
                        0 => sender.send(round).unwrap(),
                        1 => queue.send(round).unwrap(),
                        2 => event.set(),
                        _ => there.send(round).unwrap(),
                    }
                }
            });
            let ready = wait(&[&receiver, &queue, &event, &here], None).unwrap();
            assert_eq!(ready, [which as usize]);
            match which {
                0 => assert_eq!(receiver.try_recv().unwrap(), round),
                1 => assert_eq!(queue.try_recv().unwrap(), round),
                2 => event.clear(),
                _ => assert_eq!(here.try_recv().unwrap(), round),
            }
            telling.join().unwrap();
        }
    });
}

/// A sender of the other end that a thread can have.
fn pin_send(there: &multiproc_channel::Duplex<u32, u32>) -> Sender<u32> {
    there.sender().unwrap()
}

#[test]
fn what_is_ready_is_told_all_at_once_and_again() {
    let (sender, receiver) = channel().unwrap();
    let queue = Queue::new().unwrap();
    sender.send("looked for, not taken".to_owned()).unwrap();
    queue.send(2).unwrap();
    let past = Deadline::now();
    for _ in 0..3 {
        assert_eq!(wait(&[&receiver, &queue, &past], None).unwrap(), [0, 1, 2]);
    }
    assert_eq!(receiver.len().unwrap(), 1);
    let (outer, receivers) = channel::<Receiver<String>>().unwrap();
    outer.send(receiver).unwrap();
    let receiver = receivers.recv().unwrap();
    assert_eq!(receiver.recv().unwrap(), "looked for, not taken");
    queue.recv().unwrap();
    assert!(wait(&[&receiver, &queue], Some(SOON)).unwrap().is_empty());
    drop(sender);
    queue.close().unwrap();
    assert_eq!(wait(&[&receiver, &queue], None).unwrap(), [0, 1], "ends");
}

#[test]
fn ends_of_processes_and_of_their_channels_are_waited_for_together() {
    let oracle = oracle();
    let stay = |sender: Sender<u8>| {
        sender.send(1).unwrap();
        forever()
    };
    let (sender, receiver) = channel().unwrap();
    let child = Process::<()>::spawn(stay, sender).unwrap();
    let sentinel = Readable(child.sentinel());
    assert_eq!(wait(&[&receiver, &sentinel], Some(LIMIT)).unwrap(), [0]);
    receiver.recv().unwrap();
    child.kill().unwrap();
    let first = wait(&[&receiver, &sentinel], Some(LIMIT)).unwrap();
    assert!(!first.is_empty());
    assert_eq!(wait(&[&sentinel], Some(LIMIT)).unwrap(), [0]);
    assert_eq!(wait(&[&receiver], Some(LIMIT)).unwrap(), [0]);
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
    drop((child, receiver));
    oracle.finish();
}

/// The stream's next item, as a future.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

#[test]
fn receivers_and_queues_are_awaited() {
    within(LIMIT, || {
        let (sender, receiver) = channel().unwrap();
        let queue = Queue::new().unwrap();
        let sending = thread::spawn({
            let queue = queue.clone();
            move || {
                for number in 0..300_u32 {
                    linger(Duration::from_micros(u64::from(number % 5) * 100));
                    sender.send(number).unwrap();
                    queue.send(number).unwrap();
                }
            }
        });
        block_on(async {
            for expected in 0..300 {
                assert_eq!(queue.recv_async().await.unwrap(), expected);
                assert_eq!(receiver.recv_async().await.unwrap(), expected);
            }
            let end = receiver.recv_async().await;
            assert!(matches!(end, Err(RecvError::Disconnected(_))));
        });
        sending.join().unwrap();
    });
}

#[test]
fn a_future_that_is_dropped_has_taken_nothing() {
    within(LIMIT, || {
        let (sender, receiver) = channel::<u32>().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        for number in 0..100 {
            {
                let mut future = pin!(receiver.recv_async());
                assert!(future.as_mut().poll(&mut context).is_pending());
            }
            sender.send(number).unwrap();
            assert_eq!(block_on(receiver.recv_async()).unwrap(), number);
        }
    });
}

#[test]
fn streams_end_with_their_channel() {
    within(LIMIT, || {
        let (sender, receiver) = channel::<u32>().unwrap();
        let queue = Queue::<u32>::new().unwrap();
        let sending = thread::spawn({
            let queue = queue.clone();
            move || {
                for number in 0..10_000 {
                    sender.send(number).unwrap();
                    queue.send(number).unwrap();
                }
                queue.close().unwrap();
            }
        });
        let (mut one, mut two) = (receiver.into_stream(), queue.into_stream());
        block_on(async {
            for expected in 0..10_000 {
                assert_eq!(next(&mut one).await.unwrap().unwrap(), expected);
                assert_eq!(next(&mut two).await.unwrap().unwrap(), expected);
            }
            assert!(next(&mut one).await.is_none() && next(&mut one).await.is_none());
            assert!(next(&mut two).await.is_none());
        });
        sending.join().unwrap();
    });
}

#[test]
fn a_future_is_woken_for_each_part_of_a_long_message() {
    const LEN: usize = 4 << 20;
    const MESSAGES: usize = 60;
    let (sender, receiver) = channel::<Vec<u8>>().unwrap();
    let sending = thread::spawn(move || {
        (0..MESSAGES).for_each(|_| sender.send(vec![7; LEN]).unwrap());
    });
    within(LIMIT, move || {
        for _ in 0..MESSAGES {
            assert_eq!(block_on(receiver.recv_async()).unwrap().len(), LEN);
        }
        let end = block_on(receiver.recv_async());
        assert!(matches!(end, Err(RecvError::Disconnected(_))));
    });
    within(LIMIT, move || sending.join().unwrap());
}
