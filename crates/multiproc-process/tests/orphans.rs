//! Parents that are killed take their children with them, whatever those are doing.
#![allow(clippy::print_stdout, reason = "what children tell, and the figures")]

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use multiproc_process::{Process, StartMethod};
use multiproc_testkit::{Oracle, Percentiles, alive, eventually, forever};

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
        let methods = [StartMethod::Spawn, StartMethod::ForkServer];
        let builder = Process::builder().start_method(methods[how as usize / 2]);
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
