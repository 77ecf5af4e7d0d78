//! `examples`: builds each example as a user does, runs it, and compares what it prints with what it must print.
//!
//! Every file in `examples/` has an expectation here and every expectation its file; an example fails when it leaves a
//! process, a zombie, a descriptor or a shared-memory entry behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use multiproc_testkit::{Oracle, Program};

use crate::steps::{Outcome, Steps, cargo, root, run as run_command, target};

#[cfg(test)]
mod tests;

/// What an example printed, judged.
type Expectation = fn(&str) -> Outcome;

const EXPECTATIONS: [(&str, Expectation); 15] = [
    ("array_cubes", |text| {
        exactly(
            "[8, 27, 64, 125, 216, 343, 512, 729, 1000, 1331, 1728, 2197, 2744, 3375, 4096]\n",
            text,
        )
    }),
    ("crash_containment", crash_containment),
    ("lifecycle", |text| exactly(LIFECYCLE, text)),
    ("limits", |text| {
        exactly(LIMITS, &text.replace(KILLED, ABORTED))
    }),
    ("mandelbrot", mandelbrot),
    ("monte_carlo_pi", monte_carlo_pi),
    ("ping_pong", ping_pong),
    ("pipeline", pipeline),
    ("pool_squares", |text| {
        exactly("[1, 4, 9, 16, 25, 36, 49, 64, 81]\n", text)
    }),
    ("processes_vs_threads", processes_vs_threads),
    ("producer_consumer", |text| {
        exactly(
            "[1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144, 169, 196, 225, 256, 289, 324, 361, 400]\n\
             0 left in the buffer\n",
            text,
        )
    }),
    ("random_numbers", random_numbers),
    ("shared_histogram", |text| exactly(HISTOGRAM, text)),
    ("timeline", timeline),
    ("word_count", word_count),
];

const LIFECYCLE: &str = "adder: 7
its exit code: Some(0)
timed out: true, alive: true
suspended, alive: true, children: 1
terminated: signal 15 (SIGTERM)
crashed: signal 6 (SIGABRT)
its last words: about to fall
panicked: attempt to divide by zero
first to end: number 1, with 10
children: 0
";

/// What becomes of who eats too much where control groups can be had, and where not.
const KILLED: &str = "signal 9 (SIGKILL), out of memory
its memory was capped by a control group
";
const ABORTED: &str = "signal 6 (SIGABRT)
its address space was capped; it said: memory allocation of 16777216 bytes failed
";

const LIMITS: &str = "a careful task stopped at its limit of 256 MiB: true
a careless one was stopped: signal 6 (SIGABRT)
its address space was capped; it said: memory allocation of 16777216 bytes failed
a task of one second of computing was stopped: signal 24 (SIGXCPU)
a task that may open no file was told: Too many open files (os error 24)
";

const HISTOGRAM: &str = "  0   1425 #########
 16   1221 ########
 32   2010 #############
 48   2985 ###################
 64   3469 ######################
 80   4235 ###########################
 96   5351 ##################################
112   6258 #######################################
128   6742 ##########################################
144   7076 ############################################
160   7946 ##################################################
176   7963 ##################################################
192   8071 ##################################################
208   4004 #########################
224   4039 ##########################
240   4005 #########################
     76800 pixels
";

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn run(steps: &mut Steps) {
    let expected = EXPECTATIONS.map(|(name, _)| name.to_owned());
    steps.run("examples have expectations", || {
        pairs(&present(), &expected.into())
    });
    steps.run("build examples", || {
        run_command(&mut cargo(&[
            "build",
            "--release",
            "--package",
            "multiproc",
            "--features",
            "ipc",
            "--examples",
        ]))
    });
    for (name, expectation) in EXPECTATIONS {
        steps.run(&format!("example {name}"), || run_one(name, expectation));
    }
}

fn run_one(name: &str, expectation: Expectation) -> Outcome {
    let path = target().join("release/examples").join(name);
    if !path.is_file() {
        return Err("it was not built; is it wired to the package `multiproc`?".to_owned());
    }
    let oracle = Oracle::begin();
    let output = Program::new(path)
        .current_dir(root())
        .deadline(DEADLINE)
        .run();
    oracle.finish();
    print!("{}", output.stdout);
    eprint!("{}", output.stderr);
    if !output.status.success() {
        return Err(output.to_string());
    }
    expectation(&output.stdout)
}

/// The examples in the folder: a file, or a folder with a `main.rs`.
fn present() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("examples"))
        .into_iter()
        .flatten()
        .flatten();
    let programs = entries.map(|entry| entry.path()).filter(|path| {
        path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").is_file()
    });
    programs
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect()
}

fn pairs(present: &BTreeSet<String>, expected: &BTreeSet<String>) -> Outcome {
    let mut wrong = Vec::new();
    wrong.extend(
        present
            .difference(expected)
            .map(|name| format!("{name} has no expectation")),
    );
    wrong.extend(
        expected
            .difference(present)
            .map(|name| format!("{name} has no file in examples/")),
    );
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join(", "))
    }
}

fn exactly(expected: &str, text: &str) -> Outcome {
    if text == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, got {text:?}"))
    }
}

/// What became of each kind of task, and a pool that works on.
fn crash_containment(text: &str) -> Outcome {
    for expected in [
        " 63 × healthy         returned 500000500000",
        "  1 × segfault        its worker ended with signal 11 (SIGSEGV)",
        "  1 × abort           its worker ended with signal 6 (SIGABRT)",
        "  1 × exit            its worker ended with exit code 3",
        "  1 × panic           panicked: something is wrong with item 4",
        "  1 × hang            was ended after 2s",
        "  1 × leak            its worker ended with signal 6 (SIGABRT)",
        "  1 × stack overflow  its worker ended with signal 11 (SIGSEGV)",
        "afterwards: [1, 4, 9, 16, 25]",
    ] {
        if !text.lines().any(|line| line.starts_with(expected)) {
            return Err(format!("no line {expected:?} in {text:?}"));
        }
    }
    Ok(())
}

/// The points of the set, of which there are as many each time.
fn mandelbrot(text: &str) -> Outcome {
    let drawn = text.starts_with("640 rows by ") && text.contains(", 154852 points inside: ");
    if drawn {
        Ok(())
    } else {
        Err(format!("not that picture: {text:?}"))
    }
}

/// The same darts each time.
fn monte_carlo_pi(text: &str) -> Outcome {
    let expected = "20000000 darts, 15710822 hits: π is about 3.1422";
    match text.lines().next() {
        Some(line) if line == expected => Ok(()),
        _ => Err(format!("expected {expected:?}, got {text:?}")),
    }
}

/// A table of what was found: each row with its two measures, and what the crash was.
fn processes_vs_threads(text: &str) -> Outcome {
    let rows = [
        "a static of 0",
        "a segfault beside a healthy task",
        "start and join (fork server)",
        "start and join (spawn)",
        "a message there and back",
        "work done on ",
    ];
    let lacks = |row: &&&str| !text.lines().any(|line| line.starts_with(**row));
    if let Some(row) = rows.iter().find(lacks) {
        return Err(format!("no row begins with {row:?} in {text:?}"));
    }
    match text.contains("the parent was told: signal 11 (SIGSEGV)") {
        true => Ok(()),
        false => Err(format!("the crash is not told of in {text:?}")),
    }
}

/// Four whole lines, one of each process, counted from 0 or from 1, in any order.
fn random_numbers(text: &str) -> Outcome {
    let mut processes = BTreeSet::new();
    for line in text.lines() {
        let parts = line
            .strip_prefix("Process number ")
            .and_then(|rest| rest.split_once(", random number generated : "));
        let numbers =
            parts.and_then(|(process, number)| Some((process.parse().ok()?, number.parse().ok()?)));
        match numbers {
            Some((process, 1..=100_u32)) if processes.insert(process) => {}
            Some((_, 1..=100)) => return Err(format!("a process speaks twice: {line:?}")),
            _ => {
                return Err(format!(
                    "not a whole line with a number in 1..=100: {line:?}"
                ));
            }
        }
    }
    let complete =
        processes == BTreeSet::from([0, 1, 2, 3]) || processes == BTreeSet::from([1, 2, 3, 4]);
    if complete {
        Ok(())
    } else {
        Err(format!(
            "expected one line of each of four processes, got {text:?}"
        ))
    }
}

/// What became of the tasks, and two files that were written where it says.
fn timeline(text: &str) -> Outcome {
    for line in [
        "4 tasks panicked",
        "and one was lost with its worker",
        "6052 tasks returned, on 5 workers",
    ] {
        if !text.lines().any(|found| found == line) {
            return Err(format!("no line {line:?} in {text:?}"));
        }
    }
    let written = text.lines().find_map(|line| line.strip_prefix("wrote "));
    let (picture, trace) = written
        .and_then(|paths| paths.split_once(" and "))
        .ok_or("no line that names the files")?;
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    if !read(picture)?.ends_with("</svg>\n") || !read(trace)?.contains("\"traceEvents\"") {
        return Err("the files are not whole".to_owned());
    }
    Ok(())
}

/// A line for each transport, of times that do not fall from one percentile to the next.
fn ping_pong(text: &str) -> Outcome {
    let mut lines = text.lines().skip(2);
    for transport in ["ring", "ipc"] {
        let times = lines.next().and_then(|line| line.strip_prefix(transport));
        let times: Option<Vec<f64>> = times.and_then(|times| {
            let times = times.split_whitespace().map(str::parse);
            times.collect::<Result<_, _>>().ok()
        });
        if !times.is_some_and(|times| times.len() == 5 && times.is_sorted()) {
            return Err(format!(
                "expected five times of {transport} that do not fall in {text:?}"
            ));
        }
    }
    Ok(())
}

/// The reader waits long before the end, and every word that was found is counted.
fn pipeline(text: &str) -> Outcome {
    let numbers = |line: &str| -> Vec<u64> {
        let fields = line.split(|c: char| !c.is_ascii_digit());
        fields.filter_map(|field| field.parse().ok()).collect()
    };
    let line = |what: &str| text.lines().find(|line| line.contains(what)).map(numbers);
    match (
        line("the reader waits").as_deref(),
        line("lines read").as_deref(),
    ) {
        (Some([waits]), Some([read, found, counted]))
            if waits * 2 < *read && found == counted && *found > 0 =>
        {
            Ok(())
        }
        other => Err(format!(
            "a reader that waits and equal counts were expected, got {other:?} in {text:?}"
        )),
    }
}

/// A line of totals, and ten lines of a word and its count that never grow.
fn word_count(text: &str) -> Outcome {
    let is_totals =
        |line: &str| line.contains("words") && line.contains(|c: char| c.is_ascii_digit());
    if !text.lines().any(is_totals) {
        return Err(format!("no line of totals in {text:?}"));
    }
    let counts: Vec<u64> = text.lines().filter_map(count_of_word).collect();
    if counts.len() != 10 || !counts.is_sorted_by(|a, b| a >= b) {
        return Err(format!(
            "expected ten words, the most frequent first, got {text:?}"
        ));
    }
    Ok(())
}

/// The count in a line that holds a word and a number, in either order, and nothing else.
fn count_of_word(line: &str) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    match fields[..] {
        [word, count] | [count, word]
            if word.parse::<u64>().is_err() && count.parse::<u64>().is_ok() =>
        {
            count.parse().ok()
        }
        _ => None,
    }
}
