//! What peers send to and share with a channel's ends, as functions of bytes: for tests and fuzzers.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use multiproc_shm::Event;
use multiproc_sys::clock::Deadline;
use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map::{self, Mapping};
use multiproc_sys::socket::{MAX_BYTES, Socket};
use multiproc_wire::{decode, encode};
use serde::Serialize;

use crate::{
    ChannelBuilder, JoinError, JoinableQueue, Queue, Receiver, Sender, TaskDoneError, TryRecvError,
};

/// What the ring of every channel here holds.
const CAPACITY: usize = 256;

/// The places of both handles of an end among those of its message.
const LINE: usize = 0;
const BLOCK: usize = 1;

fn channel<T>() -> (Sender<T>, Receiver<T>) {
    ChannelBuilder::new()
        .capacity(CAPACITY)
        .channel()
        .expect("there is memory")
}

/// Good ends as they travel, for [`travel`].
///
/// # Panics
/// Where there is no memory for a channel.
#[must_use]
pub fn travel_seeds() -> Vec<Vec<u8>> {
    let (sender, receiver) = channel::<u8>();
    sender.send(5).expect("it has room");
    sender.send(6).expect("it has room");
    // One message after the other brings something, introduces it, names it.
    let (events, received) = channel::<Event>();
    let event = Event::new().expect("there is memory");
    for _ in 0..3 {
        events.send(event.clone()).expect("it has room");
    }
    vec![seed(0, &sender), seed(1, &receiver), seed(1, &received)]
}

/// Which end, how long the message is, the message, the memory.
fn seed<T: Serialize>(which: u8, end: &T) -> Vec<u8> {
    let mut message = vec![which, 0];
    let handoff = encode(end, &mut message).expect("it can be encoded");
    message[1] = u8::try_from(message.len() - 2).expect("it is short");
    let memory = &handoff.handles()[BLOCK];
    let size = map::length(memory).expect("the second is the memory");
    Mapping::new(memory, size)
        .expect("it can be mapped")
        .read(0, size, &mut message);
    message
}

/// The handles of an end, and the memory behind one of them.
struct Parts {
    handles: Vec<Arc<OwnedHandle>>,
    mapping: Mapping,
    /// So that the line has another end.
    _other: Socket,
}

impl Parts {
    fn new() -> Parts {
        let (sender, _) = channel::<u8>();
        let mut message = vec![];
        let handoff = encode(&sender, &mut message).expect("it can be encoded");
        let size = map::length(&handoff.handles()[BLOCK]).expect("the second is the memory");
        let memory = map::create(size).expect("there is memory");
        let mapping = Mapping::new(&memory, size).expect("it can be mapped");
        let (line, other) = Socket::pair().expect("a pair of sockets");
        // At `LINE` and at `BLOCK`.
        let handles = vec![Arc::new(OwnedHandle::from(line)), Arc::new(memory)];
        Parts {
            handles,
            mapping,
            _other: other,
        }
    }
}

thread_local! {
    static PARTS: RefCell<Parts> = RefCell::new(Parts::new());
    static QUEUE: (Vec<Arc<OwnedHandle>>, Mapping) = {
        let queue = Queue::<u8>::new().expect("there is memory");
        let handoff = encode(&queue, &mut vec![]).expect("it can be encoded");
        let handles = handoff.handles().to_vec();
        let size = map::length(&handles[QUEUE_MEMORY]).expect("the last is the memory");
        let mapping = Mapping::new(&handles[QUEUE_MEMORY], size).expect("it can be mapped");
        (handles, mapping)
    };
    static CHANNEL: RefCell<Option<(Socket, Receiver<u8>)>> = const { RefCell::new(None) };
}

/// An end as [`travel_seeds`] has them: taken in, and used a few times. Says whether it was taken.
pub fn travel(bytes: &[u8]) -> bool {
    let Some(([which, length], rest)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let (message, image) = rest.split_at(usize::from(*length).min(rest.len()));
    let handles = PARTS.with_borrow(|parts| {
        let size = parts.mapping.len();
        let mut whole = image[..image.len().min(size)].to_vec();
        whole.resize(size, 0);
        parts.mapping.write(0, &whole);
        parts.handles.clone()
    });
    if which & 1 == 0 {
        let Ok(sender) = decode::<Sender<u8>>(message, handles) else {
            return false;
        };
        for number in 0..3 {
            drop(sender.try_send(number));
        }
    } else {
        let Ok(receiver) = decode::<Receiver<u8>>(message, handles) else {
            return false;
        };
        for _ in 0..10 {
            drop(receiver.try_recv());
        }
    }
    true
}

/// The places of a queue's handles among those of its message, and where what lies in its memory, behind the header of
/// 128 bytes: the state behind the lock, two hands, the records of the first chunk.
const QUEUE_MEMORY: usize = 3;
const PARTS_OF_QUEUE: [(usize, usize); 3] =
    [(128 + 64, 512), (128 + 1024, 128), (64 << 10, 1 << 10)];

/// Good queues as they travel, for [`queue`].
///
/// # Panics
/// Where there is no memory for a queue.
#[must_use]
pub fn queue_seeds() -> Vec<Vec<u8>> {
    let plain = Queue::<u8>::bounded(3).expect("there is memory");
    plain.send(5).expect("it has room");
    plain.send(6).expect("it has room");
    let joined = JoinableQueue::<u8>::new().expect("there is memory");
    joined.send(7).expect("it has room");
    joined.send(8).expect("it has room");
    assert!(joined.recv().is_ok_and(|seven| seven == 7));
    vec![queue_seed(0, &plain), queue_seed(1, &joined)]
}

/// Which queue, how long the message is, the message, the parts of the memory.
fn queue_seed<T: Serialize>(which: u8, queue: &T) -> Vec<u8> {
    let mut message = vec![which, 0];
    let handoff = encode(queue, &mut message).expect("it can be encoded");
    message[1] = u8::try_from(message.len() - 2).expect("it is short");
    let memory = &handoff.handles()[QUEUE_MEMORY];
    let size = map::length(memory).expect("the last is the memory");
    let mapping = Mapping::new(memory, size).expect("it can be mapped");
    for (at, len) in PARTS_OF_QUEUE {
        mapping.read(at, len, &mut message);
    }
    message
}

/// A queue as [`queue_seeds`] has them: taken in, and used a few times. Says whether it was taken.
///
/// # Panics
/// Where there is no memory for a queue.
pub fn queue(bytes: &[u8]) -> bool {
    let Some(([which, length], rest)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let (message, mut image) = rest.split_at(usize::from(*length).min(rest.len()));
    let handles = QUEUE.with(|(handles, mapping)| {
        for (at, len) in PARTS_OF_QUEUE {
            let (part, others) = image.split_at(len.min(image.len()));
            let mut whole = part.to_vec();
            whole.resize(len, 0);
            mapping.write(at, &whole);
            image = others;
        }
        handles.clone()
    });
    if which & 1 == 0 {
        decode::<Queue<u8>>(message, handles).is_ok_and(|queue| {
            use_queue(&queue);
            true
        })
    } else {
        decode::<JoinableQueue<u8>>(message, handles).is_ok_and(|queue| {
            use_queue(&queue);
            let _done: Result<(), TaskDoneError> = queue.task_done();
            let _joined: Result<(), JoinError> = queue.join_timeout(Duration::ZERO);
            true
        })
    }
}

fn use_queue(queue: &Queue<u8>) {
    for number in 0..3 {
        drop(queue.try_send(number));
    }
    for _ in 0..10 {
        drop(queue.try_recv());
    }
    let _counted = (queue.len(), queue.is_full(), queue.is_closed());
    drop(queue.close());
}

/// Good messages on a channel's line, for [`line`].
#[must_use]
pub fn line_seeds() -> Vec<Vec<u8>> {
    let parcel = |name: u64, total: u32| [&name.to_le_bytes()[..], &total.to_le_bytes()].concat();
    vec![
        vec![],
        parcel(1, 0),
        parcel(7, 3),
        parcel(u64::MAX, u32::MAX),
    ]
}

/// A message on the line of a channel whose receiver listens.
///
/// # Panics
/// Where there is no memory for a channel.
pub fn line(bytes: &[u8]) {
    CHANNEL.with_borrow_mut(|kept| {
        let (socket, receiver) = kept.take().unwrap_or_else(|| {
            let (sender, receiver) = channel::<u8>();
            let mut message = vec![];
            let handoff = encode(&sender, &mut message).expect("it can be encoded");
            let line = handoff.handles()[LINE]
                .try_clone()
                .expect("one more descriptor");
            (Socket::from(line), receiver)
        });
        let bytes = &bytes[..bytes.len().min(MAX_BYTES)];
        if socket.send(bytes, &[], Deadline::now()).is_ok()
            && let Err(TryRecvError::Empty) = receiver.try_recv()
        {
            *kept = Some((socket, receiver));
        }
    });
}

#[cfg(test)]
mod tests;
