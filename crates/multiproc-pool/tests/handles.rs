//! Descriptors in arguments and results: when they are let go, and when there are too many.

mod common;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;

use common::{LIMIT, finish, oracle};
use multiproc_pool::{Pool, TaskError};
use multiproc_testkit::within;
use multiproc_wire::Descriptor;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Side {
    Reader(Descriptor),
    Writer(Descriptor),
}

/// Reads all there will be, or writes something.
fn talk(side: Side) -> usize {
    let owned = |end: Descriptor| -> OwnedFd { end.into_owned().unwrap() };
    match side {
        Side::Reader(end) => {
            let mut text = String::new();
            PipeReader::from(owned(end))
                .read_to_string(&mut text)
                .unwrap()
        }
        Side::Writer(end) => PipeWriter::from(owned(end)).write(b"some text").unwrap(),
    }
}

#[test]
fn the_end_of_a_pipe_between_two_tasks_is_seen_when_the_writer_is_done() {
    let oracle = oracle();
    for cold in [true, false] {
        for _ in 0..20 {
            let pool = Pool::new(2).unwrap();
            if !cold {
                pool.map(|n: u8| n, 0..20).unwrap();
            }
            let (reader, writer) = std::io::pipe().unwrap();
            let sides = [Side::Reader(reader.into()), Side::Writer(writer.into())];
            let told = within(LIMIT, move || {
                let told = pool.map(talk, sides).unwrap();
                finish(pool);
                told
            });
            assert_eq!(told, [9, 9]);
        }
    }
    oracle.finish();
}

#[test]
fn too_many_in_one_argument_or_result_is_an_error_and_harms_nothing() {
    let oracle = oracle();
    let pool = Pool::new(1).unwrap();
    let null = || Descriptor::from(std::fs::File::open("/dev/null").unwrap());
    let count = |descriptors: Vec<Descriptor>| descriptors.len();
    let many = |many: usize| (0..many).map(|_| null()).collect::<Vec<_>>();
    assert_eq!(pool.apply(count, many(253)).unwrap(), 253);
    let error = pool.apply(count, many(254)).unwrap_err();
    assert_eq!(
        error,
        TaskError::TooManyHandles {
            count: 254,
            limit: 253
        }
    );
    fn make(many: usize) -> Vec<Descriptor> {
        (0..many)
            .map(|_| Descriptor::from(std::fs::File::open("/dev/null").unwrap()))
            .collect()
    }
    assert_eq!(pool.apply(make, 253).unwrap().len(), 253);
    let error = pool.apply(make, 254).unwrap_err();
    assert!(matches!(error, TaskError::ResultLost(_)), "{error}");
    assert_eq!(pool.apply(count, many(3)).unwrap(), 3);
    finish(pool);
    oracle.finish();
}
