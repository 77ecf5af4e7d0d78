use std::sync::{Arc, Mutex, PoisonError};

use multiproc_sys::handle::OwnedHandle;
use multiproc_sys::map;
use multiproc_wire::handoff::{Loan, Offers};
use multiproc_wire::{DecodeError, Decoder, Descriptor, Encoder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

/// The pieces are the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn turn() -> impl Drop {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    release();
    turn
}

struct Sent {
    bytes: Vec<u8>,
    handles: Vec<Arc<OwnedHandle>>,
    loans: Vec<Arc<dyn Loan>>,
}

fn send(value: &impl Serialize) -> Sent {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes).lending(&LENDER);
    encoder.encode(value).unwrap();
    let mut handoff = encoder.finish();
    let loans = handoff.take_loans();
    loans.iter().for_each(|loan| loan.sent());
    Sent {
        handles: handoff.handles().to_vec(),
        bytes,
        loans,
    }
}

fn receive<T: DeserializeOwned>(bytes: &[u8], offers: impl Into<Offers>) -> Result<T, DecodeError> {
    Decoder::new(bytes, offers).lending(&LENDER).only()
}

const LONG: usize = 100_000;

#[test]
fn a_long_run_is_lent_and_comes_back_when_it_is_dropped() {
    let _turn = turn();
    let mut places = Vec::new();
    for value in 0..3 {
        let Sent { bytes, handles, .. } = send(&Bytes::from(vec![value; LONG]));
        assert!(bytes.len() < 40 && handles.len() == 1);
        let found: Bytes = receive(&bytes, handles.clone()).unwrap();
        let same = found.clone();
        drop(found);
        assert!(same.is_lent() && *same == [value; LONG]);
        places.push(Arc::as_ptr(&handles[0]));
        if value == 2 {
            // Lent for as long as somebody has it.
            let other = send(&Bytes::from(vec![9; LONG]));
            assert_ne!(Arc::as_ptr(&other.handles[0]), places[0]);
            assert_eq!(same[LONG - 1], value);
            other.loans[0].taken_back();
        }
    }
    assert!(places.iter().all(|place| *place == places[0]));
}

#[test]
fn what_asks_for_a_copy_gets_one_and_what_is_short_goes_along() {
    let _turn = turn();
    let pair = (Bytes::from(vec![1; LONG]), Bytes::from(vec![2; 10]));
    for _ in 0..3 {
        let Sent { bytes, handles, .. } = send(&pair);
        assert_eq!(handles.len(), 1);
        let found: (Copied, Copied) = receive(&bytes, handles).unwrap();
        assert!(*found.0.0 == *pair.0 && *found.1.0 == *pair.1);
    }
    // And is given back at once.
    assert!(pieces::release());
}

/// As `serde_bytes` has it.
#[derive(Debug)]
struct Copied(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Copied {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Copied, D::Error> {
        Bytes::deserialize(deserializer).map(|bytes| Copied(bytes.into_vec()))
    }
}

#[test]
fn no_more_is_lent_than_was_agreed_and_the_dead_are_forgotten_in_time() {
    let _turn = turn();
    let long = Bytes::from(vec![1; LONG]);
    let mut lost: Vec<_> = (0..16).map(|_| send(&long)).collect();
    for sent in &mut lost {
        assert_eq!(sent.handles.len(), 1);
        sent.loans.clear();
    }
    // All are held, by receivers that never look.
    for _ in 0..64 {
        let Sent { bytes, handles, .. } = send(&long);
        assert!(handles.is_empty() && bytes.len() > LONG);
        assert!(receive::<Bytes>(&bytes, handles).unwrap() == long);
    }
    assert_eq!(send(&long).handles.len(), 1);
    // Whoever has one that is forgotten reads on.
    let first = &lost[0];
    assert!(receive::<Bytes>(&first.bytes, first.handles.clone()).unwrap() == long);
    // What is larger than everything goes along, too.
    assert!(pieces::lend(&vec![0; 257 << 20]).is_none());
    for sent in &lost {
        let _given_back: Bytes = receive(&sent.bytes, sent.handles.clone()).unwrap();
    }
}

#[test]
fn lying_references_are_errors() {
    let _turn = turn();
    let Sent { bytes, handles, .. } = send(&Bytes::from(vec![1; LONG]));
    let head = usize::MAX;
    let size = 256_u64 << 10;
    let lies = [
        (1_u32, 64_u64, 10_u64),
        (0, 63, 10),
        (0, 0, 10),
        (0, size, 1),
        (0, size + 1, 0),
        (0, 64, size - 63),
        (0, u64::MAX, 2),
        (0, 65, u64::MAX),
        (0, u64::MAX, u64::MAX),
    ];
    for (index, offset, length) in lies {
        let mut lie = Vec::new();
        let plain = multiproc_wire::encode(&(head, index, offset, length), &mut lie).unwrap();
        assert!(plain.is_empty());
        assert!(receive::<Bytes>(&lie, handles.clone()).is_err(), "{offset}");
        assert!(multiproc_wire::decode::<Bytes>(&lie, handles.clone()).is_err());
    }
    // Other memory is no piece, and no memory is none.
    let block = crate::Block::create(1 << 20).unwrap();
    let mut other = Vec::new();
    let handoff = multiproc_wire::encode(&block, &mut other).unwrap();
    assert!(receive::<Bytes>(&bytes, handoff.handles().to_vec()).is_err());
    let null: OwnedHandle = std::fs::File::open("/dev/null").unwrap().into();
    assert!(receive::<Bytes>(&bytes, vec![Arc::new(null)]).is_err());
    // Given back too often, it is free once.
    for _ in 0..3 {
        assert!(receive::<Bytes>(&bytes, handles.clone()).unwrap()[..] == [1; LONG]);
    }
    assert!(pieces::release() && !pieces::release());
}

/// Encodes as a reference to bytes that somebody else in the message has lent.
struct Fake(u64);

impl Serialize for Fake {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (usize::MAX, 0_u32, self.0, 10_u64).serialize(serializer)
    }
}

#[test]
fn one_piece_has_one_owner_whatever_a_message_says() {
    let _turn = turn();
    let long = || Bytes::from(vec![1; LONG]);
    for at in [64, 100] {
        let sent = send(&(long(), Fake(at)));
        assert_eq!((sent.handles.len(), sent.loans.len()), (1, 1));
        let error = receive::<(Bytes, Bytes)>(&sent.bytes, sent.handles.clone()).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
        // Copied and given back, or before the true one.
        let sent = send(&(Fake(at), long()));
        assert!(receive::<(Copied, Bytes)>(&sent.bytes, sent.handles.clone()).is_err());
        // Nor by its handle alone.
        let sent = send(&(0_u32, long()));
        let received = receive::<(Descriptor, Bytes)>(&sent.bytes, sent.handles.clone());
        assert!(received.unwrap_err().to_string().contains("twice"));
        let sent = send(&(long(), 0_u32));
        assert!(receive::<(Bytes, Descriptor)>(&sent.bytes, sent.handles).is_err());
    }
    // What one message has said is no matter of the next.
    let sent = send(&(long(), long()));
    assert_eq!(sent.handles.len(), 2);
    let (one, two): (Bytes, Bytes) = receive(&sent.bytes, sent.handles).unwrap();
    assert!(one.is_lent() && two.is_lent() && one == two);
}

#[test]
fn a_forked_child_lends_nothing_of_its_parents_and_gives_nothing_back() {
    let _turn = turn();
    let sent = send(&Bytes::from(vec![1; LONG]));
    let found: Bytes = receive(&sent.bytes, sent.handles.clone()).unwrap();
    // SAFETY: the child goes on with this thread alone, takes no lock for which it would wait, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(found);
        let other = send(&Bytes::from(vec![2; LONG]));
        let same =
            map::identity(&other.handles[0]).unwrap() == map::identity(&sent.handles[0]).unwrap();
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(same)) };
    }
    let mut status = -1;
    // SAFETY: `status` is live; the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    drop(sent.loans);
    // Still held, so that another is lent.
    let other = send(&Bytes::from(vec![3; LONG]));
    assert_ne!(
        Arc::as_ptr(&other.handles[0]),
        Arc::as_ptr(&sent.handles[0])
    );
    assert!(*found == [1; LONG]);
    other.loans[0].taken_back();
}
