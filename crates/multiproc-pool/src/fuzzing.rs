//! What a worker says, as a function of bytes: for tests and fuzzers.

use std::cell::OnceCell;

use multiproc_wire::{Link, Panic, encode};

use crate::driver::{Heard, understand};
use crate::job::Job;
use crate::policy::Policy;
use crate::protocol::{
    ARGUMENTS_LOST, CHUNK, HANDLES, PANICKED, READY, RESULT_LOST, RETURNED, TIRED,
};

thread_local! {
    static LINK: OnceCell<(Link, Link)> = const { OnceCell::new() };
}

/// Good answers, for [`answer`].
///
/// # Panics
/// Where one cannot be encoded.
#[must_use]
pub fn answer_seeds() -> Vec<Vec<u8>> {
    let panic = Panic {
        message: "it".into(),
        location: Some("here".into()),
        backtrace: None,
    };
    let record =
        |tag: u16, body: &[u8]| [&tag.to_le_bytes()[..], &7_u32.to_le_bytes(), body].concat();
    let mut panicked = vec![];
    encode(&panic, &mut panicked).expect("a panic can be encoded");
    vec![
        record(READY, b""),
        record(TIRED, b""),
        record(
            RETURNED | CHUNK,
            b"\x02\0\x01\0\0\0\x04\x04\0\x01\0\0\0x\x02\0\0\0\0\0",
        ),
        record(RETURNED, b"\x04\x01\x02"),
        record(RETURNED | HANDLES, b"\x04"),
        record(PANICKED, &panicked),
        record(ARGUMENTS_LOST, b"why"),
        record(RESULT_LOST, b"why"),
    ]
}

/// A record's tag, and the bytes of an answer: understood, and delivered to a job.
///
/// # Panics
/// Where there is no job for it.
pub fn answer(bytes: &[u8]) {
    let Some((tag, message)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    LINK.with(|link| {
        let (link, _) = link.get_or_init(|| Link::pair().expect("a pair of links"));
        // Whether answers have times is for the parent to know.
        let stamped = message.len().is_multiple_of(2);
        let heard = understand(u16::from_le_bytes(*tag), message, link, stamped);
        if let Ok(Heard::Answer(answer)) = heard {
            let ticket = answer.ticket();
            // Of one item, or of three that are one task.
            let items = if ticket.is_multiple_of(2) { 1 } else { 3 };
            let mut job = Job::new(0, Policy::DEFAULT);
            for item in 0..items {
                drop(job.add(&item).expect("a number can be encoded"));
            }
            job.complete(items);
            answer.deliver(&mut job, 0);
            drop(job.results::<(u64, Vec<String>)>().collect::<Vec<_>>());
        }
    });
}

#[cfg(test)]
mod tests;
