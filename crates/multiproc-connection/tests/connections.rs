//! What two sides that mean well can do, over both kinds of address.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use multiproc_connection::{Address, Client, Connection, ErrorKind, Key, Listener, Settings};
use multiproc_process::{Process, Resource};
use multiproc_testkit::{Oracle, within};
use multiproc_wire::Descriptor;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(20);

/// Runs a test under a deadline, and fails it where it leaves something behind.
fn checked(test: impl FnOnce() + Send + 'static) {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    within(LIMIT, test);
    oracle.finish();
}

fn key() -> Key {
    Key::random().unwrap()
}

/// A listener's side and a client's side of one connection.
fn pair<A, B>(
    listener: &mut Listener,
    settings: &Settings,
) -> (Connection<A, B>, Connection<B, A>) {
    let address = listener.address().clone();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(&address, settings).unwrap());
        (
            listener.accept_timeout(LIMIT).unwrap(),
            client.join().unwrap(),
        )
    })
}

fn both(settings: &Settings) -> [Listener; 2] {
    [
        Listener::local(settings).unwrap(),
        Listener::tcp(settings).unwrap(),
    ]
}

fn shout((address, key): (Address, Key)) -> u32 {
    let mut connection: Connection<String, u32> = Client::connect(&address, &key).unwrap();
    let mut sum = 0;
    while let Ok(number) = connection.recv_timeout(LIMIT) {
        sum += number;
        connection.send(&format!("{number}!")).unwrap();
    }
    sum
}

#[test]
fn a_child_connects_to_its_parent() {
    checked(|| {
        for local in [true, false] {
            let key = key();
            let made = if local {
                Listener::local(&key)
            } else {
                Listener::tcp(&key)
            };
            let mut listener = made.unwrap();
            let child = Process::spawn(shout, (listener.address().clone(), key)).unwrap();
            let mut connection: Connection<u32, String> = listener.accept_timeout(LIMIT).unwrap();
            let is_local = matches!(listener.address(), Address::Unix(_));
            assert_eq!(connection.peer().process.is_some(), is_local);
            assert!(connection.peer().is_same_build);
            for number in 1..=100 {
                connection.send(&number).unwrap();
                assert_eq!(
                    connection.recv_timeout(LIMIT).unwrap(),
                    format!("{number}!")
                );
            }
            drop(connection);
            assert_eq!(child.join().unwrap(), 5050);
        }
    });
}

#[test]
fn messages_keep_their_bounds_whatever_their_length() {
    checked(|| {
        let settings = Settings::new(&key());
        for mut listener in both(&settings) {
            let (mut one, mut two) = pair::<Vec<u64>, ()>(&mut listener, &settings);
            let lengths = [0_usize, 1, 100, 16 << 10, (16 << 10) + 1, 16 << 20, 0, 3];
            let sender = std::thread::spawn(move || {
                for length in lengths {
                    one.send_bytes(&vec![length.to_le_bytes()[0] ^ 5; length])
                        .unwrap();
                    one.send(&vec![u64::MAX; length >> 8]).unwrap();
                }
            });
            for length in lengths {
                let bytes = two.recv_bytes_timeout(LIMIT).unwrap();
                assert!(bytes == vec![length.to_le_bytes()[0] ^ 5; length]);
                assert!(two.recv_timeout(LIMIT).unwrap() == vec![u64::MAX; length >> 8]);
            }
            sender.join().unwrap();
            assert!(two.poll(Duration::ZERO).unwrap(), "the end is an answer");
            assert!(two.recv().unwrap_err().is_disconnected());
            assert!(
                two.recv_bytes().unwrap_err().is_disconnected(),
                "and stays one"
            );
            // The kernel may take what is sent until it has heard of the end.
            let error = std::iter::repeat_with(|| two.send(&())).find_map(Result::err);
            assert!(error.unwrap().is_disconnected());
        }
    });
}

#[test]
fn waits_end_at_their_deadline_and_lose_nothing() {
    checked(|| {
        let settings = Settings::new(&key());
        for mut listener in both(&settings) {
            assert!(
                listener
                    .accept_timeout::<(), ()>(SOON)
                    .unwrap_err()
                    .is_timeout()
            );
            let (mut one, mut two) = pair::<u8, u8>(&mut listener, &settings);
            assert!(!two.poll(Duration::ZERO).unwrap() && !two.poll(SOON).unwrap());
            assert!(two.recv_timeout(SOON).unwrap_err().is_timeout());
            assert!(two.recv_bytes_timeout(SOON).unwrap_err().is_timeout());
            one.send(&5).unwrap();
            assert!(two.poll(LIMIT).unwrap());
            assert_eq!(two.recv().unwrap(), 5);
            // Nobody reads: the buffers fill, a part was sent, and nothing can follow it.
            let (mut one, two) = pair::<Vec<u8>, u8>(&mut listener, &settings);
            let error = one.send_timeout(&vec![1; 32 << 20], SOON).unwrap_err();
            assert!(error.is_timeout());
            assert_eq!(one.send(&vec![]).unwrap_err().kind(), ErrorKind::Broken);
            drop(one);
            let mut two = two;
            assert_eq!(two.recv().unwrap_err().kind(), ErrorKind::Truncated);
        }
    });
}

#[test]
fn each_direction_has_its_thread_and_its_end() {
    checked(|| {
        let settings = Settings::new(&key());
        for mut listener in both(&settings) {
            let (one, two) = pair::<u64, u64>(&mut listener, &settings);
            let (mut sending, mut receiving) = one.split();
            let (mut echo_sending, mut echo_receiving) = two.split();
            let echo = std::thread::spawn(move || {
                while let Ok(number) = echo_receiving.recv_timeout(LIMIT) {
                    echo_sending.send(&(number * 2)).unwrap();
                }
            });
            let sender = std::thread::spawn(move || (0..10_000).try_for_each(|n| sending.send(&n)));
            for n in 0..10_000 {
                assert_eq!(receiving.recv_timeout(LIMIT).unwrap(), n * 2);
            }
            // The sending half was dropped with its thread, so that the echo has ended, and with it this.
            sender.join().unwrap().unwrap();
            assert!(receiving.recv_timeout(LIMIT).unwrap_err().is_disconnected());
            echo.join().unwrap();
        }
    });
}

#[test]
fn a_bad_message_costs_one_message() {
    checked(|| {
        let settings = Settings::new(&key()).max_message(1000);
        for mut listener in both(&settings) {
            let (mut one, mut two) = pair::<String, ()>(&mut listener, &settings);
            let error = one.send(&"x".repeat(1000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLong);
            assert_eq!(
                one.send_bytes(&[0; 1001]).unwrap_err().kind(),
                ErrorKind::TooLong
            );
            one.send_bytes(b"bytes").unwrap();
            one.send(&"value".into()).unwrap();
            one.send(&"value".into()).unwrap();
            assert_eq!(
                two.recv_timeout(LIMIT).unwrap_err().kind(),
                ErrorKind::WrongForm
            );
            assert_eq!(
                two.recv_bytes_timeout(LIMIT).unwrap_err().kind(),
                ErrorKind::WrongForm
            );
            assert_eq!(two.recv_timeout(LIMIT).unwrap(), "value");
        }
        // The sides may differ in what they take.
        let generous = Settings::new(&key());
        let strict = generous.clone().max_message(100);
        let mut listener = Listener::local(&generous).unwrap();
        let (mut one, mut two) = pair::<Vec<u8>, bool>(&mut listener, &strict);
        let sender = std::thread::spawn(move || {
            for length in [10, 5_000_000, 20] {
                one.send(&vec![1; length]).unwrap();
            }
        });
        assert_eq!(two.recv_timeout(LIMIT).unwrap().len(), 10);
        let error = two.recv_timeout(LIMIT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLong);
        assert_eq!(two.recv_timeout(LIMIT).unwrap().len(), 20);
        sender.join().unwrap();
    });
}

#[test]
fn a_value_of_another_type_is_an_error_of_that_message() {
    checked(|| {
        let settings = Settings::new(&key());
        let mut listener = Listener::local(&settings).unwrap();
        let address = listener.address().clone();
        let client = std::thread::spawn(move || {
            let mut client: Connection<(u8, u8), ()> =
                Client::connect(&address, &settings).unwrap();
            client.send(&(9, 1)).unwrap();
            client.send(&(1, b'x')).unwrap();
        });
        let mut server: Connection<(), String> = listener.accept_timeout(LIMIT).unwrap();
        assert_eq!(
            server.recv_timeout(LIMIT).unwrap_err().kind(),
            ErrorKind::Codec
        );
        assert_eq!(server.recv_timeout(LIMIT).unwrap(), "x");
        client.join().unwrap();
    });
}

#[test]
fn files_travel_over_a_unix_socket_by_the_hundred() {
    checked(|| {
        let settings = Settings::new(&key());
        let mut listener = Listener::local(&settings).unwrap();
        let (mut one, mut two) = pair::<Vec<Descriptor>, ()>(&mut listener, &settings);
        for count in [1, 253, 254, 600] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let ends: Vec<_> = (0..count)
                .map(|_| Descriptor::from(writer.try_clone().unwrap()))
                .collect();
            one.send(&ends).unwrap();
            drop((ends, writer));
            for end in two.recv_timeout(LIMIT).unwrap() {
                let mut file = File::from(end.into_owned().unwrap());
                file.write_all(b"x").unwrap();
            }
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text.len(), count);
        }
    });
}

#[test]
fn files_over_tcp_are_an_error_and_the_connection_goes_on() {
    checked(|| {
        let settings = Settings::new(&key());
        let mut listener = Listener::tcp(&settings).unwrap();
        let (mut one, mut two) = pair::<Option<Descriptor>, ()>(&mut listener, &settings);
        let file = Descriptor::from(File::open("/dev/null").unwrap());
        let error = one.send(&Some(file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoHandles);
        assert!(error.to_string().contains("over TCP"), "{error}");
        one.send(&None).unwrap();
        assert!(two.recv_timeout(LIMIT).unwrap().is_none());
    });
}

#[test]
fn a_local_listener_has_a_folder_of_its_own_and_leaves_nothing() {
    checked(|| {
        let key = key();
        let listener = Listener::local(&key).unwrap();
        let Address::Unix(path) = listener.address().clone() else {
            panic!("{}", listener.address());
        };
        let folder = path.parent().unwrap().to_owned();
        assert_eq!(
            folder.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        let taken = Listener::bind(listener.address(), &key).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Io);
        assert!(
            taken.to_string().contains(path.to_str().unwrap()),
            "{taken}"
        );
        drop(listener);
        assert!(!folder.exists());
        let gone = Client::connect::<(), ()>(&Address::Unix(path), &key).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Io);
    });
}

#[test]
fn a_listener_goes_on_without_its_clients_and_they_without_it() {
    checked(|| {
        let settings = Settings::new(&key());
        for mut listener in both(&settings) {
            let (one, two) = pair::<u8, u8>(&mut listener, &settings);
            drop((one, two));
            let (mut one, mut two) = pair::<u8, u8>(&mut listener, &settings);
            drop(listener);
            one.send(&1).unwrap();
            assert_eq!(two.recv_timeout(LIMIT).unwrap(), 1);
        }
    });
}

#[test]
fn what_is_no_key_address_or_protocol_is_refused() {
    checked(|| {
        assert_eq!(Key::new("").unwrap_err().kind(), ErrorKind::Invalid);
        assert!(!format!("{:?}", Key::new("secret").unwrap()).contains("secret"));
        for text in ["", "unix:", "tcp:here", "tcp:127.0.0.1", "/tmp/socket"] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        }
        for text in ["unix:/tmp/a socket", "tcp:[::1]:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = Settings::new(&key()).protocol(&"x".repeat(65)).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::Invalid);
        let path = Address::Unix(std::env::temp_dir().join("x".repeat(200)));
        let error = Listener::bind(&path, key()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    });
}

fn few_files((address, key): (Address, Key)) -> String {
    let mut connection: Connection<(), Vec<Descriptor>> = Client::connect(&address, &key).unwrap();
    assert_eq!(connection.recv_timeout(LIMIT).unwrap().len(), 1);
    // Looking does not swallow what receiving has to say.
    assert!(connection.poll(LIMIT).unwrap());
    let error = connection.recv_timeout(LIMIT).unwrap_err();
    let after = connection.recv_timeout(LIMIT).unwrap_err();
    assert_eq!(
        (error.kind(), after.kind()),
        (ErrorKind::Io, ErrorKind::Broken)
    );
    error.to_string()
}

#[test]
fn files_for_which_there_is_no_room_are_an_error_of_the_receiver() {
    checked(|| {
        let key = key();
        let mut listener = Listener::local(&key).unwrap();
        let child = Process::builder()
            .limit(Resource::OpenFiles, 40)
            .spawn(few_files, (listener.address().clone(), key))
            .unwrap();
        let mut connection: Connection<Vec<Descriptor>, ()> =
            listener.accept_timeout(LIMIT).unwrap();
        let files = |count| {
            let open = || Descriptor::from(File::open("/dev/null").unwrap());
            (0..count).map(|_| open()).collect::<Vec<_>>()
        };
        connection.send(&files(1)).unwrap();
        connection.send(&files(100)).unwrap();
        let error = child.join().unwrap();
        assert!(error.contains("too many open files"), "{error}");
    });
}
