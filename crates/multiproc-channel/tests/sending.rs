//! Sending as futures: what waits for room without a thread, and what becomes of those that are dropped.

mod executor;

use std::fs::File;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use multiproc_channel::{
    ChannelBuilder, Queue, Receiver, RecvError, SendError, Sender, bounded, channel,
    channel_with_capacity,
};
use multiproc_process::Process;
use multiproc_testkit::{forever, linger, within};
use multiproc_wire::Descriptor;

use executor::block_on;

const LIMIT: Duration = Duration::from_secs(60);

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_full_channel_and_a_full_queue_are_waited_for() {
    within(LIMIT, || {
        let (sender, receiver) = bounded::<u32>(2).unwrap();
        let queue = Queue::<u32>::bounded(2).unwrap();
        let taking = thread::spawn({
            let queue = queue.clone();
            move || {
                for expected in 0..3_000 {
                    if expected % 100 == 0 {
                        linger(Duration::from_millis(1));
                    }
                    assert_eq!(receiver.recv().unwrap(), expected);
                    assert_eq!(queue.recv().unwrap(), expected);
                }
            }
        });
        block_on(async {
            for number in 0..3_000 {
                sender.send_async(number).await.unwrap();
                queue.send_async(number).await.unwrap();
            }
        });
        taking.join().unwrap();
    });
}

#[test]
fn the_receiver_of_another_process_makes_room() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity::<u64>(256).unwrap();
        let sum = |receiver: Receiver<u64>| receiver.iter().map(Result::unwrap).sum::<u64>();
        let child = Process::spawn(sum, receiver).unwrap();
        block_on(async {
            for number in 0..20_000 {
                sender.send_async(number).await.unwrap();
            }
        });
        drop(sender);
        assert_eq!(child.join().unwrap(), 19_999 * 20_000 / 2);
    });
}

#[test]
fn a_future_that_is_given_up_has_sent_nothing_and_gives_the_message_back() {
    within(LIMIT, || {
        let (sender, receiver) = bounded::<String>(1).unwrap();
        let queue = Queue::<String>::bounded(1).unwrap();
        let text = |number: u32| format!("message {number}");
        sender.send(text(0)).unwrap();
        queue.send(text(0)).unwrap();
        for number in 1..200 {
            let mut to_channel = sender.send_async(text(number));
            let mut to_queue = queue.send_async(text(number));
            assert!(poll(pin!(&mut to_channel)).is_pending());
            assert!(poll(pin!(&mut to_queue)).is_pending());
            match number % 3 {
                0 => drop((to_channel, to_queue)),
                1 => {
                    assert_eq!(to_channel.into_inner().unwrap(), text(number));
                    assert_eq!(to_queue.take().unwrap(), text(number));
                    assert!(to_queue.take().is_none());
                }
                _ => {
                    // Not given up: sent, and so not given back.
                    assert!(receiver.recv().is_ok() && queue.recv().is_ok());
                    block_on(&mut to_channel).unwrap();
                    block_on(&mut to_queue).unwrap();
                    assert!(to_channel.into_inner().is_none() && to_queue.into_inner().is_none());
                    assert_eq!(receiver.recv().unwrap(), text(number));
                    assert_eq!(queue.recv().unwrap(), text(number));
                    sender.send(text(number)).unwrap();
                    queue.send(text(number)).unwrap();
                }
            }
            assert_eq!((receiver.len().unwrap(), queue.len().unwrap()), (1, 1));
        }
    });
}

#[test]
fn who_waits_learns_of_the_end_and_has_the_message_back() {
    within(LIMIT, || {
        let (sender, receiver) = bounded(1).unwrap();
        sender.send(0).unwrap();
        let mut waiting = sender.send_async(1);
        assert!(poll(pin!(&mut waiting)).is_pending());
        let dropping = thread::spawn(move || drop(receiver));
        assert!(matches!(
            block_on(waiting),
            Err(SendError::Disconnected(1, _))
        ));
        dropping.join().unwrap();

        let queue = Queue::bounded(1).unwrap();
        queue.send(0).unwrap();
        let mut waiting = queue.send_async(1);
        assert!(poll(pin!(&mut waiting)).is_pending());
        let closing = thread::spawn({
            let queue = queue.clone();
            move || queue.close()
        });
        assert!(matches!(
            block_on(waiting),
            Err(SendError::Disconnected(1, _))
        ));
        closing.join().unwrap().unwrap();

        // A receiver that is killed.
        let (sender, receiver) = bounded(1).unwrap();
        sender.send(0).unwrap();
        let (tell, told) = channel::<()>().unwrap();
        let sit = |(_receiver, tell): (Receiver<i32>, Sender<()>)| {
            tell.send(()).unwrap();
            forever()
        };
        let child = Process::<()>::spawn(sit, (receiver, tell)).unwrap();
        told.recv().unwrap();
        let mut waiting = sender.send_async(1);
        assert!(poll(pin!(&mut waiting)).is_pending());
        child.kill().unwrap();
        match block_on(waiting) {
            Err(SendError::Disconnected(1, _)) => {}
            other => panic!("{other:?}"),
        }
        assert!(child.join().is_err());
    });
}

#[test]
fn a_message_longer_than_the_channel_goes_with_what_is_in_it() {
    within(LIMIT, || {
        let (sender, receiver) = channel_with_capacity::<(Vec<u8>, Descriptor)>(64).unwrap();
        let long = |byte: u8| {
            let file = Descriptor::from(File::open("/dev/null").unwrap());
            (vec![byte; 3 << 20], file)
        };
        let mut one = sender.send_async(long(1));
        assert!(poll(pin!(&mut one)).is_ready(), "nobody has to take part");
        let two = sender.send_async(long(2));
        let taking = thread::spawn(move || {
            for byte in [1, 2] {
                let (bytes, file) = receiver.recv().unwrap();
                assert_eq!(bytes, vec![byte; 3 << 20]);
                assert!(file.into_std::<File>().is_ok());
            }
            assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
        });
        block_on(two).unwrap();
        drop(sender);
        taking.join().unwrap();

        let (sender, _receiver) = ChannelBuilder::new()
            .max_message(1 << 20)
            .channel()
            .unwrap();
        match block_on(sender.send_async(vec![0_u8; 2 << 20])) {
            Err(SendError::Failed(message, error)) => {
                assert!(error.is_too_long() && message.len() == 2 << 20);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn blocking_senders_and_futures_get_their_turns() {
    within(LIMIT, || {
        let (sender, receiver) = bounded::<(u8, u32)>(3).unwrap();
        let sending: Vec<_> = (0..4)
            .map(|name: u8| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for number in 0..2_000 {
                        if name < 2 {
                            sender.send((name, number)).unwrap();
                        } else {
                            block_on(sender.send_async((name, number))).unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut next = [0; 4];
        for message in &receiver {
            let (name, number) = message.unwrap();
            assert_eq!(number, next[usize::from(name)]);
            next[usize::from(name)] += 1;
        }
        assert_eq!(next, [2_000; 4]);
        sending.into_iter().for_each(|it| it.join().unwrap());
    });
}

/// As many as wait, so many threads there are not.
#[test]
fn those_who_wait_take_no_threads() {
    const MANY: usize = 150;
    let count = |()| {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let channels: Vec<_> = (0..MANY).map(|_| bounded::<usize>(1).unwrap()).collect();
        channels
            .iter()
            .for_each(|(sender, _)| sender.send(0).unwrap());
        let before = threads();
        let woken: Vec<_> = (0..MANY).map(|_| Arc::new(Count::default())).collect();
        let mut waiting: Vec<_> = channels
            .iter()
            .map(|(sender, _)| sender.send_async(1))
            .collect();
        for (future, woken) in waiting.iter_mut().zip(&woken) {
            let waker = Waker::from(Arc::clone(woken));
            assert!(
                pin!(future)
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        let more = threads() - before;
        for ((_, receiver), woken) in channels.iter().zip(&woken) {
            assert_eq!(receiver.recv().unwrap(), 0);
            while woken.0.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
        }
        for future in &mut waiting {
            assert!(matches!(poll(pin!(future)), Poll::Ready(Ok(()))));
        }
        more
    };
    within(LIMIT, move || {
        // In a process of its own, where no other test's threads are.
        let more = Process::spawn(count, ()).unwrap().join().unwrap();
        assert!(more <= 2, "{more} threads for {MANY} futures");
    });
}
