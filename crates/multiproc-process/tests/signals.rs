//! What a terminal's signals to a parent do to all below it.
#![allow(clippy::print_stdout, reason = "what children tell")]

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::time::{Duration, Instant};

use multiproc_process::{Process, StartMethod};
use multiproc_testkit::{Oracle, alive, eventually, forever, kill, process_state, within};

const LIMIT: Duration = Duration::from_secs(60);

/// What a terminal, or who asks for an end, sends.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

fn busy(_: ()) {
    println!("{}", std::process::id());
    loop {
        std::hint::spin_loop();
    }
}

/// A parent as a terminal has one in its foreground: it leads a group, and its children lead others.
fn parent(_: ()) {
    for signal in ENDING.into_iter().chain([libc::SIGTSTP]) {
        // A shell and `nohup` have background commands, and so this test perhaps, ignore some.
        // SAFETY: the default disposition is a valid one.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let start = |method| Process::builder().start_method(method).spawn(busy, ());
    let _children =
        [StartMethod::Spawn, StartMethod::ForkServer].map(|method| start(method).unwrap());
    forever()
}

/// The parent, its two children, and what all of them write.
fn family() -> (Process, [u32; 2], BufReader<PipeReader>, PipeReader) {
    let (input, output) = std::io::pipe().unwrap();
    let (said, errors) = std::io::pipe().unwrap();
    let builder = Process::builder().stdout(output).stderr(errors);
    let parent = builder.spawn(parent, ()).unwrap();
    let mut input = BufReader::new(input);
    let children = [(); 2].map(|()| {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        line.trim_end().parse().unwrap()
    });
    (parent, children, input, said)
}

fn oracle() -> Oracle {
    Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap()).with_orphans()
}

/// As a terminal does it.
fn signal_group(leader: u32, signal: i32) {
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { libc::kill(-leader.cast_signed(), signal) }, 0);
}

#[test]
fn ctrl_c_or_a_request_to_end_ends_all_at_once_and_nobody_complains() {
    let oracle = oracle();
    for signal in ENDING {
        let (parent, children, input, mut said) = family();
        let begun = Instant::now();
        signal_group(parent.pid(), signal);
        eventually(LIMIT, "all are gone", || {
            !alive(parent.pid()) && !children.iter().any(|child| alive(*child))
        });
        let took = begun.elapsed();
        let error = within(LIMIT, move || parent.join().unwrap_err());
        assert_eq!(error.exit_status().unwrap().signal(), Some(signal));
        let mut messages = String::new();
        said.read_to_string(&mut messages).unwrap();
        assert_eq!(messages, "");
        // Promised is a second; a busy machine may need longer to look.
        assert!(took < Duration::from_secs(10), "{took:?}");
        drop(input);
    }
    oracle.finish();
}

#[test]
fn ctrl_z_stops_the_parent_and_its_children_run_on() {
    let oracle = oracle();
    let (parent, children, input, said) = family();
    signal_group(parent.pid(), libc::SIGTSTP);
    // It does not stop a group that no shell could continue, as this one is; what stops it then is the same.
    signal_group(parent.pid(), libc::SIGSTOP);
    eventually(LIMIT, "it stops", || {
        process_state(parent.pid()) == Some('T')
    });
    for child in children {
        assert!(
            matches!(process_state(child), Some('R' | 'S')),
            "it runs on"
        );
    }
    signal_group(parent.pid(), libc::SIGCONT);
    eventually(LIMIT, "it goes on", || {
        process_state(parent.pid()) != Some('T')
    });

    // Stopped, it can be killed, and its children go with it.
    signal_group(parent.pid(), libc::SIGSTOP);
    eventually(LIMIT, "it stops again", || {
        process_state(parent.pid()) == Some('T')
    });
    kill(parent.pid(), libc::SIGKILL).unwrap();
    eventually(LIMIT, "all are gone", || {
        !children.iter().any(|child| alive(*child))
    });
    within(LIMIT, move || parent.join().unwrap_err());
    drop((input, said));
    oracle.finish();
}
