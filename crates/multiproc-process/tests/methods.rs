//! How a start method is chosen, what a fork refuses, and what it takes along.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use multiproc_process::{
    Error, ForkPromise, Process, StartMethod, Stdio, current_process, force_start_method,
    get_start_method, is_child, parent_process, set_start_method,
};
use multiproc_testkit::{Oracle, SIGKILL, forever, within};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `case` in a process that was just started, which has one thread.
fn apart<R>(case: fn(()) -> R) -> R
where
    R: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    let apart = Process::builder()
        .start_method(StartMethod::Spawn)
        .spawn(case, ());
    let apart = apart.unwrap();
    let result = within(LIMIT, move || apart.join()).unwrap();
    oracle.finish();
    result
}

fn alone() -> ForkPromise {
    // SAFETY: the cases' children use copies of plain values, and what they are given.
    unsafe { ForkPromise::alone() }
}

/// The command line of a child, by which it is told how it came to be.
fn came_by(child: Result<Process<bool>, Error>) -> bool {
    child.unwrap().join().unwrap()
}

/// Whether this process was forked rather than started: its thread's `/proc` entry knows.
fn was_forked(_: ()) -> bool {
    /// `PF_FORKNOEXEC` of the kernel.
    const FORKED: u64 = 0x40;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let rest = stat.rsplit(')').next().unwrap();
    let flags: u64 = rest.split_whitespace().nth(6).unwrap().parse().unwrap();
    flags & FORKED != 0
}

#[test]
fn the_start_method_is_chosen_once_or_by_force_and_children_do_as_their_parent() {
    apart(|()| {
        assert_eq!(get_start_method(), StartMethod::Spawn);
        set_start_method(StartMethod::ForkServer).unwrap();
        let again = set_start_method(StartMethod::Spawn).unwrap_err();
        assert!(
            again.to_string().contains("is started by forkserver here"),
            "{again}"
        );
        assert!(came_by(Process::spawn(was_forked, ())));
        let nested = |()| {
            assert_eq!(get_start_method(), StartMethod::ForkServer);
            // A child may choose otherwise, before it starts one.
            set_start_method(StartMethod::Spawn).unwrap();
            came_by(Process::spawn(was_forked, ()))
        };
        assert!(!came_by(Process::spawn(nested, ())));
        let explicit = Process::builder().start_method(StartMethod::Spawn);
        assert!(!came_by(explicit.spawn(was_forked, ())));
        force_start_method(StartMethod::Fork(alone()));
        assert!(came_by(Process::spawn(was_forked, ())));
        force_start_method(StartMethod::Spawn);
        assert!(!came_by(Process::spawn(was_forked, ())));
    });
}

#[test]
fn the_first_child_that_is_started_as_usual_fixes_the_choice() {
    apart(|()| {
        // This one was not.
        let explicit = Process::builder().start_method(StartMethod::ForkServer);
        explicit.spawn(|()| (), ()).unwrap().join().unwrap();
        set_start_method(StartMethod::Spawn).unwrap();
    });
    apart(|()| {
        Process::spawn(|()| (), ()).unwrap().join().unwrap();
        let late = set_start_method(StartMethod::ForkServer).unwrap_err();
        assert!(
            late.to_string().contains("is started by spawn here"),
            "{late}"
        );
    });
}

#[test]
fn methods_have_pythons_names() {
    for (name, method) in [
        ("spawn", StartMethod::Spawn),
        ("forkserver", StartMethod::ForkServer),
    ] {
        assert_eq!(name.parse::<StartMethod>().unwrap(), method);
        assert_eq!(method.to_string(), name);
    }
    assert_eq!(StartMethod::Fork(alone()).to_string(), "fork");
    let fork = "fork".parse::<StartMethod>().unwrap_err();
    assert!(fork.to_string().contains("promise"), "{fork}");
    let odd = "thread".parse::<StartMethod>().unwrap_err();
    assert!(
        odd.to_string()
            .contains(r#"by "thread": the start methods are"#),
        "{odd}"
    );
}

#[test]
fn a_process_with_other_threads_is_forked_only_if_that_was_promised() {
    apart(|()| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stopped.recv());
        let fork = |promise| {
            let method = StartMethod::Fork(promise);
            Process::builder()
                .start_method(method)
                .spawn(was_forked, ())
        };
        let error = fork(alone()).unwrap_err();
        assert!(error.is_start(), "{error}");
        assert!(error.to_string().contains("1 other threads"), "{error}");
        // SAFETY: the other thread waits for a message, and holds nothing else.
        assert!(came_by(fork(unsafe { ForkPromise::among_threads() })));
        drop(stop);
        other.join().unwrap().unwrap_err();
        assert!(came_by(fork(alone())));
    });
}

#[test]
fn the_librarys_own_threads_do_not_count() {
    apart(|()| {
        // The reaper's, and the one that reads what children write.
        let watched = Process::builder()
            .start_method(StartMethod::Spawn)
            .stdout(Stdio::captured())
            .spawn(|()| forever(), ());
        let watched: Process<()> = watched.unwrap();
        watched.on_end(|| ()).unwrap();
        let forked = |n: u32| -> u32 {
            // What the parent's threads did is done by threads of its own.
            let (tell, told) = std::sync::mpsc::channel();
            let child = Process::builder()
                .start_method(StartMethod::Spawn)
                .stdout(Stdio::captured())
                .spawn(|n: u32| n, n)
                .unwrap();
            child.on_end(move || tell.send(()).unwrap()).unwrap();
            told.recv_timeout(LIMIT).unwrap();
            child.join().unwrap()
        };
        for n in 0..20 {
            let fork = Process::builder().start_method(StartMethod::Fork(alone()));
            assert_eq!(fork.spawn(forked, n).unwrap().join().unwrap(), n);
        }
        watched.kill().unwrap();
        watched.join().unwrap_err();
    });
}

#[test]
fn a_callback_of_the_library_cannot_fork() {
    let error = apart(|()| {
        let (tell, told) = std::sync::mpsc::channel();
        let child = Process::builder()
            .start_method(StartMethod::Spawn)
            .spawn(|()| (), ());
        let child = child.unwrap();
        child
            .on_end(move || {
                let fork = Process::builder().start_method(StartMethod::Fork(alone()));
                tell.send(fork.spawn(|()| (), ()).unwrap_err().to_string())
                    .unwrap();
            })
            .unwrap();
        let error = told.recv_timeout(LIMIT).unwrap();
        child.join().unwrap();
        error
    });
    assert!(error.contains("on a thread of the library"), "{error}");
}

#[test]
fn a_forked_closure_takes_along_what_it_captures() {
    apart(|()| {
        // Neither could travel.
        let here = Rc::new(Cell::new(1));
        let pid = std::process::id();
        // SAFETY: the child uses its copies only.
        let child = unsafe {
            Process::builder().name("copy").fork(alone(), || {
                here.set(here.get() + 1);
                let parent = parent_process().unwrap();
                assert!(is_child() && parent.pid() == pid && parent.is_alive());
                assert_eq!(current_process().name(), "copy");
                here.get()
            })
        };
        assert_eq!(child.unwrap().join().unwrap(), 2);
        assert_eq!(here.get(), 1, "its copy was changed, and not this one");

        let quiet = Process::builder().print_panics(false);
        // SAFETY: as above.
        let panics = unsafe { quiet.fork(alone(), || -> u8 { panic!("in the copy") }) };
        let error = panics.unwrap().join().unwrap_err();
        assert_eq!(error.panic().unwrap().message, "in the copy");

        // SAFETY: as above.
        let dies = unsafe { Process::builder().fork(alone(), || -> u8 { forever() }) };
        let dies = dies.unwrap();
        dies.kill().unwrap();
        let error = dies.join().unwrap_err();
        assert_eq!(error.exit_status().unwrap().signal(), Some(SIGKILL));
    });
}

#[test]
fn a_forked_child_does_not_run_its_parents_exit_handlers_nor_write_its_words_again() {
    let oracle = Oracle::after(|| Process::spawn(|()| (), ()).unwrap().join().unwrap());
    let printed = {
        let (input, output) = std::io::pipe().unwrap();
        let parent = Process::builder().stdout(output).spawn(
            |()| {
                extern "C" fn say() {
                    // SAFETY: a C string.
                    unsafe { libc::puts(c"handler".as_ptr()) };
                }
                // SAFETY: `say` is a function for the life of the image.
                unsafe { libc::atexit(say) };
                // SAFETY: a C string; it stays in the stream's buffer.
                unsafe { libc::printf(c"held back by C, ".as_ptr()) };
                std::io::Write::write_all(&mut std::io::stdout(), b"and by Rust, ").unwrap();
                let fork = Process::builder().start_method(StartMethod::Fork(alone()));
                fork.spawn(|()| (), ()).unwrap().join().unwrap();
            },
            (),
        );
        let parent = parent.unwrap();
        within(LIMIT, move || parent.join()).unwrap();
        std::io::read_to_string(input).unwrap()
    };
    for word in ["handler", "held back by C, ", "and by Rust, "] {
        assert_eq!(printed.matches(word).count(), 1, "{printed:?}");
    }
    oracle.finish();
}
