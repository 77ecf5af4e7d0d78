//! A start that does not come about: what a library's constructor can do to it.

use std::time::Duration;

use multiproc_process::{Builder, Process, Resource, active_children};
use multiproc_testkit::{Oracle, within};

const LIMIT: Duration = Duration::from_secs(60);
/// For a start that will not come about.
const SHORT: Duration = Duration::from_millis(200);

/// Tells a child what goes wrong before its function is called.
const DISTURB: &str = "MULTIPROC_TEST_DISTURB";

/// As a library's constructor might be.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn disturb() {
        match std::env::var(DISTURB).as_deref() {
            Ok("hang") => multiproc_testkit::forever(),
            Ok("abort") => std::process::abort(),
            _ => {}
        }
    }
    disturb
};

fn oracle() -> Oracle {
    Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap())
}

#[test]
fn a_start_that_hangs_or_dies_is_an_error_of_spawn() {
    let oracle = oracle();
    let disturbed = |how: &str| Process::builder().env(DISTURB, how);
    let spawn = |builder: Builder, timeout| {
        let started = within(LIMIT, move || {
            builder.start_timeout(timeout).spawn(|()| (), ())
        });
        assert_eq!(active_children().len(), 0);
        started.unwrap_err()
    };
    let hung = spawn(disturbed("hang"), SHORT);
    assert!(hung.is_start() && hung.is_timeout(), "{hung}");
    assert!(hung.pid().is_some(), "{hung}");

    let died = spawn(disturbed("abort").limit(Resource::CoreSize, 0), LIMIT);
    assert!(died.is_start() && !died.is_timeout(), "{died}");
    assert_eq!(died.exit_status().unwrap().signal(), Some(libc::SIGABRT));
    oracle.finish();
}
