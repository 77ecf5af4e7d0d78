//! The side-by-side benchmark: `cargo xtask bench`.
//!
//! Every contender does every job in turns with the others, its result is checked, and the middle of some rounds counts.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "figures that people read"
)]

mod jobs;
mod json;
mod kernel;
mod machine;
mod ours;
#[cfg(feature = "peers")]
mod peers;
#[cfg(not(feature = "peers"))]
#[path = "peers_missing.rs"]
mod peers;
mod python;
mod race;
mod scaling;
mod simulation;
mod svg;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::Arg::{Long, Value};
use lexopt::ValueExt;

use machine::Machine;
use python::Python;
use race::{Effort, Outcome, Standing, race, say};

const USAGE: &str = "\
usage: cargo xtask bench [scaling | simulate] [OPTIONS]
  scaling        how the pool behaves with more workers, larger payloads and longer tasks
  simulate       what a model says of more cores than this machine has
  --quick        fewer and shorter rounds: within a minute
  --rounds N     so many rounds
  --only WORDS   jobs whose name has these words in it; may be repeated
  --list         names the jobs
  --json FILE    every figure
  --svg FILE     bars
";

/// What is to be shown.
#[derive(PartialEq)]
enum View {
    Table,
    Scaling,
    Simulation,
}

struct Options {
    view: View,
    effort: Effort,
    only: Vec<String>,
    list: bool,
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
}

const FULL: Effort = Effort {
    go: Duration::from_millis(100),
    rounds: 15,
    job: Duration::from_secs(20),
};
const QUICK: Effort = Effort {
    go: Duration::from_millis(30),
    rounds: 9,
    job: Duration::from_secs(2),
};

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        view: View::Table,
        effort: FULL,
        only: Vec::new(),
        list: false,
        json: None,
        svg: None,
    };
    let mut rounds = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick") => options.effort = QUICK,
            Long("rounds") => rounds = Some(arguments.value()?.parse()?),
            Long("only") => options.only.push(arguments.value()?.string()?),
            Long("list") => options.list = true,
            Long("json") => options.json = Some(arguments.value()?.into()),
            Long("svg") => options.svg = Some(arguments.value()?.into()),
            Value(view) if view == "scaling" => options.view = View::Scaling,
            Value(view) if view == "simulate" => options.view = View::Simulation,
            _ => return Err(argument.unexpected()),
        }
    }
    options.effort.rounds = rounds.unwrap_or(options.effort.rounds).max(1);
    Ok(options)
}

fn main() -> ExitCode {
    // Before everything else: the commands that are measured do nothing.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == kernel::NOTHING)
    {
        return ExitCode::SUCCESS;
    }
    peers::init();
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprint!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no contender's result was wrong. A target that is missed is a figure, and no failure.
fn run(options: &Options) -> Result<bool, String> {
    let python = Python::default();
    let machine = Machine::look(&python);
    println!("{machine}\n");
    match options.view {
        View::Table => {}
        View::Scaling => {
            scaling::show(&python, options.effort);
            return Ok(true);
        }
        View::Simulation => {
            simulation::show();
            return Ok(true);
        }
    }
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|words| name.contains(words))
    };
    let mut standings = Vec::new();
    for job in jobs::all(&python)
        .into_iter()
        .filter(|job| wanted(job.name))
    {
        if options.list {
            println!("{}", job.name);
            continue;
        }
        let standing = race(job, options.effort);
        println!("{}", table::lines(&standing));
        standings.push(standing);
    }
    if let Some(path) = &options.json {
        let document = json::document(&machine, &standings).map_err(say)?;
        std::fs::write(path, document).map_err(say)?;
    }
    if let Some(path) = &options.svg {
        svg::draw(path, &standings)?;
    }
    Ok(summary(&standings))
}

fn summary(standings: &[Standing]) -> bool {
    let entries = || standings.iter().flat_map(|standing| &standing.entries);
    let verdicts = || {
        standings.iter().flat_map(|standing| {
            let beside = standing.entries.iter().map(|entry| standing.holds(entry));
            beside.chain([standing.is_within()])
        })
    };
    let count = |verdict| verdicts().filter(|one| *one == Some(verdict)).count();
    let absent = entries()
        .filter(|one| matches!(one.outcome, Outcome::Absent(_)))
        .count();
    let wrong = entries()
        .filter(|one| matches!(one.outcome, Outcome::Wrong(_)))
        .count();
    println!(
        "targets met: {}, missed: {}; contenders not here: {absent}, wrong: {wrong}",
        count(true),
        count(false),
    );
    wrong == 0
}
