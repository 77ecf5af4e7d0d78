//! Peers that nobody wants: silent, slow, wrong, gone half-way, lying.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use multiproc_connection::{Address, Client, Connection, ErrorKind, Key, Listener, Settings};
use multiproc_process::Process;
use multiproc_testkit::{Oracle, within};
use serde::{Deserialize, Deserializer, Serialize};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(50);

/// How many bytes a client says in the handshake: hello and proof. A listener: hello and verdict.
const CLIENT_SAYS: usize = 140 + 32;
const SERVER_SAYS: usize = 140 + 33;

trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

/// Runs a test under a deadline, and fails it where it leaves something behind.
fn checked(test: impl FnOnce() + Send + 'static) {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    within(LIMIT, test);
    oracle.finish();
}

fn key() -> Key {
    Key::random().unwrap()
}

/// A bare connection, without a handshake.
fn bare(address: &Address) -> Box<dyn Socket> {
    match address {
        Address::Unix(path) => {
            let socket = UnixStream::connect(path).unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            Box::new(socket)
        }
        Address::Tcp(address) => {
            let socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            Box::new(socket)
        }
        other => panic!("{other}"),
    }
}

fn both(settings: &Settings) -> [Listener; 2] {
    [
        Listener::local(settings).unwrap(),
        Listener::tcp(settings).unwrap(),
    ]
}

/// Whether a client that means well is let in, and how long that takes.
fn lets_in(listener: &mut Listener, settings: &Settings) -> Duration {
    let address = listener.address().clone();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client: Connection<u8, ()> = Client::connect(&address, settings).unwrap();
            client.send(&7).unwrap();
        });
        let mut server: Connection<(), u8> = listener.accept_timeout(LIMIT).unwrap();
        assert_eq!(server.recv_timeout(LIMIT).unwrap(), 7);
        client.join().unwrap();
    });
    begun.elapsed()
}

#[test]
fn sixty_four_silent_peers_delay_nobody() {
    checked(|| {
        let settings = Settings::new(&key()).handshake_timeout(Duration::from_secs(3600));
        for mut listener in both(&settings) {
            let silent: Vec<_> = (0..64)
                .map(|index| {
                    let mut peer = bare(listener.address());
                    // Some say nothing, some the beginning.
                    peer.write_all(&b"mpconn\r\n\x01\x00\x01"[..index % 12])
                        .unwrap();
                    peer
                })
                .collect();
            let took = lets_in(&mut listener, &settings);
            assert!(took < LIMIT / 2, "{took:?}");
            assert_eq!(listener.refused(), 0);
            drop(silent);
            assert!(
                listener
                    .accept_timeout::<(), ()>(SOON)
                    .unwrap_err()
                    .is_timeout()
            );
            assert_eq!(listener.refused(), 64);
            assert_eq!(
                listener.last_refusal().unwrap().error.kind(),
                ErrorKind::Truncated
            );
        }
    });
}

#[test]
fn a_flood_of_silent_peers_is_bounded_and_delays_nobody() {
    checked(|| {
        let settings = Settings::new(&key()).handshake_timeout(Duration::from_secs(3600));
        let mut listener = Listener::local(&settings).unwrap();
        let mut silent = vec![];
        for _ in 0..6 {
            silent.extend((0..50).map(|_| bare(listener.address())));
            assert!(
                listener
                    .accept_timeout::<(), ()>(SOON)
                    .unwrap_err()
                    .is_timeout()
            );
        }
        assert_eq!(listener.refused(), 300 - 128);
        lets_in(&mut listener, &settings);
    });
}

#[test]
fn a_silent_client_is_given_up_at_the_deadline() {
    checked(|| {
        let settings = Settings::new(&key()).handshake_timeout(SOON);
        for mut listener in both(&settings) {
            let mut silent = bare(listener.address());
            let patience = SOON * 4;
            assert!(
                listener
                    .accept_timeout::<(), ()>(patience)
                    .unwrap_err()
                    .is_timeout()
            );
            assert_eq!(listener.refused(), 1);
            assert!(listener.last_refusal().unwrap().error.is_timeout());
            // It is told hello, and then the end.
            let mut heard = vec![];
            silent.read_to_end(&mut heard).unwrap();
            assert_eq!(heard.len(), 140);
        }
    });
}

#[test]
fn a_silent_listener_is_given_up_at_the_deadline() {
    checked(|| {
        let folder = tempfile_folder();
        let path = folder.path().join("socket");
        let _silent = UnixListener::bind(&path).unwrap();
        let settings = Settings::new(&key()).handshake_timeout(SOON);
        let error = Client::connect::<(), ()>(&Address::Unix(path), &settings).unwrap_err();
        assert!(error.is_timeout(), "{error}");
    });
}

fn tempfile_folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn another_key_is_an_error_of_the_client_and_the_listener_goes_on() {
    checked(|| {
        let settings = Settings::new(&key());
        for mut listener in both(&settings) {
            let address = listener.address().clone();
            let client = std::thread::spawn(move || {
                Client::connect::<(), ()>(&address, &key())
                    .unwrap_err()
                    .kind()
            });
            lets_in_after(&mut listener, &settings, client, ErrorKind::WrongKey);
        }
        let newer = settings.clone().protocol("shop 4").unwrap();
        for mut listener in both(&settings) {
            let (address, newer) = (listener.address().clone(), newer.clone());
            let client = std::thread::spawn(move || {
                Client::connect::<(), ()>(&address, &newer)
                    .unwrap_err()
                    .kind()
            });
            lets_in_after(&mut listener, &settings, client, ErrorKind::WrongProtocol);
        }
    });
}

fn lets_in_after(
    listener: &mut Listener,
    settings: &Settings,
    client: std::thread::JoinHandle<ErrorKind>,
    expected: ErrorKind,
) {
    while listener.refused() == 0 {
        assert!(
            listener
                .accept_timeout::<(), ()>(SOON)
                .unwrap_err()
                .is_timeout()
        );
    }
    assert_eq!(client.join().unwrap(), expected);
    assert_eq!(listener.last_refusal().unwrap().error.kind(), expected);
    lets_in(listener, settings);
}

/// What a client says in a good handshake, and what a listener answers.
fn overheard(settings: &Settings) -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile_folder();
    let path = folder.path().join("between");
    let between = UnixListener::bind(&path).unwrap();
    let mut listener = Listener::local(settings).unwrap();
    let address = listener.address().clone();
    std::thread::scope(|scope| {
        scope.spawn(|| listener.accept_timeout::<(), ()>(LIMIT).unwrap());
        scope.spawn(|| Client::connect::<(), ()>(&Address::Unix(path.clone()), settings).unwrap());
        let (mut client, _) = between.accept().unwrap();
        let mut server = bare(&address);
        let pass = |from: &mut dyn Read, to: &mut dyn Write, length| {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).unwrap();
            to.write_all(&bytes).unwrap();
            bytes
        };
        let mut says = pass(&mut client, &mut server, 140);
        let mut answers = pass(&mut server, &mut client, 140);
        says.extend(pass(&mut client, &mut server, 32));
        answers.extend(pass(&mut server, &mut client, 33));
        (says, answers)
    })
}

#[test]
fn what_was_overheard_lets_nobody_in() {
    checked(|| {
        let settings = Settings::new(&key());
        let (says, answers) = overheard(&settings);
        assert_eq!((says.len(), answers.len()), (CLIENT_SAYS, SERVER_SAYS));
        for mut listener in both(&settings) {
            let mut replay = bare(listener.address());
            replay.write_all(&says).unwrap();
            assert!(
                listener
                    .accept_timeout::<(), ()>(SOON)
                    .unwrap_err()
                    .is_timeout()
            );
            assert_eq!(
                listener.last_refusal().unwrap().error.kind(),
                ErrorKind::WrongKey
            );
            let mut heard = vec![];
            replay.read_to_end(&mut heard).unwrap();
            assert_eq!(heard.len(), SERVER_SAYS, "hello and a verdict");
            assert_eq!(heard[141..], [0; 32], "which tells nothing of the key");
        }
        // Nor is a client taken in by it.
        let folder = tempfile_folder();
        let path = folder.path().join("socket");
        let imposter = UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            let client = scope.spawn(|| Client::connect::<(), ()>(&Address::Unix(path), &settings));
            let (mut socket, _) = imposter.accept().unwrap();
            socket.write_all(&answers).unwrap();
            let error = client.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongKey);
        });
    });
}

#[test]
fn peers_that_go_at_any_byte_of_the_handshake_cost_nothing() {
    checked(|| {
        let settings = Settings::new(&key());
        let (says, answers) = overheard(&settings);
        for mut listener in both(&settings) {
            for length in (0..CLIENT_SAYS).step_by(3) {
                let mut peer = bare(listener.address());
                peer.write_all(&says[..length]).unwrap();
            }
            lets_in(&mut listener, &settings);
        }
        let folder = tempfile_folder();
        let path = folder.path().join("socket");
        let leaver = UnixListener::bind(&path).unwrap();
        for length in (0..SERVER_SAYS).step_by(7) {
            std::thread::scope(|scope| {
                let address = Address::Unix(path.clone());
                let settings = &settings;
                let client = scope.spawn(move || Client::connect::<(), ()>(&address, settings));
                let (mut socket, _) = leaver.accept().unwrap();
                socket.write_all(&answers[..length]).unwrap();
                drop(socket);
                let error = client.join().unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Truncated, "{length}: {error}");
            });
        }
    });
}

/// Counts how often one of it is decoded.
#[derive(Serialize)]
struct Counted;
static DECODED: AtomicUsize = AtomicUsize::new(0);
impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        <()>::deserialize(deserializer).map(|()| Counted)
    }
}

#[test]
fn nothing_is_decoded_of_who_is_not_known() {
    checked(|| {
        let settings = Settings::new(&key());
        let (mut says, _) = overheard(&settings);
        let message = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
        says.extend(message.repeat(100));
        for mut listener in both(&settings) {
            for from in [0, 140, CLIENT_SAYS] {
                let mut peer = bare(listener.address());
                peer.write_all(&says[from..]).unwrap();
            }
            assert!(
                listener
                    .accept_timeout::<Counted, Counted>(SOON)
                    .unwrap_err()
                    .is_timeout()
            );
            assert_eq!(listener.refused(), 3);
        }
        assert_eq!(DECODED.load(Ordering::Relaxed), 0);
    });
}

/// A listener's connection to a peer that is known and lies from there on, in bytes.
fn known_liar(settings: &Settings, lie: &[u8]) -> Connection<(), Vec<u8>> {
    let folder = tempfile_folder();
    let path = folder.path().join("between");
    let between = UnixListener::bind(&path).unwrap();
    let mut listener = Listener::local(settings).unwrap();
    let address = listener.address().clone();
    std::thread::scope(|scope| {
        scope.spawn(|| Client::connect::<(), ()>(&Address::Unix(path.clone()), settings));
        let server = scope.spawn(|| listener.accept_timeout(LIMIT).unwrap());
        let (mut client, _) = between.accept().unwrap();
        let mut liar = bare(&address);
        let pass = |from: &mut dyn Read, to: &mut dyn Write, length| {
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes).unwrap();
            to.write_all(&bytes).unwrap();
        };
        pass(&mut client, &mut liar, 140);
        pass(&mut liar, &mut client, 140);
        pass(&mut client, &mut liar, 32);
        pass(&mut liar, &mut client, 33);
        liar.write_all(lie).unwrap();
        server.join().unwrap()
    })
}

#[test]
fn lies_of_a_known_peer_are_errors_in_bounded_time_and_memory() {
    checked(|| {
        let settings = Settings::new(&key());
        let header = |kind: u8, handles: u32, length: u64| {
            [
                &[kind, 0, 0, 0][..],
                &handles.to_le_bytes(),
                &length.to_le_bytes(),
            ]
            .concat()
        };
        let lies = [
            (header(1, 0, 1 << 30), ErrorKind::Truncated),
            (header(1, 0, u64::MAX), ErrorKind::TooLong),
            (header(1, 0, 5), ErrorKind::Truncated),
            (header(1, 0, 5)[..7].to_vec(), ErrorKind::Truncated),
            (header(9, 0, 0), ErrorKind::Malformed),
            (header(1, 1, 0), ErrorKind::Malformed),
            (header(1, u32::MAX, 0), ErrorKind::Malformed),
            ([header(1, 0, 9), vec![255; 9]].concat(), ErrorKind::Codec),
            (vec![], ErrorKind::Disconnected),
        ];
        for (lie, expected) in lies {
            let mut connection = known_liar(&settings, &lie);
            let error = connection.recv_timeout(LIMIT).unwrap_err();
            assert_eq!(error.kind(), expected, "{lie:?}: {error}");
            let next = connection.recv_timeout(LIMIT).unwrap_err().kind();
            let after = match expected {
                ErrorKind::Malformed => ErrorKind::Broken,
                ErrorKind::Truncated | ErrorKind::TooLong => ErrorKind::Truncated,
                _ => ErrorKind::Disconnected,
            };
            assert_eq!(next, after, "{lie:?}");
        }
    });
}

#[test]
fn half_a_message_is_kept_for_the_next_call() {
    checked(|| {
        let settings = Settings::new(&key());
        let mut listener = Listener::tcp(&settings).unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || {
            Client::connect::<Vec<u8>, ()>(&address, &settings).unwrap()
        });
        let mut server: Connection<(), Vec<u8>> = listener.accept_timeout(LIMIT).unwrap();
        let mut client = client.join().unwrap();
        let sender = std::thread::spawn(move || client.send(&vec![3; 16 << 20]).unwrap());
        let mut timeouts = 0;
        let message = loop {
            match server.recv_timeout(Duration::from_micros(300)) {
                Ok(message) => break message,
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
            timeouts += 1;
        };
        sender.join().unwrap();
        assert!(message == vec![3; 16 << 20] && timeouts > 0, "{timeouts}");
    });
}
