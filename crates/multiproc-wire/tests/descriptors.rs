//! Files, sockets and pipe ends as values: from and to the standard library's types, by the hundred, none left behind.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Seek, SeekFrom, Write, pipe};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use multiproc_process::Process;
use multiproc_sys::clock::Deadline;
use multiproc_testkit::{Oracle, within};
use multiproc_wire::{Descriptor, Frame, Incoming, Link, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer, ser};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test under a deadline, and fails it where it leaves something behind.
fn checked(test: impl FnOnce() + Send + 'static) {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    within(LIMIT, test);
    oracle.finish();
}

/// Sends a value over a link, and what arrives.
fn send<T: Serialize, R: DeserializeOwned>(value: &T) -> R {
    let (one, two) = Link::pair().unwrap();
    let mut body = vec![];
    let handoff = encode(value, &mut body).unwrap();
    let frame = Frame {
        kind: 1,
        body: &body,
        handles: handoff.handles(),
    };
    one.send(frame, Deadline::after(LIMIT)).unwrap();
    handoff.sent();
    match two.receive(Deadline::after(LIMIT)).unwrap() {
        Incoming::Frame { body, handles, .. } => decode(&body, handles).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_type_of_the_standard_library_comes_back_as_itself() {
    checked(|| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"in a file").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let (reader, mut writer) = pipe().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let sent: [Descriptor; 4] = [file.into(), reader.into(), theirs.into(), listener.into()];
        let arrived: [Descriptor; 4] = send(&sent);
        drop(sent);
        let [file, reader, theirs, listener] = arrived;
        let mut text = String::new();
        file.into_std::<File>()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        writer.write_all(b", through a pipe").unwrap();
        drop(writer);
        reader
            .into_std::<PipeReader>()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        ours.write_all(b", through a socket").unwrap();
        drop(ours);
        theirs
            .into_std::<UnixStream>()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        tcp.write_all(b", through another").unwrap();
        drop(tcp);
        let listener: TcpListener = listener.into_std().unwrap();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(
            text,
            "in a file, through a pipe, through a socket, through another"
        );
    });
}

/// Descriptors of pipes, each with its number in it.
fn numbered(count: usize) -> Vec<Descriptor> {
    (0..count)
        .map(|number| {
            let (reader, mut writer) = pipe().unwrap();
            writer.write_all(&number.to_le_bytes()).unwrap();
            Descriptor::from(reader)
        })
        .collect()
}

fn numbers(descriptors: Vec<Descriptor>) -> Vec<usize> {
    let read = |descriptor: Descriptor| {
        let mut bytes = [0; size_of::<usize>()];
        let mut reader: PipeReader = descriptor.into_std().unwrap();
        reader.read_exact(&mut bytes).unwrap();
        usize::from_le_bytes(bytes)
    };
    descriptors.into_iter().map(read).collect()
}

#[test]
fn more_than_any_packet_holds_arrive_in_order() {
    checked(|| {
        for count in [1, 64, 65, 253, 254, 300] {
            let arrived: Vec<Descriptor> = send(&numbered(count));
            assert!(numbers(arrived).into_iter().eq(0..count), "{count}");
        }
    });
}

#[test]
fn they_arrive_in_another_process() {
    checked(|| {
        let child = Process::spawn(numbers, numbered(280)).unwrap();
        assert!(child.join().unwrap().into_iter().eq(0..280));
        let child = Process::spawn(numbered, 280).unwrap();
        assert!(numbers(child.join().unwrap()).into_iter().eq(0..280));
    });
}

#[test]
fn one_that_is_sent_twice_travels_once() {
    checked(|| {
        let one = numbered(1).remove(0);
        let mut bytes = vec![];
        let handoff = encode(&vec![one.clone(); 1000], &mut bytes).unwrap();
        assert_eq!(handoff.handles().len(), 1);
        let arrived: Vec<Descriptor> = send(&vec![one; 1000]);
        let first = arrived[0].clone().into_shared();
        let same = |other: &Descriptor| Arc::ptr_eq(&first, &other.clone().into_shared());
        assert!(arrived.iter().all(same), "no descriptor is opened for each");
    });
}

/// Hands descriptors over, and then cannot be encoded.
struct FailsHalfWay(Vec<Descriptor>);
impl Serialize for FailsHalfWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Refuses;
        impl Serialize for Refuses {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("half-way"))
            }
        }
        (&self.0, Refuses).serialize(serializer)
    }
}

#[test]
fn none_is_left_when_encoding_fails_half_way_or_nobody_takes_them() {
    checked(|| {
        let mut bytes = vec![];
        let error = encode(&FailsHalfWay(numbered(300)), &mut bytes).unwrap_err();
        assert!(error.to_string().ends_with("half-way"), "{error}");
        // The thread's next message has none of them.
        assert!(encode(&5, &mut bytes).unwrap().is_empty());
        // Sent and never received.
        let (one, two) = Link::pair().unwrap();
        let handoff = encode(&numbered(200), &mut bytes).unwrap();
        let frame = Frame {
            kind: 1,
            body: &bytes,
            handles: handoff.handles(),
        };
        one.send(frame, Deadline::after(LIMIT)).unwrap();
        drop((one, two));
        // Received and not taken out.
        let nothing: Vec<u8> = send(&(Vec::<u8>::new(), numbered(10)).0);
        assert!(nothing.is_empty());
    });
}

#[derive(Serialize, Deserialize)]
struct Log {
    name: String,
    #[serde(with = "multiproc_wire::as_descriptor")]
    to: PipeWriter,
}

#[test]
fn a_field_travels_as_it_is() {
    checked(|| {
        let (mut reader, to) = pipe().unwrap();
        let log = Log {
            name: "log".into(),
            to,
        };
        let write = |mut log: Log| log.to.write_all(log.name.as_bytes()).unwrap();
        let child = Process::spawn(write, log).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "log");
        child.join().unwrap();
        let error = serde_json::to_string(&Log {
            name: String::new(),
            to: pipe().unwrap().1,
        });
        assert!(error.unwrap_err().to_string().contains("in another format"));
    });
}

#[test]
fn a_clone_gives_one_more_and_the_last_gives_its_own() {
    checked(|| {
        let one = numbered(1).remove(0);
        let other = one.clone();
        let more: OwnedFd = other.into_std().unwrap();
        let own: OwnedFd = one.into_std().unwrap();
        drop((more, own));
    });
}
