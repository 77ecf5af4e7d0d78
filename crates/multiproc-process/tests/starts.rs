//! Starts that are cut short: a child killed at any step of its own, and no more processes allowed.

use std::time::{Duration, Instant};

use multiproc_process::{Builder, Error, Process, StartMethod, active_children};
use multiproc_testkit::{Oracle, within};

const LIMIT: Duration = Duration::from_secs(60);
const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

fn builder(method: StartMethod) -> Builder {
    Process::builder().start_method(method)
}

fn oracle() -> Oracle {
    Oracle::after(|| {
        for method in METHODS {
            let child = builder(method).spawn(|()| (), ()).unwrap();
            child.on_end(|| ()).unwrap();
            child.join().unwrap();
        }
    })
}

fn spin(duration: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// Moments from a start to well past what one takes.
fn moments() -> impl Iterator<Item = Duration> {
    (0..120).map(|n| Duration::from_micros(n * 20))
}

#[track_caller]
fn returned_or_killed(result: Result<u8, Error>) {
    match result {
        Ok(result) => assert_eq!(result, 5),
        Err(error) => {
            let status = error.exit_status().unwrap_or_else(|| panic!("{error}"));
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{error}");
        }
    }
}

#[test]
fn a_child_that_dies_at_any_step_of_its_start_is_an_error_of_join() {
    let oracle = oracle();
    for method in METHODS {
        for moment in moments() {
            let child = builder(method).spawn(|n: u8| n, 5).unwrap();
            spin(moment);
            child.kill().unwrap();
            returned_or_killed(within(LIMIT, move || child.join()));
        }
    }
    assert_eq!(active_children().len(), 0);
    oracle.finish();
}

#[test]
fn a_child_that_dies_at_any_step_of_a_start_that_is_waited_for_is_an_error_of_that() {
    let oracle = oracle();
    for method in METHODS {
        for moment in moments().step_by(3) {
            let started = within(LIMIT, move || {
                let starting = std::thread::spawn(move || {
                    let child = builder(method).start_timeout(LIMIT).spawn(|n: u8| n, 5)?;
                    child.join()
                });
                loop {
                    if let [child] = &active_children()[..] {
                        spin(moment);
                        child.kill().unwrap();
                        break;
                    }
                    if starting.is_finished() {
                        break;
                    }
                }
                starting.join().unwrap()
            });
            returned_or_killed(started);
        }
    }
    assert_eq!(active_children().len(), 0);
    oracle.finish();
}

#[test]
fn many_threads_start_children_at_once() {
    let oracle = oracle();
    std::thread::scope(|scope| {
        for number in 0..8_u64 {
            scope.spawn(move || {
                for round in 0..6 {
                    let method = METHODS[round % 2];
                    let child = builder(method)
                        .start_timeout(LIMIT)
                        .spawn(|n: u64| n * n, number);
                    assert_eq!(child.unwrap().join_timeout(LIMIT).unwrap(), number * number);
                }
            });
        }
    });
    assert_eq!(active_children().len(), 0);
    oracle.finish();
}

/// Starts children of a user with so few processes; how each attempt failed, if it did. Nothing where this process
/// cannot become a user that has none.
fn start_among_few(most: u64) -> Option<Vec<Option<String>>> {
    /// Nobody's, it is hoped; its limit is counted by itself.
    const USER: libc::uid_t = 54_321;
    // SAFETY: takes no pointer. The privileged are not limited.
    if unsafe { libc::geteuid() } == 0 && unsafe { libc::setuid(USER) } != 0 {
        return None;
    }
    // SAFETY: takes no pointer. Else `/proc/self` would be another user's.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    let set = |most| {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: 1000,
        };
        // SAFETY: `limit` is live.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) };
        assert_eq!(result, 0);
    };
    let start = |method| builder(method).spawn(|n: u8| n, 5)?.join();
    let attempts = METHODS.into_iter().map(|method| {
        set(most);
        let told = start(method).err().map(|error| error.to_string());
        set(1000);
        assert_eq!(start(method).unwrap(), 5, "as soon as the limit is raised");
        assert_eq!(active_children().len(), 0);
        told
    });
    Some(attempts.collect())
}

#[test]
fn a_limit_on_processes_is_a_clean_error_and_over_when_it_is_raised() {
    let oracle = oracle();
    let mut tested = false;
    for most in 0..10 {
        let child = builder(StartMethod::Spawn)
            .spawn(start_among_few, most)
            .unwrap();
        let Some(told) = within(LIMIT, move || child.join()).unwrap() else {
            continue;
        };
        tested = true;
        assert!(
            most > 1 || told.iter().all(Option::is_some),
            "{most}: {told:?}"
        );
        for error in told.into_iter().flatten() {
            assert!(
                error.contains("Resource temporarily unavailable"),
                "{most}: {error}"
            );
        }
    }
    if !tested {
        // Without a standard error there is no report.
        let _nobody_reads = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"NOT TESTED: a limit on processes, since this user cannot become another\n",
        );
    }
    oracle.finish();
}
