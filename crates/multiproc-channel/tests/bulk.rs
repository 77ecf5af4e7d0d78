//! Long runs of bytes and numbers, through channels and queues.

use std::thread;

use multiproc_channel::{Bulk, Bytes, Queue, RecvError, channel};

#[test]
fn bytes_and_numbers_arrive_as_they_were() {
    let (sender, receiver) = channel::<(u8, Bulk<u64>, Bytes)>().unwrap();
    let sending = thread::spawn(move || {
        for count in [0, 1, 1_000, 300_000] {
            let numbers = (0..count).map(|n| n * 7).collect::<Vec<u64>>();
            sender.send((1, numbers.into(), vec![9; 3].into())).unwrap();
        }
    });
    for count in [0, 1, 1_000, 300_000] {
        let (_, numbers, bytes) = receiver.recv().unwrap();
        assert!(numbers.iter().copied().eq((0..count).map(|n| n * 7)));
        assert_eq!(bytes, Bytes::from(vec![9; 3]));
    }
    sending.join().unwrap();
}

#[test]
fn a_message_of_many_mebibytes_passes_a_queue_outside_its_memory() {
    let queue = Queue::new().unwrap();
    let long = Bytes::from(vec![5; 40 << 20]);
    queue.send(long.clone()).unwrap();
    queue.send(Bytes::default()).unwrap();
    assert!(queue.recv().unwrap() == long);
    assert!(queue.recv().unwrap().is_empty());
}

#[test]
fn half_an_element_is_an_error() {
    let (sender, receiver) = channel::<Bytes>().unwrap();
    let (numbers, other) = channel::<Bulk<u32>>().unwrap();
    let mut bytes = vec![];
    let plain = multiproc_wire::encode(&Bytes::from(vec![1; 6]), &mut bytes).unwrap();
    assert!(plain.is_empty());
    let error = multiproc_wire::decode::<Bulk<u32>>(&bytes, vec![]).unwrap_err();
    assert!(error.to_string().contains("elements of 4 bytes"), "{error}");
    drop((sender, numbers));
    assert!(matches!(receiver.recv(), Err(RecvError::Disconnected(_))));
    assert!(matches!(other.recv(), Err(RecvError::Disconnected(_))));
}

#[test]
fn other_formats_take_them_too() {
    let text = serde_json::to_string(&Bulk::from(vec![1_u16, 256])).unwrap();
    assert_eq!(*serde_json::from_str::<Bulk<u16>>(&text).unwrap(), [1, 256]);
}
