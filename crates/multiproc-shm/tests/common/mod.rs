//! What the tests with real processes share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses some of it"
)]

use std::time::Duration;

use multiproc_process::Process;
use multiproc_testkit::{Oracle, within};
use serde::de::DeserializeOwned;

/// The longest that a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The oracle, once what a process keeps for good (the lifeline, the reaper) is there.
pub fn oracle() -> Oracle {
    Oracle::after(|| {
        let child = Process::spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}

/// What a child gives, within the limit.
pub fn join<R: DeserializeOwned + Send + 'static>(child: Process<R>) -> R {
    within(LIMIT, move || child.join().unwrap())
}
