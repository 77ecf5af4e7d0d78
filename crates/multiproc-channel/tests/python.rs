//! What Python's own tests ask of queues, pipes and `wait`, where no other test of this crate does. PYTHON.md has the
//! whole list.

mod oracle;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use multiproc_channel::{
    Bytes, Duplex, JoinableQueue, Queue, Readable, Receiver, RecvError, RecvTimeoutError,
    SendError, SendTimeoutError, Sender, SimpleQueue, Source, TryRecvError, TrySendError, bounded,
    channel, duplex, wait,
};
use multiproc_process::Process;
use multiproc_testkit::{linger, within};
use serde::{Serialize, Serializer, ser};

use oracle::oracle;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(20);

/// Has `call` run out of time, and not before.
fn not_early<T>(call: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let answer = call();
    assert!(begin.elapsed() >= SOON);
    answer
}

#[test]
fn no_wait_ends_early() {
    let _oracle = oracle();
    within(LIMIT, || {
        let (queue, (sender, receiver)) = (Queue::bounded(1).unwrap(), bounded(1).unwrap());
        let (here, _there) = duplex::<u8, u8>().unwrap();
        let late = |answer| matches!(answer, Err(RecvTimeoutError::Timeout));
        assert!(late(not_early(|| queue.recv_timeout(SOON))));
        assert!(late(not_early(|| receiver.recv_timeout(SOON))));
        assert!(late(not_early(|| here.recv_timeout(SOON))));
        queue.send(1).unwrap();
        sender.send(1).unwrap();
        let late = |answer| matches!(answer, Err(SendTimeoutError::Timeout(2)));
        assert!(late(not_early(|| queue.send_timeout(2, SOON))));
        assert!(late(not_early(|| sender.send_timeout(2, SOON))));
        let (queue, socket) = (Queue::<u8>::new().unwrap(), UnixStream::pair().unwrap());
        let none = not_early(|| wait(&[&queue, &here, &Readable::of(&socket.0)], Some(SOON)));
        assert!(none.unwrap().is_empty());
    });
}

#[test]
fn a_full_queue_is_drained_by_a_child() {
    let oracle = oracle();
    within(LIMIT, || {
        let queue = Queue::bounded(6).unwrap();
        (0..6).try_for_each(|number| queue.send(number)).unwrap();
        assert!(queue.is_full().unwrap());
        assert!(matches!(queue.try_send(6), Err(TrySendError::Full(6))));
        let drain = |queue: Queue<u32>| (0..6).map(|_| queue.recv().unwrap()).collect::<Vec<_>>();
        let child = Process::spawn(drain, queue.clone()).unwrap();
        assert_eq!(child.join().unwrap(), [0, 1, 2, 3, 4, 5]);
        assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Empty)));
    });
    oracle.finish();
}

#[test]
fn what_two_processes_put_comes_out_in_the_order_of_each() {
    let oracle = oracle();
    within(LIMIT, || {
        let queue = Queue::new().unwrap();
        (0..10).try_for_each(|number| queue.send(number)).unwrap();
        let put = |queue: Queue<u32>| (10..20).try_for_each(|number| queue.send(number)).is_ok();
        assert!(Process::spawn(put, queue.clone()).unwrap().join().unwrap());
        let all: Vec<u32> = (0..20).map(|_| queue.recv().unwrap()).collect();
        assert!(all.into_iter().eq(0..20));
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Empty)));
    });
    oracle.finish();
}

#[test]
fn workers_stop_at_what_tells_them_to() {
    let oracle = oracle();
    within(LIMIT, || {
        let queue = JoinableQueue::new().unwrap();
        let work = |queue: JoinableQueue<Option<u32>>| {
            let mut done = 0;
            while queue.recv().unwrap().is_some() {
                done += 1;
                queue.task_done().unwrap();
            }
            queue.task_done().unwrap();
            done
        };
        let workers = [(); 4].map(|()| Process::spawn(work, queue.clone()).unwrap());
        (0..10)
            .try_for_each(|number| queue.send(Some(number)))
            .unwrap();
        queue.join().unwrap();
        workers.iter().try_for_each(|_| queue.send(None)).unwrap();
        let done: u32 = workers.into_iter().map(|it| it.join().unwrap()).sum();
        assert_eq!(done, 10);
        queue.join().unwrap();
    });
    oracle.finish();
}

/// Cannot be encoded if it says so.
#[derive(Debug)]
struct Perhaps(bool);

impl Serialize for Perhaps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            serializer.serialize_bool(true)
        } else {
            Err(ser::Error::custom("it cannot be"))
        }
    }
}

#[test]
fn what_cannot_be_encoded_takes_up_no_place() {
    let _oracle = oracle();
    let queue = Queue::bounded(1).unwrap();
    for _ in 0..3 {
        match queue.send(Perhaps(false)) {
            Err(SendError::Failed(Perhaps(false), error)) => assert!(error.is_codec()),
            other => panic!("{other:?}"),
        }
    }
    assert!(queue.is_empty().unwrap());
    queue.try_send(Perhaps(true)).unwrap();
    assert_eq!(queue.len().unwrap(), 1);
}

#[test]
fn a_pipe_keeps_the_bounds_of_messages_of_any_length() {
    let oracle = oracle();
    within(LIMIT, || {
        let (here, there) = duplex::<Bytes, Bytes>().unwrap();
        let echo = |end: Duplex<Bytes, Bytes>| {
            while let Ok(bytes) = end.recv() {
                end.send(bytes).unwrap();
            }
        };
        let child = Process::spawn(echo, there).unwrap();
        for len in [0, 1, 16 << 20, 0, 0, 7] {
            let bytes = Bytes::from(vec![u8::try_from(len % 251).unwrap(); len]);
            here.send(bytes.clone()).unwrap();
            assert!(here.recv().unwrap() == bytes, "{len} bytes");
        }
        drop(here);
        child.join().unwrap();
    });
    // Of long messages the memory is kept for the next.
    multiproc_shm::release_spare_memory();
    oracle.finish();
}

#[test]
fn a_simple_queue_is_closed_as_often_as_one_likes() {
    let _oracle = oracle();
    let queue = SimpleQueue::new().unwrap();
    queue.send(1).unwrap();
    for _ in 0..2 {
        queue.close().unwrap();
    }
    assert!(matches!(queue.send(2), Err(SendError::Disconnected(2, _))));
    assert_eq!(queue.recv().unwrap(), 1);
    assert!(matches!(queue.recv(), Err(RecvError::Disconnected(_))));
    assert!(queue.is_empty().unwrap());
}

#[test]
fn those_that_are_ready_are_taken_until_all_have_ended() {
    let oracle = oracle();
    within(LIMIT, || {
        let write = |(sender, name): (Sender<(u32, u32)>, u32)| {
            (0..10).for_each(|number| sender.send((name, number)).unwrap());
        };
        let start = |name: u32| {
            let (sender, receiver) = channel().unwrap();
            (receiver, Process::spawn(write, (sender, name)).unwrap())
        };
        let (mut receivers, children): (Vec<Receiver<_>>, Vec<_>) = (0..4).map(start).unzip();
        let mut next = [0; 4];
        while !receivers.is_empty() {
            let sources: Vec<&dyn Source> = receivers.iter().map(|it| it as &dyn Source).collect();
            let ready = wait(&sources, None).unwrap();
            for place in ready.into_iter().rev() {
                match receivers[place].recv() {
                    Ok((name, number)) => {
                        assert_eq!(number, next[name as usize]);
                        next[name as usize] += 1;
                    }
                    Err(RecvError::Disconnected(_)) => drop(receivers.remove(place)),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!(next, [10; 4]);
        children.into_iter().for_each(|it| it.join().unwrap());
    });
    oracle.finish();
}

#[test]
fn a_channel_a_process_and_a_socket_are_told_together() {
    let oracle = oracle();
    within(LIMIT, || {
        let (sender, receiver) = channel().unwrap();
        let (mut socket, other) = UnixStream::pair().unwrap();
        let child = Process::spawn(|()| (), ()).unwrap();
        let (sentinel, other) = (Readable(child.sentinel()), Readable::of(&other));
        assert_eq!(wait(&[&receiver, &sentinel, &other], None).unwrap(), [1]);
        sender.send(1).unwrap();
        socket.write_all(b"2").unwrap();
        assert_eq!(
            wait(&[&receiver, &sentinel, &other], None).unwrap(),
            [0, 1, 2]
        );
        assert_eq!(receiver.recv().unwrap(), 1);
        assert_eq!(wait(&[&receiver, &sentinel, &other], None).unwrap(), [1, 2]);
        child.join().unwrap();
    });
    oracle.finish();
}

/// A process that is stopped and goes on, again and again, is interrupted in whatever it sleeps in.
#[test]
fn interruptions_end_no_wait_and_its_time_is_kept() {
    const TIME: Duration = Duration::from_millis(150);
    let oracle = oracle();
    within(LIMIT, || {
        let sleep = |((receiver, queue), which): ((Receiver<u8>, Queue<u8>), u8)| {
            let begin = Instant::now();
            let timed_out = match which {
                0 => matches!(receiver.recv_timeout(TIME), Err(RecvTimeoutError::Timeout)),
                1 => matches!(queue.recv_timeout(TIME), Err(RecvTimeoutError::Timeout)),
                _ => wait(&[&receiver, &queue], Some(TIME)).unwrap().is_empty(),
            };
            (timed_out, begin.elapsed())
        };
        for which in 0..3 {
            let (_sender, receiver) = channel().unwrap();
            let argument = ((receiver, Queue::new().unwrap()), which);
            let child = Process::spawn(sleep, argument).unwrap();
            for _ in 0..10 {
                linger(Duration::from_millis(10));
                child.suspend().unwrap();
                child.resume().unwrap();
            }
            let (timed_out, took) = child.join().unwrap();
            assert!(timed_out && took >= TIME, "{which}: {took:?}");
        }
    });
    oracle.finish();
}
