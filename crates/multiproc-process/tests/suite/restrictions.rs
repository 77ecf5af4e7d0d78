//! What a child may use, and how long its start may take.
#![allow(clippy::print_stdout, reason = "what children tell")]

use std::io::{BufRead, BufReader};

use multiproc_process::{Builder, Process, Resource, Stdio, active_children, cpu_count};
use multiproc_testkit::{alive, eventually, kill};

use super::{LIMIT, join, oracle};

/// The first CPU that this process may use.
fn first_cpu() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let (_, list) = status.split_once("Cpus_allowed_list:").unwrap();
    let digits = list.trim_start().split(|c: char| !c.is_ascii_digit());
    digits.into_iter().next().unwrap().parse().unwrap()
}

fn a_child_runs_on_the_cpus_and_with_the_niceness_it_was_given() {
    let oracle = oracle();
    let child = Process::builder()
        .affinity([first_cpu()])
        .niceness(11)
        .umask(0o027)
        .spawn(
            |()| {
                // SAFETY: takes no pointer.
                let niceness = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
                // SAFETY: takes no pointer.
                let umask = unsafe { libc::umask(0) };
                (cpu_count(), niceness, umask)
            },
            (),
        );
    assert_eq!(join(child.unwrap()).unwrap(), (1, 11, 0o027));
    oracle.finish();
}

fn each_limit_is_the_one_it_is_called() {
    let oracle = oracle();
    let most = [
        (Resource::OpenFiles, libc::RLIMIT_NOFILE, 99),
        (Resource::CoreSize, libc::RLIMIT_CORE, 0),
        (Resource::CpuSeconds, libc::RLIMIT_CPU, 77),
        (Resource::AddressSpace, libc::RLIMIT_AS, 1 << 32),
        (Resource::FileSize, libc::RLIMIT_FSIZE, 1 << 20),
        (Resource::Data, libc::RLIMIT_DATA, 1 << 31),
        (Resource::Stack, libc::RLIMIT_STACK, 1 << 20),
        (Resource::Processes, libc::RLIMIT_NPROC, 4000),
        (Resource::LockedMemory, libc::RLIMIT_MEMLOCK, 4096),
    ];
    assert_eq!(most.len(), Resource::ALL.len());
    let limited = |builder: Builder, (resource, _, most): &(Resource, _, u64)| {
        builder.limit(*resource, *most)
    };
    // The last word holds.
    let builder = Process::builder().limit(Resource::OpenFiles, 3);
    let child = most.iter().fold(builder, limited).spawn(
        |numbers: Vec<u32>| {
            let limits = numbers.into_iter().map(|number| {
                let mut limit = libc::rlimit {
                    rlim_cur: 1,
                    rlim_max: 1,
                };
                // SAFETY: `limit` is live and the call fills it.
                unsafe { libc::getrlimit(number, &raw mut limit) };
                (limit.rlim_cur, limit.rlim_max)
            });
            limits.collect::<Vec<_>>()
        },
        most.iter().map(|(_, number, _)| *number).collect(),
    );
    let found = join(child.unwrap()).unwrap();
    for ((resource, _, most), (soft, hard)) in most.into_iter().zip(found) {
        let then = u64::from(resource == Resource::CpuSeconds);
        assert_eq!((soft, hard), (most, most + then), "{resource}");
    }
    oracle.finish();
}

fn a_restriction_that_cannot_be_is_an_error_that_names_it() {
    let oracle = oracle();
    let open = format!("open files cannot be limited to {}", u64::MAX);
    let builder = Process::builder;
    let cases = [
        (builder().niceness(20), "a niceness of 20"),
        (builder().affinity([]), "CPUs [] cannot be chosen"),
        (builder().affinity([first_cpu(), 16383]), "CPU 16383"),
        (builder().umask(0o1777), "a umask of 0o1777"),
        (builder().limit(Resource::OpenFiles, u64::MAX), &open),
        (
            builder().limit(Resource::AddressSpace, 1 << 20),
            "address space is limited to 1048576 bytes",
        ),
    ];
    for (builder, named) in cases {
        let child = builder.spawn(|()| (), ()).unwrap();
        let error = join(child).unwrap_err();
        assert!(error.is_start() && error.exit_status().is_none());
        assert!(error.to_string().contains(named), "{error}");
    }
    oracle.finish();
}

fn address_space_beyond_the_limit_is_refused_and_ends_who_did_not_expect_it() {
    let oracle = oracle();
    let capped = || Process::builder().limit(Resource::AddressSpace, 512 << 20);
    let expected = capped().spawn(
        |()| {
            let small = Vec::<u8>::new().try_reserve(16 << 20).is_ok();
            (small, Vec::<u8>::new().try_reserve(1 << 30).is_err())
        },
        (),
    );
    assert_eq!(join(expected.unwrap()).unwrap(), (true, true));
    let child = capped()
        .limit(Resource::CoreSize, 0)
        .stderr(Stdio::null())
        .spawn(|()| vec![1_u8; 1 << 30].len(), ());
    let error = join(child.unwrap()).unwrap_err();
    assert_eq!(error.exit_status().unwrap().signal(), Some(libc::SIGABRT));
    oracle.finish();
}

fn a_result_that_a_limit_forbids_is_an_error_that_says_so() {
    let oracle = oracle();
    let child = Process::builder()
        .limit(Resource::FileSize, 4096)
        .spawn(|()| vec![7_u8; 1 << 20], ());
    let error = join(child.unwrap()).unwrap_err();
    assert!(
        error.to_string().contains("could not send its result"),
        "{error}"
    );
    oracle.finish();
}

/// Whether this process leads its session.
fn leads_session(_: ()) -> bool {
    // SAFETY: takes no pointer.
    let session = unsafe { libc::getsid(0) };
    u32::try_from(session).unwrap() == std::process::id()
}

fn tell_and_stay(_: ()) {
    println!("{}", std::process::id());
    multiproc_testkit::forever()
}

fn parent_of_a_session(_: ()) {
    let _child = Process::builder().new_session().spawn(tell_and_stay, ());
    multiproc_testkit::forever()
}

fn a_child_in_a_session_of_its_own_dies_with_its_parent_too() {
    let oracle = oracle().with_orphans();
    let usual = Process::spawn(leads_session, ()).unwrap();
    assert!(!join(usual).unwrap());
    let own = Process::builder().new_session().spawn(leads_session, ());
    assert!(join(own.unwrap()).unwrap());

    let (input, output) = std::io::pipe().unwrap();
    let parent = Process::builder()
        .stdout(output)
        .spawn(parent_of_a_session, ());
    let parent = parent.unwrap();
    let mut line = String::new();
    BufReader::new(input).read_line(&mut line).unwrap();
    let child = line.trim_end().parse().unwrap();
    kill(parent.pid(), libc::SIGKILL).unwrap();
    eventually(LIMIT, "the child is gone", || !alive(child));
    join(parent).unwrap_err();
    oracle.finish();
}

fn a_start_that_succeeds_in_time_is_told_and_the_result_comes_as_ever() {
    let oracle = oracle();
    let child = Process::builder().start_timeout(LIMIT).spawn(|n| n + 1, 1);
    assert_eq!(join(child.unwrap()).unwrap(), 2);
    // What goes wrong from the function on is told by `join`.
    let child = Process::builder()
        .start_timeout(LIMIT)
        .spawn(|()| -> () { std::process::abort() }, ());
    let error = join(child.unwrap()).unwrap_err();
    assert!(!error.is_start(), "{error}");
    oracle.finish();
}

fn a_start_that_fails_is_an_error_of_spawn_where_that_waits() {
    let oracle = oracle();
    let odd = Process::builder().niceness(99).start_timeout(LIMIT);
    let refused = odd.spawn(|()| (), ()).unwrap_err();
    assert_eq!(active_children().len(), 0);
    assert!(refused.is_start(), "{refused}");
    assert!(
        refused.to_string().contains("a niceness of 99"),
        "{refused}"
    );
    oracle.finish();
}

fn a_child_that_may_open_nothing_still_runs_its_function() {
    let oracle = oracle();
    for most in 0..8 {
        let child = Process::builder()
            .limit(Resource::OpenFiles, most)
            .limit(Resource::AddressSpace, 1 << 30)
            .spawn(|n: u64| (n + 1, std::fs::File::open("/").is_err()), most);
        let (next, refused) = join(child.unwrap()).unwrap();
        assert_eq!(next, most + 1);
        assert!(refused || most > 3, "three are the standard streams");
    }
    oracle.finish();
}

/// Starts children with streams of every kind while only so many files may be open; how often it failed,
/// and with what error.
fn start_under(limits: Vec<u64>) -> Vec<Option<String>> {
    let set = |most| {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: 1000,
        };
        // SAFETY: `limit` is live.
        assert_eq!(0, unsafe {
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
        });
    };
    let start = || {
        let child = Process::builder()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::captured())
            .start_timeout(LIMIT)
            .spawn(|n: u8| n, 5)?;
        child.join()
    };
    let errors = limits.into_iter().map(|most| {
        set(most);
        let told = start().err().map(|error| error.to_string());
        set(1000);
        assert_eq!(start().unwrap(), 5, "as soon as the limit is raised");
        assert_eq!(active_children().len(), 0);
        told
    });
    errors.collect()
}

fn a_parent_at_any_limit_of_open_files_gets_a_clean_error_and_recovers() {
    let oracle = oracle();
    let child = Process::spawn(start_under, (0..40).collect()).unwrap();
    let told = join(child).unwrap();
    assert!(told[0].is_some() && told[39].is_none(), "{told:?}");
    for error in told.into_iter().flatten() {
        assert!(error.contains("Too many open files"), "{error}");
    }
    oracle.finish();
}

cases![
    a_child_runs_on_the_cpus_and_with_the_niceness_it_was_given,
    each_limit_is_the_one_it_is_called,
    a_restriction_that_cannot_be_is_an_error_that_names_it,
    address_space_beyond_the_limit_is_refused_and_ends_who_did_not_expect_it,
    a_result_that_a_limit_forbids_is_an_error_that_says_so,
    a_child_in_a_session_of_its_own_dies_with_its_parent_too,
    a_start_that_succeeds_in_time_is_told_and_the_result_comes_as_ever,
    a_start_that_fails_is_an_error_of_spawn_where_that_waits,
    a_parent_at_any_limit_of_open_files_gets_a_clean_error_and_recovers,
];

cases_of_closed_children![a_child_that_may_open_nothing_still_runs_its_function,];
