//! A program without standard output and error has children that have none, and nothing else in their place.

use std::time::Duration;

use multiproc_process::Process;
use multiproc_testkit::{Oracle, within};

const LIMIT: Duration = Duration::from_secs(60);

/// What a child of a process without standard streams finds at their numbers.
fn parent_without_streams(_: ()) -> Vec<String> {
    for number in [1, 2] {
        // SAFETY: no pointer is passed. The streams are this process's own, and it is the test's.
        unsafe { libc::close(number) };
    }
    let look = |()| -> Vec<String> {
        let target = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
        (1..=2)
            .map(|number| target(number).unwrap().display().to_string())
            .collect()
    };
    Process::spawn(look, ()).unwrap().join().unwrap()
}

#[test]
fn closed_streams_are_nothing_in_a_child() {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    let parent = Process::spawn(parent_without_streams, ()).unwrap();
    let found = within(LIMIT, move || parent.join().unwrap());
    assert_eq!(found, ["/dev/null", "/dev/null"]);
    oracle.finish();
}
