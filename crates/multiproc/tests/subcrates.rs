//! Each crate that is found here, used once as a user would.

use std::error::Error;
use std::time::Duration;

use multiproc_testkit::{Oracle, within};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn process() {
    let run = || multiproc::Process::spawn(|n: u64| n * n, 12)?.join();
    let oracle = Oracle::after(run);
    assert_eq!(within(LIMIT, run).unwrap(), 144);
    oracle.finish();
}

#[test]
fn pool() {
    let run = || {
        multiproc::Pool::new(2)?
            .map(|n: u64| n * n, 1..=3)
            .map_err(Into::into)
    };
    let oracle = Oracle::after(run);
    let squares: Result<_, Box<dyn Error + Send + Sync>> = within(LIMIT, run);
    assert_eq!(squares.unwrap(), [1, 4, 9]);
    oracle.finish();
}

#[test]
fn shm() {
    let oracle = Oracle::begin();
    let array = multiproc::SharedArray::from_slice(&[2, 3, 4]).unwrap();
    array.lock().unwrap()[0] = 9;
    assert_eq!(array.to_vec().unwrap(), [9, 3, 4]);
    let value = multiproc::SharedValue::new(5).unwrap();
    value.set(6).unwrap();
    assert_eq!(value.get().unwrap(), 6);
    drop((array, value));
    oracle.finish();
}

#[test]
fn channel() {
    let run = || {
        let (sender, receiver) = multiproc::channel().unwrap();
        let send = |sender: multiproc::Sender<u64>| sender.send(7).is_ok();
        let child = multiproc::Process::spawn(send, sender).unwrap();
        (receiver.recv().unwrap(), child.join().unwrap())
    };
    let oracle = Oracle::after(run);
    assert_eq!(within(LIMIT, run), (7, true));
    oracle.finish();
}

#[test]
fn connection() {
    let run = || {
        let key = multiproc::connection::Key::random().unwrap();
        let mut listener = multiproc::Listener::local(&key).unwrap();
        let client = |(address, key)| {
            let connected = multiproc::Client::connect::<u8, ()>(&address, &key);
            connected.unwrap().send(&7).unwrap();
        };
        let child = multiproc::Process::spawn(client, (listener.address().clone(), key)).unwrap();
        let mut connection: multiproc::Connection<(), u8> = listener.accept().unwrap();
        let received = connection.recv().unwrap();
        child.join().unwrap();
        received
    };
    let oracle = Oracle::after(run);
    assert_eq!(within(LIMIT, run), 7);
    oracle.finish();
}

#[test]
fn wire() {
    let failure = multiproc::Failure::from("it is broken");
    assert_eq!(failure.into_error().to_string(), "it is broken");
}
