//! Queues: order, bounds, ends, what travels, and what bad use gets; among threads and among processes.

mod oracle;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::Duration;

use multiproc_channel::{
    JoinError, JoinableQueue, Queue, QueueBuilder, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, Sender, SimpleQueue, TaskDoneError, TryRecvError, TrySendError, channel,
};
use multiproc_process::Process;
use multiproc_testkit::{forever, within};
use multiproc_wire::Descriptor;

use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(3);

#[test]
fn messages_come_out_as_they_went_in() {
    within(LIMIT, || {
        let queue = Queue::new().unwrap();
        assert!(queue.is_empty().unwrap());
        for number in 0..50_000_u32 {
            queue.send(number).unwrap();
        }
        assert_eq!(queue.len().unwrap(), 50_000);
        for expected in 0..50_000 {
            assert_eq!(queue.recv().unwrap(), expected);
        }
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Empty)));
        let late = queue.recv_timeout(SOON);
        assert!(matches!(late, Err(RecvTimeoutError::Timeout)));
    });
}

#[test]
fn records_of_any_length_pass_each_other_in_a_queue_that_grows_and_shrinks() {
    within(LIMIT, || {
        let queue = Queue::new().unwrap();
        let text = |number: usize| ["a", "b", "c"][number % 3].repeat(number * 7919 % 20_000);
        let (mut put, mut taken) = (0, 0);
        for round in 0..20 {
            for _ in 0..round * 20 {
                queue.send(text(put)).unwrap();
                put += 1;
            }
            while taken + 30 * (round % 3) < put {
                assert_eq!(queue.recv().unwrap(), text(taken));
                taken += 1;
            }
        }
        assert_eq!(queue.len().unwrap(), put - taken);
    });
}

#[test]
fn a_bounded_queue_refuses_times_out_or_waits_as_asked() {
    within(LIMIT, || {
        let queue = Queue::bounded(2).unwrap();
        queue.send(0).unwrap();
        assert!(!queue.is_full().unwrap());
        queue.try_send(1).unwrap();
        assert!(queue.is_full().unwrap());
        assert!(matches!(queue.try_send(2), Err(TrySendError::Full(2))));
        let late = queue.send_timeout(2, SOON);
        assert!(matches!(late, Err(SendTimeoutError::Timeout(2))));
        let putting = thread::spawn({
            let queue = queue.clone();
            move || (2..10_000).try_for_each(|number| queue.send(number))
        });
        for expected in 0..10_000 {
            assert_eq!(queue.recv().unwrap(), expected);
        }
        putting.join().unwrap().unwrap();
    });
}

#[test]
fn a_bounded_queue_holds_its_number_of_long_messages() {
    within(LIMIT, || {
        let queue = Queue::bounded(10).unwrap();
        for number in 0..10_u8 {
            queue.try_send(vec![number; 1 << 20]).unwrap();
        }
        for number in 0..10_u8 {
            let message = queue.try_recv().unwrap();
            assert!(message.len() == 1 << 20 && message.iter().all(|byte| *byte == number));
        }
    });
}

#[test]
fn a_closed_queue_gives_what_is_there_and_then_the_end() {
    within(LIMIT, || {
        let queue = Queue::bounded(2).unwrap();
        let waiting = thread::spawn({
            let queue: Queue<u8> = queue.clone();
            move || queue.iter().map(Result::unwrap).collect::<Vec<_>>()
        });
        queue.send(1).unwrap();
        queue.send(2).unwrap();
        assert!(!queue.is_closed().unwrap());
        queue.close().unwrap();
        queue.close().unwrap();
        assert_eq!(waiting.join().unwrap(), [1, 2]);
        assert!(queue.is_closed().unwrap());
        assert!(matches!(queue.send(3), Err(SendError::Disconnected(3, _))));
        assert!(matches!(queue.recv(), Err(RecvError::Disconnected(_))));
        assert!(matches!(
            queue.try_recv(),
            Err(TryRecvError::Disconnected(_))
        ));
    });
}

#[test]
fn a_producer_that_waits_for_room_learns_that_the_queue_is_closed() {
    within(LIMIT, || {
        let queue = Queue::bounded(1).unwrap();
        queue.send(1).unwrap();
        let putting = thread::spawn({
            let queue = queue.clone();
            move || queue.send(2)
        });
        queue.close().unwrap();
        let refused = putting.join().unwrap().unwrap_err();
        assert!(matches!(refused, SendError::Disconnected(2, _)));
    });
}

#[test]
fn what_bad_use_gets() {
    let error = Queue::<u8>::bounded(0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let queue = QueueBuilder::new().max_message(10).queue().unwrap();
    let refused = queue.send("x".repeat(10)).unwrap_err();
    assert!(matches!(&refused, SendError::Failed(_, error) if error.is_too_long()));
    queue.send("x".repeat(9)).unwrap();
    assert_eq!(queue.recv().unwrap().len(), 9);
    assert!(serde_json::to_string(&queue).is_err());
    let enormous = Queue::bounded(usize::MAX).unwrap();
    enormous.send(1).unwrap();
}

/// Cannot be encoded if it says so.
#[derive(Debug, serde::Deserialize)]
struct Stubborn(bool);

impl serde::Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            true => Err(serde::ser::Error::custom("no")),
            false => serializer.serialize_newtype_struct("Stubborn", &false),
        }
    }
}

#[test]
fn who_puts_what_cannot_be_encoded_is_told_and_gets_it_back_with_its_files() {
    let queue = Queue::new().unwrap();
    let file = || Descriptor::from(File::open("/dev/null").unwrap());
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let error = queue.send((file(), Stubborn(true))).unwrap_err();
    assert!(
        matches!(&error, SendError::Failed(_, error) if error.is_codec()),
        "{error}"
    );
    let before = open();
    let (_file, Stubborn(refuses)) = error.into_inner();
    assert!(refuses && queue.is_empty().unwrap());
    drop(_file);
    assert!(open() < before + 1, "nothing of it is kept");
    queue.send((file(), Stubborn(false))).unwrap();
    queue.recv().unwrap();
}

#[test]
fn messages_of_no_bytes_are_messages() {
    let queue = Queue::new().unwrap();
    (0..3).for_each(|_| queue.send(()).unwrap());
    assert_eq!(queue.len().unwrap(), 3);
    (0..3).for_each(|_| queue.recv().unwrap());
    let (sender, receiver) = channel().unwrap();
    (0..3).for_each(|_| sender.send(()).unwrap());
    drop(sender);
    assert_eq!(receiver.iter().count(), 3);
}

#[test]
fn a_message_is_as_it_was_when_it_was_put() {
    let queue = Queue::new().unwrap();
    let mut list = vec![1];
    queue.send(list.clone()).unwrap();
    list.push(2);
    assert_eq!(queue.recv().unwrap(), [1]);
    assert!(queue.is_empty().unwrap(), "at once, not approximately");
}

#[test]
fn handles_for_a_taker_that_is_killed_are_closed() {
    let oracle = oracle();
    let queue = Queue::<Vec<Descriptor>>::new().unwrap();
    let (pipe, their_end) = std::io::pipe().unwrap();
    let take_and_stay = |(queue, ready): (Queue<Vec<Descriptor>>, Sender<usize>)| {
        let files = queue.recv().unwrap();
        ready.send(files.len()).unwrap();
        forever()
    };
    let (ready, is_ready) = channel().unwrap();
    let child = Process::<()>::spawn(take_and_stay, (queue.clone(), ready)).unwrap();
    let ends = (0..300).map(|_| Descriptor::from(their_end.try_clone().unwrap()));
    queue.send(ends.collect()).unwrap();
    drop(their_end);
    assert_eq!(is_ready.recv_timeout(LIMIT).unwrap(), 300);
    child.kill().unwrap();
    // The pipe ends when the last of its other ends is closed.
    within(LIMIT, move || {
        let mut rest = Vec::new();
        { pipe }.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    });
    drop((child, queue, is_ready));
    oracle.finish();
}

#[test]
fn each_message_goes_to_one_taker() {
    const EACH: u64 = 20_000;
    within(LIMIT, || {
        let queue = Queue::bounded(50).unwrap();
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || {
                    queue
                        .iter()
                        .collect::<Result<Vec<(u64, u64)>, _>>()
                        .unwrap()
                })
            })
            .collect();
        let putters: Vec<_> = (0..3)
            .map(|name| {
                let queue = queue.clone();
                thread::spawn(move || (0..EACH).for_each(|n| queue.send((name, n)).unwrap()))
            })
            .collect();
        putters.into_iter().for_each(|it| it.join().unwrap());
        queue.close().unwrap();
        let mut all = BTreeSet::new();
        for taker in takers {
            let taken = taker.join().unwrap();
            for name in 0..3 {
                let of_one = taken.iter().filter(|message| message.0 == name);
                assert!(of_one.is_sorted(), "in order of each producer");
            }
            let before = all.len();
            let count = taken.len();
            all.extend(taken);
            assert_eq!(all.len(), before + count, "nothing twice");
        }
        assert_eq!(all.len() as u64, 3 * EACH);
    });
}

#[test]
fn files_travel_in_queues_hundreds_at_a_time_and_in_long_messages() {
    within(LIMIT, || {
        let queue = Queue::<(Vec<Descriptor>, Vec<u8>)>::new().unwrap();
        let open = |_| Descriptor::from(File::open("/proc/self/comm").unwrap());
        for (count, length) in [(1, 0), (253, 10), (254, 100_000), (600, 0), (0, 50_000)] {
            queue
                .send(((0..count).map(open).collect(), vec![1; length]))
                .unwrap();
        }
        for (count, length) in [(1, 0), (253, 10), (254, 100_000), (600, 0), (0, 50_000)] {
            let (files, bytes) = queue.recv().unwrap();
            assert_eq!((files.len(), bytes.len()), (count, length));
            for file in files {
                let mut text = String::new();
                File::from(file.into_owned().unwrap())
                    .read_to_string(&mut text)
                    .unwrap();
                assert!(!text.is_empty());
            }
        }
    });
}

#[test]
fn a_queue_travels_in_itself_and_is_one_queue() {
    within(LIMIT, || {
        let outer = SimpleQueue::<Queue<u32>>::new().unwrap();
        let queue = Queue::new().unwrap();
        outer.send(queue.clone()).unwrap();
        queue.send(1).unwrap();
        let same = outer.recv().unwrap();
        same.send(2).unwrap();
        assert_eq!((same.recv().unwrap(), queue.recv().unwrap()), (1, 2));
        assert!(outer.is_empty().unwrap());
        outer.close().unwrap();
    });
}

#[test]
fn messages_with_files_that_find_no_room_wait_for_takers() {
    within(LIMIT, || {
        let queue = Queue::<Descriptor>::new().unwrap();
        let file = Descriptor::from(File::open("/dev/null").unwrap());
        let mut there = 0;
        while there < 100_000 && queue.try_send(file.clone()).is_ok() {
            there += 1;
        }
        let taking = thread::spawn({
            let queue = queue.clone();
            move || (0..there + 100).for_each(|_| drop(queue.recv().unwrap()))
        });
        (0..100).for_each(|_| queue.send(file.clone()).unwrap());
        taking.join().unwrap();
    });
}

#[test]
fn processes_put_and_take() {
    let oracle = oracle();
    let (numbers, sums) = (Queue::bounded(16).unwrap(), Queue::new().unwrap());
    let add = |(numbers, sums): (Queue<u64>, Queue<(u64, u64)>)| {
        let taken: Vec<u64> = numbers.iter().collect::<Result<_, _>>().unwrap();
        sums.send((taken.len() as u64, taken.iter().sum())).unwrap();
    };
    let takers = [(); 2].map(|()| Process::spawn(add, (numbers.clone(), sums.clone())).unwrap());
    let put = |(queue, name): (Queue<u64>, u64)| {
        (0..5_000).for_each(|number| queue.send(name * 5_000 + number).unwrap());
    };
    let putters = [0, 1].map(|name| Process::spawn(put, (numbers.clone(), name)).unwrap());
    for putter in putters {
        within(LIMIT, move || putter.join().unwrap());
    }
    numbers.close().unwrap();
    for taker in takers {
        within(LIMIT, move || taker.join().unwrap());
    }
    let (one, two) = (sums.recv().unwrap(), sums.recv().unwrap());
    assert_eq!((one.0 + two.0, one.1 + two.1), (10_000, 9_999 * 5_000));
    drop((numbers, sums));
    oracle.finish();
}

#[test]
fn a_process_that_exits_right_after_it_has_put_has_put() {
    let oracle = oracle();
    let queue = Queue::new().unwrap();
    let put = |queue: Queue<Vec<u8>>| {
        (1..100).for_each(|length| queue.send(vec![3; length * 1_000]).unwrap());
        std::process::abort()
    };
    let child = Process::<()>::spawn(put, queue.clone()).unwrap();
    assert!(within(LIMIT, move || child.join().is_err()));
    for length in 1..100 {
        assert_eq!(queue.try_recv().unwrap().len(), length * 1_000);
    }
    drop(queue);
    oracle.finish();
}

#[test]
fn a_joined_queue_waits_until_all_is_done() {
    let oracle = oracle();
    let queue = JoinableQueue::bounded(4).unwrap();
    queue.join().unwrap();
    let work = |queue: JoinableQueue<u32>| {
        let mut count = 0;
        for message in queue.iter() {
            message.unwrap();
            queue.task_done().unwrap();
            count += 1;
        }
        count
    };
    let workers = [(); 2].map(|()| Process::spawn(work, queue.clone()).unwrap());
    (0..500).for_each(|task| queue.send(task).unwrap());
    queue.join_timeout(LIMIT).unwrap();
    assert!(queue.is_empty().unwrap());
    assert!(matches!(
        queue.task_done(),
        Err(TaskDoneError::NothingInHand)
    ));
    queue.close().unwrap();
    let done: u32 = workers
        .into_iter()
        .map(|worker| within(LIMIT, move || worker.join().unwrap()))
        .sum();
    assert_eq!(done, 500);
    drop(queue);
    oracle.finish();
}

#[test]
fn a_message_in_the_hand_of_who_is_killed_is_lost_and_join_says_so() {
    let oracle = oracle();
    let queue = JoinableQueue::new().unwrap();
    let ready = Queue::new().unwrap();
    (0..5).for_each(|task| queue.send(task).unwrap());
    let hold_two = |(queue, ready): (JoinableQueue<u32>, Queue<()>)| {
        for _ in 0..3 {
            queue.recv().unwrap();
        }
        queue.task_done().unwrap();
        ready.send(()).unwrap();
        forever()
    };
    let child = Process::<()>::spawn(hold_two, (queue.clone(), ready.clone())).unwrap();
    ready.recv_timeout(LIMIT).unwrap();
    for _ in 0..2 {
        queue.recv().unwrap();
        queue.task_done().unwrap();
    }
    let early = queue.join_timeout(SOON);
    assert!(
        matches!(early, Err(JoinError::Timeout)),
        "it may be done yet"
    );
    child.kill().unwrap();
    let end = queue.join_timeout(LIMIT);
    assert!(matches!(end, Err(JoinError::Lost(2))), "{end:?}");
    queue.send(9).unwrap();
    queue.recv().unwrap();
    queue.task_done().unwrap();
    assert!(matches!(queue.join(), Err(JoinError::Lost(2))));
    drop((child, queue, ready));
    oracle.finish();
}
