//! The fork server's own life: its deaths, what it preloads, how it answers, how it ends.
#![allow(clippy::print_stdout, reason = "what children tell")]

use std::io::{BufRead, BufReader};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc_process::{
    Builder, Error, Process, Resource, StartMethod, active_children, set_forkserver_preload,
};
use multiproc_testkit::{
    Oracle, ProcessInfo, SIGKILL, SIGSTOP, SIGTERM, alive, descendants, eventually, forever, kill,
    within,
};

const LIMIT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn builder() -> Builder {
    Process::builder().start_method(StartMethod::ForkServer)
}

fn idle(_: ()) {
    forever()
}

/// The oracle, which does not see a server: `end_server` ends the one there is.
fn oracle() -> Oracle {
    Oracle::after(|| {
        let child = builder().spawn(|()| (), ()).unwrap();
        child.on_end(|| ()).unwrap();
        child.join().unwrap();
    })
}

fn join<R: serde::de::DeserializeOwned + Send + 'static>(child: Process<R>) -> Result<R, Error> {
    within(LIMIT, move || child.join())
}

/// The number of this process's fork server.
fn server() -> Option<u32> {
    let own = std::process::id();
    let below = descendants(own).into_iter();
    let mut servers = below.filter(|process| process.ppid == own && is_server(process));
    let server = servers.next().map(|process| process.pid);
    assert_eq!(servers.next(), None, "there is one at most");
    server
}

/// A child that was just forked has the server's name, but never called exec.
fn is_server(process: &ProcessInfo) -> bool {
    /// `PF_FORKNOEXEC` of the kernel.
    const FORKED: u64 = 0x40;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid));
    let stat = stat.unwrap_or_default();
    let flags = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(6));
    let flags: u64 = flags.map_or(FORKED, |flags| flags.parse().unwrap());
    process.is_alive() && process.command.starts_with("multiproc-forkserver") && flags & FORKED == 0
}

/// Runs `case` in a process of its own, whose server is its own.
fn apart(case: fn(())) {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    join(Process::spawn(case, ()).unwrap()).unwrap();
    oracle.finish();
}

#[test]
fn a_child_outlives_the_server_that_forked_it_and_the_next_one_has_another() {
    apart(|()| {
        for signal in [SIGKILL, SIGTERM] {
            let child = builder().spawn(idle, ()).unwrap();
            let first = server().unwrap();
            assert_eq!(active_children().len(), 1, "the server is not among them");
            kill(first, signal).unwrap();
            eventually(LIMIT, "the server ends", || !alive(first));
            assert!(child.is_alive().unwrap());
            let next = builder().spawn(|n: u64| n + 1, 1).unwrap();
            assert_eq!(next.join().unwrap(), 2);
            assert_ne!(server(), Some(first));
            child.kill().unwrap();
            let error = child.join().unwrap_err();
            assert_eq!(error.exit_status().unwrap().signal(), Some(SIGKILL));
        }
    });
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_start_is_lost_with_servers_that_are_killed_at_any_moment() {
    apart(|()| {
        let rounds: u64 =
            std::env::var("MULTIPROC_SERVER_KILLS").map_or(150, |rounds| rounds.parse().unwrap());
        let (done, killed) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            // Also where an assertion fails: the scope waits for the killer.
            let _done = SetWhenDropped(&done);
            scope.spawn(|| {
                let mut wait = 1_u64;
                while !done.load(Ordering::Relaxed) {
                    // Another moment each time.
                    wait = wait.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let begun = Instant::now();
                    let pause = Duration::from_micros(wait >> 51);
                    while begun.elapsed() < pause {
                        std::hint::spin_loop();
                    }
                    if let Some(server) = server().filter(|server| kill(*server, SIGKILL).is_ok()) {
                        killed.fetch_add(1, Ordering::Relaxed);
                        eventually(LIMIT, "it is gone", || !alive(server));
                    }
                }
            });
            for n in 0..rounds {
                match builder().spawn(|n: u64| n + 1, n) {
                    Ok(child) => assert_eq!(child.join().unwrap(), n + 1),
                    // Three servers in a row, killed each before it could fork.
                    Err(error) => {
                        assert!(error.to_string().contains("fork server ended"), "{error}")
                    }
                }
            }
        });
        assert!(killed.load(Ordering::Relaxed) > 0);
        assert_eq!(active_children().len(), 0);
        let own = std::process::id();
        let left: Vec<_> = descendants(own)
            .into_iter()
            .filter(|process| {
                process.ppid == own && !is_server(process) && process.command != "[multiproc-fork]"
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_server_that_does_not_answer_is_an_error_in_time_and_is_replaced() {
    apart(|()| {
        builder().spawn(|()| (), ()).unwrap().join().unwrap();
        let stopped = server().unwrap();
        kill(stopped, SIGSTOP).unwrap();
        let error = builder()
            .start_timeout(SHORT)
            .spawn(|()| (), ())
            .unwrap_err();
        assert!(error.is_start() && error.is_timeout(), "{error}");
        assert!(!alive(stopped));
        let child = builder().start_timeout(LIMIT).spawn(|()| 5, ()).unwrap();
        assert_eq!(child.join().unwrap(), 5);
    });
}

static STATE: OnceLock<String> = OnceLock::new();

fn state(_: ()) -> Option<String> {
    STATE.get().cloned()
}

#[test]
fn what_is_preloaded_is_there_in_each_child_and_can_be_replaced() {
    apart(|()| {
        let load = |text: String| STATE.set(text).unwrap();
        let state = || builder().spawn(state, ()).unwrap().join().unwrap();
        assert_eq!(state(), None);
        set_forkserver_preload(load, "first".to_string()).unwrap();
        assert_eq!(
            [state(), state()],
            [(); 2].map(|()| Some("first".to_string()))
        );
        kill(server().unwrap(), SIGKILL).unwrap();
        assert_eq!(
            state(),
            Some("first".to_string()),
            "again, by another server"
        );
        set_forkserver_preload(load, "second".to_string()).unwrap();
        assert_eq!(state(), Some("second".to_string()));
        assert_eq!(STATE.get(), None, "not here");
    });
}

#[test]
fn a_preload_that_goes_wrong_is_an_error_of_the_start() {
    apart(|()| {
        let error = || builder().spawn(|()| (), ()).unwrap_err();
        set_forkserver_preload(|()| panic!("no such model"), ()).unwrap();
        let panicked = error();
        assert!(panicked.is_start(), "{panicked}");
        assert!(
            panicked.to_string().contains("could not preload"),
            "{panicked}"
        );
        assert!(panicked.to_string().contains("no such model"), "{panicked}");

        set_forkserver_preload(|()| std::process::abort(), ()).unwrap();
        let died = error();
        assert!(died.to_string().contains("SIGABRT"), "{died}");

        set_forkserver_preload(|()| drop(std::thread::spawn(|| forever())), ()).unwrap();
        let threads = error();
        assert!(threads.to_string().contains("this one has 2"), "{threads}");

        set_forkserver_preload(|()| forever(), ()).unwrap();
        let hung = builder()
            .start_timeout(SHORT)
            .spawn(|()| (), ())
            .unwrap_err();
        assert!(hung.is_timeout() && hung.is_start(), "{hung}");

        set_forkserver_preload(|()| (), ()).unwrap();
        builder().spawn(|()| (), ()).unwrap().join().unwrap();
    });
}

#[test]
fn a_preload_may_have_children_of_its_own() {
    apart(|()| {
        set_forkserver_preload(
            |()| {
                let child = Process::builder()
                    .start_method(StartMethod::Spawn)
                    .spawn(|()| 7, ());
                assert_eq!(child.unwrap().join().unwrap(), 7);
            },
            (),
        )
        .unwrap();
        let nested = |()| {
            let child = builder().spawn(|()| 8, ()).unwrap();
            child.join().unwrap()
        };
        assert_eq!(builder().spawn(nested, ()).unwrap().join().unwrap(), 8);
    });
}

#[test]
fn a_child_has_the_name_the_folder_and_the_streams_of_now() {
    let oracle = oracle();
    let command = |()| std::fs::read("/proc/self/cmdline").unwrap();
    for name in ["short", &"long".repeat(100)] {
        let child = builder().name(name).spawn(command, ()).unwrap();
        let mut expected = name.as_bytes().to_vec();
        expected.truncate(127);
        expected.push(0);
        assert_eq!(join(child).unwrap(), expected);
    }
    apart_in_turn(|()| {
        builder().spawn(|()| (), ()).unwrap().join().unwrap();
        std::env::set_current_dir("/").unwrap();
        // SAFETY: no other thread of this process reads the environment.
        unsafe { std::env::set_var("SET_AFTER", "the server's start") };
        let child = builder().spawn(
            |()| {
                (
                    std::env::current_dir().unwrap(),
                    std::env::var("SET_AFTER").unwrap(),
                )
            },
            (),
        );
        let found = child.unwrap().join().unwrap();
        assert_eq!(found, ("/".into(), "the server's start".to_string()));
    });
    oracle.finish();
}

#[test]
fn a_child_has_its_parents_environment_whatever_the_server_has() {
    apart(|()| {
        let preload = |()| {
            // SAFETY: the server has one thread.
            unsafe { std::env::set_var("OF_THE_SERVER", "alone") };
        };
        let seen = |()| ["OF_THE_SERVER", "GIVEN"].map(|name| std::env::var_os(name).is_some());
        set_forkserver_preload(preload, ()).unwrap();
        let usual = builder().spawn(seen, ()).unwrap();
        assert_eq!(usual.join().unwrap(), [false, false]);
        // Longer than a packet, and for a child that may open nothing.
        let long = "long".repeat(30_000);
        let given = builder().env("GIVEN", &long).env_remove("PATH");
        let given = given.limit(Resource::OpenFiles, 0).spawn(
            |()| {
                (
                    std::env::var("GIVEN").unwrap().len(),
                    std::env::var_os("PATH"),
                )
            },
            (),
        );
        assert_eq!(given.unwrap().join().unwrap(), (long.len(), None));
        let none = builder()
            .env_clear()
            .spawn(|()| std::env::vars_os().count(), ());
        assert_eq!(none.unwrap().join().unwrap(), 0);
    });
}

#[test]
fn an_order_of_any_length_arrives_with_or_without_an_environment_of_its_own() {
    apart(|()| {
        let found = |text: String| (text.len(), std::env::var_os("GIVEN").is_some());
        // It goes with the request up to some length, over the child's link beyond that, in memory beyond that.
        for length in [0, 3_800, 4_000, 4_096, 5_000, 40_000, 1 << 20] {
            for given in [false, true] {
                let mut builder = builder();
                if given {
                    builder = builder.env("GIVEN", "");
                }
                let child = builder.spawn(found, "x".repeat(length)).unwrap();
                assert_eq!(child.join().unwrap(), (length, given));
            }
            // The next is asked of a server that does not answer any more, and then of another.
            kill(server().unwrap(), SIGKILL).unwrap();
        }
    });
}

fn apart_in_turn(case: fn(())) {
    join(Process::spawn(case, ()).unwrap()).unwrap();
}

#[test]
fn a_child_has_no_descriptor_of_the_servers() {
    let oracle = oracle();
    let open = |()| {
        let own = std::fs::read_dir("/proc/self/fd").unwrap();
        // One of them reads the list.
        own.count() - 1
    };
    let spawned = Process::builder()
        .start_method(StartMethod::Spawn)
        .spawn(open, ());
    let forked = builder().spawn(open, ()).unwrap();
    assert_eq!(join(forked).unwrap(), join(spawned.unwrap()).unwrap());
    oracle.finish();
}

#[test]
fn server_and_children_end_with_a_killed_parent() {
    let oracle = oracle().with_orphans();
    let (input, output) = std::io::pipe().unwrap();
    let parent = Process::builder().stdout(output).spawn(
        |()| {
            let child = builder().spawn(idle, ()).unwrap();
            println!("{} {}", server().unwrap(), child.pid());
            forever()
        },
        (),
    );
    let parent: Process<()> = parent.unwrap();
    let mut line = String::new();
    BufReader::new(input).read_line(&mut line).unwrap();
    let pids: Vec<u32> = line
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect();
    kill(parent.pid(), SIGKILL).unwrap();
    eventually(LIMIT, "all are gone", || {
        !pids.iter().any(|pid| alive(*pid))
    });
    join(parent).unwrap_err();
    oracle.finish();
}

#[test]
fn a_server_that_cannot_fork_says_so_and_goes_on() {
    apart(|()| {
        builder().spawn(|()| (), ()).unwrap().join().unwrap();
        let odd = builder()
            .limit(Resource::OpenFiles, u64::MAX)
            .spawn(|()| (), ());
        let error = odd.unwrap().join().unwrap_err();
        assert!(error.is_start(), "{error}");
        let lost = builder()
            .cwd("/no/such/folder")
            .spawn(|()| (), ())
            .unwrap_err();
        assert!(lost.to_string().contains("No such file"), "{lost}");
        let first = server();
        builder().spawn(|()| (), ()).unwrap().join().unwrap();
        assert_eq!(server(), first);
    });
}
