//! Decoders of what peers send, as functions of bytes: for tests and fuzzers.

use multiproc_wire::{Descriptor, decode};

use crate::handshake::{Handshake, PROOF, Step};
use crate::hello::Role;
use crate::inbox::{BYTES, HEADER, Header, Inbox, VALUE};
use crate::key::Key;
use crate::settings::Settings;

/// What a peer's side of a handshake looks like, for [`handshake`].
///
/// # Panics
/// Where there are no random bytes.
#[must_use]
pub fn handshake_seeds() -> Vec<Vec<u8>> {
    let settings = Settings::new(&key("another"))
        .protocol("shop 3")
        .expect("short");
    let hello = |role| {
        Handshake::new(role, &settings)
            .expect("random bytes")
            .opening()
            .to_vec()
    };
    let verdicts =
        (0..6).map(|verdict| [&[1][..], &hello(Role::Server), &[verdict], &[0; PROOF]].concat());
    verdicts
        .chain([[&[0][..], &hello(Role::Client), &[5; PROOF]].concat()])
        .collect()
}

fn key(secret: &str) -> Key {
    Key::new(secret).expect("it is not empty")
}

/// What a peer without the key sends in the handshake, behind a byte that says which side it meets.
///
/// # Panics
/// Where it is let in.
pub fn handshake(bytes: &[u8]) {
    let Some((which, mut rest)) = bytes.split_first() else {
        return;
    };
    let role = if which & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let settings = Settings::new(&key("a key"))
        .protocol("shop 3")
        .expect("short");
    let mut side = Handshake::new(role, &settings).expect("random bytes");
    let at_once = usize::from(which >> 1).max(1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(side.wants().min(at_once).min(rest.len()));
        match side.take(now) {
            Step::More | Step::Answer(_) => rest = later,
            Step::Refused { .. } => return,
            Step::Done { .. } => panic!("who has not the key was let in"),
        }
    }
}

/// What a peer that is known sends, for [`inbox`].
#[must_use]
pub fn inbox_seeds() -> Vec<Vec<u8>> {
    let message = |kind, handles, body: &[u8]| {
        let header = Header {
            kind,
            handles,
            length: body.len() as u64,
        };
        [&[9][..], &header.to_bytes(), body].concat()
    };
    vec![
        [
            message(VALUE, 0, b"\x02ab"),
            message(BYTES, 0, &[7; 400])[1..].to_vec(),
        ]
        .concat(),
        message(VALUE, 1, b"\x00"),
        message(BYTES, 0, &[0; 2 * LIMIT]),
        vec![0; HEADER],
    ]
}

const LIMIT: usize = 1000;

/// What a peer that is known sends, behind a byte that says in what pieces it comes.
///
/// # Panics
/// Where a message comes out that is over the limit.
pub fn inbox(bytes: &[u8]) {
    let Some((pieces, stream)) = bytes.split_first() else {
        return;
    };
    let mut inbox = Inbox::new(LIMIT);
    for piece in stream.chunks(usize::from(*pieces) + 1) {
        inbox.room().0.extend_from_slice(piece);
        while inbox.is_ready() {
            let Ok(Some(message)) = inbox.next() else {
                if inbox.is_broken() {
                    return;
                }
                continue;
            };
            assert!(message.body.len() <= LIMIT, "it is over the limit");
            drop(decode::<(String, Vec<Descriptor>)>(
                message.body,
                message.handles,
            ));
        }
    }
}

#[cfg(test)]
mod tests;
