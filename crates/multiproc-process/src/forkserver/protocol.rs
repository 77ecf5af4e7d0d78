//! What parent and fork server say to each other over the control socket.
//!
//! | message | bytes | handles |
//! |---|---|---|
//! | fork | 0, session, whose environment, kinds of the three streams, 1, the order | the child's end of its link, its folder, streams of kind 1 |
//! | | the same with 0 and no order: it is on the link | the same |
//! | preload | 1 | the server's end of the link with the order |
//! | forked | 0 | |
//! | failed | 1, the error's number in 4 bytes | |
//! | unfit | 2, why | |

use std::io;

use multiproc_sys::handle::{AsHandle, BorrowedHandle, OwnedHandle};
use multiproc_sys::process::{self as sys, Stdio};

/// To the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Fork {
        session: bool,
        environment: Environment,
        streams: [StreamKind; 3],
        order: Order<'a>,
    },
    Preload,
}

/// The order of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order<'a> {
    /// This, with no handles in it.
    Here(&'a [u8]),
    /// One that is on its link.
    Sent,
}

/// The environment of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Environment {
    /// The one that the server was started with.
    Servers,
    /// One that is on its link, behind the order.
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamKind {
    Null,
    Handle,
}

impl<'a> Request<'a> {
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Request::Fork {
                session,
                environment,
                streams: [input, output, error],
                order,
            } => {
                let sent = u8::from(environment == Environment::Sent);
                let [input, output, error] =
                    [input, output, error].map(|kind| u8::from(kind == StreamKind::Handle));
                let (here, order) = match order {
                    Order::Here(order) => (1, order),
                    Order::Sent => (0, &[][..]),
                };
                let head = [0, u8::from(session), sent, input, output, error, here];
                [&head, order].concat()
            }
            Request::Preload => vec![1],
        }
    }

    pub(super) fn from_bytes(bytes: &'a [u8]) -> Option<Request<'a>> {
        match *bytes {
            [
                0,
                session @ 0..=1,
                sent @ 0..=1,
                input @ 0..=1,
                output @ 0..=1,
                error @ 0..=1,
                here @ 0..=1,
                ref order @ ..,
            ] => Some(Request::Fork {
                session: session == 1,
                environment: match sent {
                    1 => Environment::Sent,
                    _ => Environment::Servers,
                },
                streams: [input, output, error].map(|kind| match kind {
                    1 => StreamKind::Handle,
                    _ => StreamKind::Null,
                }),
                order: match here {
                    1 => Order::Here(order),
                    _ if order.is_empty() => Order::Sent,
                    _ => return None,
                },
            }),
            [1] => Some(Request::Preload),
            _ => None,
        }
    }
}

/// One of a child's standard streams, as it is passed.
pub(super) enum Stream<'a> {
    Null,
    Given(&'a OwnedHandle),
    /// Where this process's leads at this moment.
    Own(BorrowedHandle<'static>),
}

impl<'a> Stream<'a> {
    pub(super) fn of(stream: &'a Stdio, number: usize) -> Stream<'a> {
        match stream {
            Stdio::Handle(handle) => Stream::Given(handle),
            Stdio::Null => Stream::Null,
            // One that is closed here leads nowhere there.
            Stdio::Inherit => sys::standard_stream(number).map_or(Stream::Null, Stream::Own),
        }
    }

    pub(super) fn kind(&self) -> StreamKind {
        match self {
            Stream::Null => StreamKind::Null,
            _ => StreamKind::Handle,
        }
    }

    pub(super) fn handle(&self) -> Option<BorrowedHandle<'_>> {
        match self {
            Stream::Null => None,
            Stream::Given(handle) => Some(handle.as_handle()),
            Stream::Own(handle) => Some(*handle),
        }
    }
}

/// From the server.
#[derive(Debug)]
pub(super) enum Answer {
    Forked(u32),
    Failed(io::Error),
    Unfit(String),
}

pub(super) const FORKED: &[u8] = &[0];

pub(super) fn failed(error: &io::Error) -> Vec<u8> {
    match error.raw_os_error() {
        Some(number) => [&[1], &number.to_le_bytes()[..]].concat(),
        None => [&[2], error.to_string().as_bytes()].concat(),
    }
}

impl Answer {
    /// With the number that the kernel has written.
    pub(super) fn from_bytes(bytes: &[u8], forked: Option<u32>) -> Option<Answer> {
        match (bytes, forked) {
            ([0], Some(pid)) => Some(Answer::Forked(pid)),
            ([1, number @ ..], None) => {
                let number = i32::from_le_bytes(number.try_into().ok()?);
                Some(Answer::Failed(io::Error::from_raw_os_error(number)))
            }
            ([2, why @ ..], None) => Some(Answer::Unfit(String::from_utf8_lossy(why).into_owned())),
            _ => None,
        }
    }
}

/// What is said over the control socket, as functions of bytes.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use super::{Answer, Environment, FORKED, Order, Request, StreamKind, failed};
    use std::io;

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let fork = |order| Request::Fork {
            session: true,
            environment: Environment::Sent,
            streams: [StreamKind::Null, StreamKind::Handle, StreamKind::Null],
            order,
        };
        vec![
            fork(Order::Here(b"order")).bytes(),
            fork(Order::Sent).bytes(),
            Request::Preload.bytes(),
            FORKED.to_vec(),
            failed(&io::Error::from_raw_os_error(11)),
            failed(&io::Error::other("threads")),
        ]
    }

    /// A request, and an answer with and without a number. What is understood is what would have been said.
    pub(crate) fn message(bytes: &[u8]) {
        if let Some(request) = Request::from_bytes(bytes) {
            assert_eq!(request.bytes(), bytes, "said in one way only");
        }
        for forked in [None, Some(7)] {
            match Answer::from_bytes(bytes, forked) {
                Some(Answer::Forked(pid)) => assert_eq!(Some(pid), forked),
                Some(Answer::Failed(error)) => assert!(error.raw_os_error().is_some()),
                Some(Answer::Unfit(_)) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_as_they_were_made_and_nothing_else_is_one() {
        use StreamKind::{Handle, Null};
        let requests = [
            Request::Preload,
            Request::Fork {
                session: false,
                environment: Environment::Sent,
                streams: [Null, Handle, Handle],
                order: Order::Sent,
            },
            Request::Fork {
                session: true,
                environment: Environment::Servers,
                streams: [Handle, Null, Null],
                order: Order::Here(b"order"),
            },
            Request::Fork {
                session: false,
                environment: Environment::Servers,
                streams: [Null, Null, Handle],
                order: Order::Here(b""),
            },
        ];
        for request in requests {
            assert_eq!(Request::from_bytes(&request.bytes()), Some(request));
        }
        for bytes in [
            &[][..],
            &[2],
            &[1, 0],
            &[0],
            &[0, 0, 0, 0, 0, 0],
            &[0, 2, 0, 0, 0, 0, 0],
            &[0, 0, 2, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 3, 0],
            &[0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(Request::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn answers_that_do_not_fit_the_number_are_none() {
        let denied = io::Error::from_raw_os_error(11);
        let answer = Answer::from_bytes(&failed(&denied), None);
        assert!(matches!(answer, Some(Answer::Failed(error)) if error.raw_os_error() == Some(11)));
        let unfit = failed(&io::Error::other("threads"));
        let answer = Answer::from_bytes(&unfit, None);
        assert!(matches!(answer, Some(Answer::Unfit(why)) if why == "threads"));
        assert!(matches!(
            Answer::from_bytes(FORKED, Some(7)),
            Some(Answer::Forked(7))
        ));
        assert!(Answer::from_bytes(FORKED, None).is_none());
        assert!(Answer::from_bytes(&unfit, Some(7)).is_none());
        assert!(Answer::from_bytes(&[1, 2], None).is_none());
        assert!(Answer::from_bytes(&[], None).is_none());
    }
}
