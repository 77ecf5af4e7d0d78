//! What the pool's tests share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses some of it"
)]

use std::time::Duration;

use multiproc_pool::Pool;
use multiproc_process::Process;
use multiproc_testkit::Oracle;

pub const LIMIT: Duration = Duration::from_secs(60);

/// The oracle, once what a process keeps for good (the lifeline, the reaper) is there.
pub fn oracle() -> Oracle {
    Oracle::after(|| {
        let child = Process::spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}

/// The number of the process that runs it.
pub fn pid(_: ()) -> u32 {
    std::process::id()
}

/// Closes and joins a pool within the limit.
pub fn finish(pool: Pool) {
    multiproc_testkit::within(LIMIT, move || {
        pool.close();
        pool.join().unwrap();
    });
}
