//! Parents that are killed take their children with them, whatever those are doing.
#![allow(clippy::print_stdout, reason = "what children tell, and the figures")]

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use multiproc_process::{Process, StartMethod};
use multiproc_testkit::{Oracle, Percentiles, alive, descendants, eventually, forever, within};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 40;

/// What a grandchild does when its parent is killed.
fn misbehave(how: u32) {
    println!("{how} {}", std::process::id());
    match how {
        0 => forever(),
        1 => loop {
            std::hint::spin_loop();
        },
        2 => {
            // Blocks every signal that can be, and spins.
            // SAFETY: a plain C structure that `sigfillset` fills.
            let mut all = unsafe { std::mem::zeroed() };
            // SAFETY: `all` is live.
            unsafe { libc::sigfillset(&raw mut all) };
            // SAFETY: `all` is filled; a null old mask is allowed.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) };
            loop {
                std::hint::spin_loop();
            }
        }
        _ => {
            // SAFETY: takes no pointer.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
    }
}

/// Two of the children by each method that a process with threads can use.
fn parent_of_four(_: ()) {
    let start = |how: u32| {
        let builder = Process::builder().start_method(METHODS[how as usize / 2]);
        builder.spawn(misbehave, how).unwrap()
    };
    let _children: Vec<_> = (0..4).map(start).collect();
    forever()
}

#[test]
fn no_child_outlives_a_killed_parent() {
    let oracle =
        Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap()).with_orphans();
    let mut gone = Percentiles::new("parent killed to all four children gone");
    for _ in 0..ROUNDS {
        let (input, output) = std::io::pipe().unwrap();
        let parent = Process::builder()
            .stdout(output)
            .spawn(parent_of_four, ())
            .unwrap();
        let mut lines = BufReader::new(input).lines();
        let mut pids = vec![];
        while pids.len() < 4 {
            let line = lines.next().unwrap().unwrap();
            let (how, pid) = line.split_once(' ').unwrap();
            let pid: u32 = pid.parse().unwrap();
            if how == "3" {
                eventually(LIMIT, "the child stops", || {
                    multiproc_testkit::process_state(pid) == Some('T')
                });
            }
            pids.push(pid);
        }
        let killed = Instant::now();
        multiproc_testkit::kill(parent.pid(), libc::SIGKILL).unwrap();
        eventually(LIMIT, "the children are gone", || {
            !pids.iter().any(|pid| alive(*pid))
        });
        gone.add(killed.elapsed());
        assert!(parent.join().unwrap_err().exit_status().is_some());
    }
    gone.report();
    assert!(gone.p50() < Duration::from_secs(1), "{gone}");
    oracle.finish();
}

/// What a parent is at when it is killed.
const MOMENTS: [&str; 5] = ["idle", "busy", "spawning", "nested", "shutting down"];

fn idle(_: ()) {
    forever()
}

fn busy(_: ()) {
    loop {
        std::hint::spin_loop();
    }
}

fn parent_of_idle(_: ()) {
    let _child = Process::spawn(idle, ()).unwrap();
    forever()
}

const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::ForkServer];

fn children(function: fn(())) -> Vec<Process> {
    let start = |method| Process::builder().start_method(method).spawn(function, ());
    METHODS.map(|method| start(method).unwrap()).into()
}

fn at(moment: usize) {
    let _children = match moment {
        0 => children(idle),
        1 => children(busy),
        2 => {
            println!("begins");
            for method in METHODS.into_iter().cycle() {
                let child = Process::builder().start_method(method).spawn(|()| (), ());
                drop(child.unwrap());
            }
            Vec::new()
        }
        3 => children(parent_of_idle),
        _ => {
            for child in children(idle) {
                child.detach();
            }
            // Children that are killed at the end, and one that is waited for.
            let daemon = Process::builder().daemon(true).spawn(busy, ());
            drop(daemon.unwrap());
            drop(Process::spawn(idle, ()).unwrap());
            println!("ends");
            return;
        }
    };
    println!("is there");
    forever()
}

/// All below this process that are alive; those that are dead, but for `parent`, are reaped.
fn alive_below(parent: u32) -> usize {
    let below = descendants(std::process::id());
    for process in &below {
        if !process.is_alive() && process.pid != parent {
            let pid = process.pid.cast_signed();
            // SAFETY: a null status is allowed.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        }
    }
    below.iter().filter(|process| process.is_alive()).count()
}

#[test]
fn nothing_outlives_a_parent_that_is_killed_at_any_moment() {
    let oracle = Oracle::after(|| {
        let first = Process::builder().start_method(StartMethod::Spawn);
        first.spawn(|()| (), ()).unwrap().join().unwrap();
    });
    let oracle = oracle.with_orphans();
    let rounds: u64 =
        std::env::var("MULTIPROC_PARENT_KILLS").map_or(60, |rounds| rounds.parse().unwrap());
    let before = alive_below(0);
    let mut gone = Percentiles::new("parent killed at a random moment to nothing left");
    let mut gone_when = MOMENTS.map(|moment| Percentiles::new(format!("of these, {moment}")));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..rounds {
        let moment = usize::try_from(round).unwrap() % MOMENTS.len();
        let (input, output) = std::io::pipe().unwrap();
        let parent = Process::builder().stdout(output).spawn(at, moment).unwrap();
        let mut line = String::new();
        let mut input = BufReader::new(input);
        input.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{} is told of", MOMENTS[moment]);
        // Up to 4 ms later.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let pause = Duration::from_nanos(random >> 42);
        let begun = Instant::now();
        while begun.elapsed() < pause {
            std::hint::spin_loop();
        }
        let killed = Instant::now();
        multiproc_testkit::kill(parent.pid(), libc::SIGKILL).unwrap();
        // All of them write there, and the last to end is its end. To look for them would take the time that they need.
        let took = within(LIMIT, move || {
            input.read_to_end(&mut Vec::new()).unwrap();
            killed.elapsed()
        });
        gone.add(took);
        gone_when[moment].add(took);
        eventually(LIMIT, MOMENTS[moment], || {
            alive_below(parent.pid()) == before
        });
        // What it returned stands, if it has.
        let _returned = parent.join();
        let status = parent.exit_status().unwrap().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{}", MOMENTS[moment]);
    }
    gone.report();
    for gone in gone_when {
        gone.report();
    }
    assert!(gone.p50() < Duration::from_secs(1), "{gone}");
    oracle.finish();
}
