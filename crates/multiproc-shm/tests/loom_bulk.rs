//! Runs of bytes that are lent, under loom: a sender that uses its memory again, and two receivers.
//!
//! loom reports bytes that are written while somebody reads them as a race on them.
//!
//! These models have been seen to fail: with a Relaxed decrement in `lower`, a Relaxed load in `are_none`, and with
//! the holders raised after the message is published.

#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::mpsc::{Sender, channel};
use loom::thread;
use multiproc_shm::holders::Holders;

struct Piece {
    holders: Holders,
    run: UnsafeCell<u32>,
}

// SAFETY: `run` is written while nobody holds the piece and read by who holds it, which loom verifies.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl Piece {
    fn new() -> Arc<Piece> {
        Arc::new(Piece {
            holders: Holders::new(),
            run: UnsafeCell::new(0),
        })
    }

    fn read(&self) -> u32 {
        // SAFETY: whoever reads holds it.
        self.run.with(|run| unsafe { *run })
    }

    /// Lends a run, if there is room for it, to each of them.
    fn lend(&self, run: u32, to: &[&Sender<u32>]) -> bool {
        if !self.holders.are_none() {
            return false;
        }
        // SAFETY: nobody holds it.
        self.run.with_mut(|place| unsafe { *place = run });
        for receiver in to {
            self.holders.raise();
            receiver.send(run).expect("the receiver is there");
        }
        true
    }
}

#[test]
fn memory_is_written_again_when_all_have_given_it_back() {
    loom::model(|| {
        let piece = Piece::new();
        let receive = |piece: &Arc<Piece>, most| {
            let piece = Arc::clone(piece);
            let (sender, messages) = channel();
            let receiver = thread::spawn(move || {
                for _ in 0..most {
                    let Ok(run) = messages.recv() else { return };
                    if run == 0 {
                        return;
                    }
                    assert_eq!(piece.read(), run);
                    piece.holders.lower();
                }
            });
            (sender, receiver)
        };
        let (first, one) = receive(&piece, 2);
        let (second, two) = receive(&piece, 1);
        assert!(piece.lend(1, &[&first, &second]));
        let again = piece.lend(2, &[&first]);
        if !again {
            first.send(0).expect("the receiver is there");
        }
        one.join().expect("it read what it was sent");
        two.join().expect("it read what it was sent");
        assert!(piece.holders.are_none() && piece.lend(3, &[]));
    });
}

#[test]
fn what_is_given_back_too_often_is_free_and_no_more() {
    loom::model(|| {
        let piece = Piece::new();
        piece.holders.raise();
        let wild = Arc::clone(&piece);
        let wild = thread::spawn(move || wild.holders.lower());
        piece.holders.lower();
        wild.join().expect("it gave back");
        assert!(piece.holders.are_none());
        piece.holders.raise();
        assert!(!piece.holders.are_none());
    });
}
