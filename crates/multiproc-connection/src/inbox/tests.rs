use super::*;
use crate::ErrorKind;

const LIMIT: usize = 1000;

fn message(kind: u8, handles: u32, body: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        handles,
        length: body.len() as u64,
    };
    [&header.to_bytes()[..], body].concat()
}

fn handle() -> OwnedHandle {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn put(inbox: &mut Inbox, bytes: &[u8]) {
    inbox.room().0.extend_from_slice(bytes);
}

fn next(inbox: &mut Inbox) -> Option<(u8, Vec<u8>, usize)> {
    let message = inbox.next().unwrap()?;
    Some((message.kind, message.body.to_vec(), message.handles.len()))
}

#[test]
fn messages_come_out_whole_however_the_bytes_come() {
    let bodies: [&[u8]; 4] = [b"", b"one", &[7; LIMIT], b"last"];
    let stream: Vec<u8> = bodies
        .iter()
        .flat_map(|body| message(BYTES, 0, body))
        .collect();
    for at_once in [1, 5, 17, 500, stream.len()] {
        let mut inbox = Inbox::new(LIMIT);
        let mut out = vec![];
        for part in stream.chunks(at_once) {
            put(&mut inbox, part);
            while inbox.is_ready() {
                out.push(next(&mut inbox).unwrap().1);
            }
            assert!(next(&mut inbox).is_none());
        }
        assert!(out == bodies, "{at_once} at once");
        assert!(inbox.is_empty());
    }
}

#[test]
fn a_message_that_is_too_long_is_passed_over() {
    let stream = [
        message(VALUE, 1, &[9; 5 * LIMIT]),
        message(VALUE, 1, b"next"),
    ]
    .concat();
    for at_once in [1, 999, stream.len()] {
        let mut inbox = Inbox::new(LIMIT);
        inbox.handles.push(handle());
        let (mut errors, mut out) = (0, vec![]);
        for (index, part) in stream.chunks(at_once).enumerate() {
            put(&mut inbox, part);
            if (index + 1) * at_once >= stream.len() {
                inbox.handles.push(handle());
            }
            while inbox.is_ready() {
                match inbox.next() {
                    Ok(message) => out.push(message.unwrap().body.to_vec()),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TooLong);
                        errors += 1;
                    }
                }
            }
        }
        assert_eq!(
            (errors, out),
            (1, vec![b"next".to_vec()]),
            "{at_once} at once"
        );
        assert!(inbox.is_empty() && inbox.handles.is_empty());
        assert!(
            inbox.bytes.capacity() < 100_000,
            "it keeps what it passes over"
        );
    }
}

#[test]
fn what_no_peer_sends_is_an_error_and_the_last_word() {
    let lie = |handles, length| {
        Header {
            kind: VALUE,
            handles,
            length,
        }
        .to_bytes()
        .to_vec()
    };
    let mut odd = message(VALUE, 0, b"x");
    odd[2] = 1;
    let streams = [
        (message(3, 0, b"x"), 0),
        (odd, 0),
        (message(VALUE, 1, b"x"), 0),
        (message(VALUE, 0, b"x"), 1),
        (message(VALUE, 2, b"x"), 3),
        (lie(u32::MAX, 4), 0),
        ([lie(1, 2 * LIMIT as u64), vec![0; 2 * LIMIT]].concat(), 0),
        (b"GET / HTTP/1.1\r\n".to_vec(), 0),
    ];
    for (stream, handles) in streams {
        let mut inbox = Inbox::new(LIMIT);
        put(&mut inbox, &stream);
        inbox.handles.extend((0..handles).map(|_| handle()));
        assert!(inbox.is_ready(), "{stream:?}");
        let mut error = inbox.next().unwrap_err();
        if error.kind() == ErrorKind::TooLong {
            error = inbox.next().unwrap_err();
        }
        assert_eq!(error.kind(), ErrorKind::Malformed, "{stream:?}");
        assert!(inbox.is_ready());
        assert_eq!(inbox.next().unwrap_err().kind(), ErrorKind::Broken);
    }
}

#[test]
fn a_claim_takes_no_memory() {
    let mut inbox = Inbox::new(usize::MAX);
    put(
        &mut inbox,
        &Header {
            kind: VALUE,
            handles: 0,
            length: u64::MAX / 2,
        }
        .to_bytes(),
    );
    assert!(!inbox.is_ready());
    let (bytes, limit, _) = inbox.room();
    assert!(limit <= 1 << 20 && bytes.capacity() < 1 << 20);
}
