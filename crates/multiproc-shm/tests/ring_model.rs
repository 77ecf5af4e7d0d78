//! Any sequence of operations does what a queue of vectors does.

use std::collections::VecDeque;

use multiproc_shm::ring::{
    AssembleError, Assembler, Consumer, Corrupt, Local, Outgoing, Position, Producer, PushError,
    local,
};
use proptest::prelude::*;

const CAPACITY: usize = 256;

#[derive(Clone, Debug)]
enum Operation {
    /// A message of this length, in one record or several.
    Send(usize),
    Publish,
    /// Take back one of the messages so far: the one at this place, counted from the latest.
    Revoke(usize),
    /// Look for the next message, as far as it has come.
    Receive,
    Release,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..180_usize).prop_map(Operation::Send),
        4 => Just(Operation::Publish),
        2 => (0..6_usize).prop_map(Operation::Revoke),
        6 => Just(Operation::Receive),
        1 => Just(Operation::Release),
    ]
}

struct Message {
    bytes: Vec<u8>,
    tag: u16,
    position: Position,
    published: bool,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Waiting,
    Received,
    Revoked,
}

/// The ring, and what should be in it.
struct Pair {
    producer: Producer<Local>,
    consumer: Consumer<Local>,
    assembler: Assembler,
    sent: Vec<Message>,
    /// What the consumer should find, by index.
    expected: VecDeque<usize>,
}

impl Pair {
    fn new() -> Pair {
        let (producer, consumer) = local(CAPACITY).unwrap();
        Pair {
            producer,
            consumer,
            assembler: Assembler::default(),
            sent: vec![],
            expected: VecDeque::new(),
        }
    }

    /// Sends what fits; a message that does not is dropped half-way, as by a sender that gives up.
    fn send(&mut self, length: usize) {
        let id = u16::try_from(self.sent.len()).unwrap();
        let bytes: Vec<u8> = (0..length)
            .map(|at| (at * 7 + usize::from(id)).to_le_bytes()[0])
            .collect();
        let mut outgoing = Outgoing::new(bytes, id);
        if outgoing.push(&mut self.producer).unwrap() {
            let position = outgoing.position().unwrap();
            let bytes = outgoing.into_message();
            self.expected.push_back(self.sent.len());
            self.sent.push(Message {
                bytes,
                tag: id,
                position,
                published: false,
                fate: Fate::Waiting,
            });
        }
    }

    fn publish(&mut self) {
        assert!(!self.producer.publish(), "nobody sleeps");
        self.sent
            .iter_mut()
            .for_each(|message| message.published = true);
    }

    fn revoke(&mut self, back: usize) -> Result<(), TestCaseError> {
        let Some(index) = self.sent.len().checked_sub(back + 1) else {
            return Ok(());
        };
        let message = &mut self.sent[index];
        prop_assert_eq!(
            self.producer.revoke(message.position),
            message.fate == Fate::Waiting
        );
        if message.fate == Fate::Waiting {
            message.fate = Fate::Revoked;
            self.expected.retain(|expected| *expected != index);
        } else if message.fate == Fate::Received {
            prop_assert!(self.producer.is_claimed(message.position));
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), TestCaseError> {
        let expected = self
            .expected
            .front()
            .copied()
            .filter(|index| self.sent[*index].published);
        loop {
            let Some(mut record) = self.consumer.peek().unwrap() else {
                prop_assert_eq!(expected, None);
                return Ok(());
            };
            prop_assert!(record.claim(), "nobody takes it back meanwhile");
            let tag = record.tag();
            let whole = self.assembler.add(&record);
            let _nobody_waits = record.advance();
            if whole == Ok(true) {
                let index = expected.expect("a message is in the ring that should not be");
                let message = &mut self.sent[index];
                prop_assert_eq!(tag, message.tag);
                prop_assert_eq!(self.assembler.message(), &message.bytes);
                message.fate = Fate::Received;
                self.expected.pop_front();
                return Ok(());
            }
            prop_assert_ne!(whole, Err(AssembleError::Corrupt(Corrupt::Continuation)));
        }
    }
}

proptest! {
    #[test]
    fn a_ring_is_a_queue(operations in proptest::collection::vec(operation(), 0..300)) {
        let mut pair = Pair::new();
        for operation in operations {
            match operation {
                Operation::Send(length) => pair.send(length),
                Operation::Publish => pair.publish(),
                Operation::Revoke(back) => pair.revoke(back)?,
                Operation::Receive => pair.receive()?,
                Operation::Release => assert!(!pair.consumer.release(), "nobody waits"),
            }
        }
        pair.publish();
        while !pair.expected.is_empty() {
            pair.receive()?;
        }
        pair.receive()?;
        let _nobody_waits = pair.consumer.release();
        let longest = vec![0; pair.producer.max_len()];
        prop_assert!(pair.producer.push(&[&longest], 0).is_ok(), "an empty ring takes any record");
    }

    #[test]
    fn room_is_what_is_not_in_use(lengths in proptest::collection::vec(0..=56_usize, 1..60)) {
        let (mut producer, mut consumer) = local(CAPACITY).unwrap();
        // Sizes with headers; a record that does not fit before the end of the lap wastes the rest.
        let (mut start, mut end) = (0, 0);
        let mut sizes = VecDeque::new();
        for length in lengths {
            let size = 8 + length.next_multiple_of(8);
            let to_end = CAPACITY - end % CAPACITY;
            let needed = if size > to_end { to_end + size } else { size };
            while end + needed - start > CAPACITY {
                prop_assert_eq!(producer.push(&[&vec![0; length]], 0), Err(PushError::Full));
                prop_assert!(consumer.peek().unwrap().is_some());
                let _nobody_waits = consumer.peek().unwrap().unwrap().advance();
                let _nobody_waits = consumer.release();
                start += sizes.pop_front().expect("the ring is not empty");
            }
            producer.push(&[&vec![0; length]], 0).unwrap();
            let _nobody_sleeps = producer.publish();
            end += needed;
            sizes.push_back(needed);
        }
    }
}
