//! Contenders that do the same job in turns: A B C, A B C, …, so that whatever else happens to the machine happens to all of them.

use std::time::{Duration, Instant};

/// What a job's figures mean. Each is a cost: less is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// Nanoseconds a piece, shown as pieces a second.
    Rate,
    /// Nanoseconds a piece.
    Time,
    /// Nanoseconds a byte, shown as bytes a second.
    Bandwidth,
    /// Bytes of memory.
    Memory,
    /// Occurrences.
    Count,
}

/// What ours is to reach beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// So many times its speed.
    AtLeast(f64),
    /// So many times its time.
    AtMost(f64),
}

/// How much of a job to do in one go.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of pieces to begin with.
    pub least: usize,
    /// And to stop at.
    pub most: usize,
}

/// What one go took in all, or why its result does not count.
pub type Go = Result<f64, String>;

/// Does so many pieces of the job, checks what came out, and says what it took in all.
pub type Run = Box<dyn FnMut(usize) -> Go>;

/// One that does the job.
pub struct Contender {
    pub name: &'static str,
    pub target: Option<Target>,
    pub load: Load,
    /// Makes it ready; or says why it is not there.
    pub set_up: Box<dyn FnOnce() -> Result<Run, String>>,
}

impl Contender {
    /// One whose number of pieces is found out.
    pub fn new(
        name: &'static str,
        set_up: impl FnOnce() -> Result<Run, String> + 'static,
    ) -> Contender {
        Contender {
            name,
            target: None,
            load: Load {
                least: 1,
                most: 1_000_000,
            },
            set_up: Box::new(set_up),
        }
    }

    /// With what ours is to reach beside it.
    pub fn target(mut self, target: Target) -> Contender {
        self.target = Some(target);
        self
    }

    /// With other bounds on the pieces of one go.
    pub fn load(mut self, least: usize, most: usize) -> Contender {
        self.load = Load { least, most };
        self
    }
}

/// Something to do, and those who do it. The first is ours.
pub struct Job {
    pub name: &'static str,
    pub unit: Unit,
    /// What ours may cost at most, whatever the others do.
    pub at_most: Option<f64>,
    pub contenders: Vec<Contender>,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// What one go is to take, about.
    pub go: Duration,
    pub rounds: usize,
    /// What all rounds of a job may take: fewer are run where it is spent, but never fewer than [`LEAST_ROUNDS`].
    pub job: Duration,
}

/// The middle one of fewer says nothing.
const LEAST_ROUNDS: usize = 3;

/// What came of one contender.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub target: Option<Target>,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    /// Its cost a piece in each round.
    Did(Vec<f64>),
    /// It is not here: why.
    Absent(String),
    /// It gave something else than it should have.
    Wrong(String),
}

/// What came of a job.
#[derive(Debug)]
pub struct Standing {
    pub name: &'static str,
    pub unit: Unit,
    pub at_most: Option<f64>,
    pub entries: Vec<Entry>,
}

/// Has all contenders of a job do it in turns.
pub fn race(job: Job, effort: Effort) -> Standing {
    let Job {
        name,
        unit,
        at_most,
        contenders,
    } = job;
    let mut runners: Vec<Runner> = contenders
        .into_iter()
        .map(|contender| Runner::set_up(contender, effort.go))
        .collect();
    let start = Instant::now();
    for round in 0..effort.rounds {
        if round >= LEAST_ROUNDS && start.elapsed() >= effort.job {
            break;
        }
        runners.iter_mut().for_each(|runner| runner.go(effort.go));
    }
    Standing {
        name,
        unit,
        at_most,
        entries: runners.into_iter().map(Runner::finish).collect(),
    }
}

struct Runner {
    name: &'static str,
    target: Option<Target>,
    load: Load,
    pieces: usize,
    run: Option<Run>,
    outcome: Outcome,
}

impl Runner {
    fn set_up(contender: Contender, go: Duration) -> Runner {
        let Contender {
            name,
            target,
            load,
            set_up,
        } = contender;
        let mut runner = Runner {
            name,
            target,
            load,
            pieces: load.least,
            run: None,
            outcome: Outcome::Did(Vec::new()),
        };
        match set_up() {
            Ok(run) => runner.run = Some(run),
            Err(why) => runner.outcome = Outcome::Absent(why),
        }
        runner.warm_up(go);
        runner
    }

    /// Finds out how many pieces take about as long as a go is to take, which warms it up too.
    fn warm_up(&mut self, go: Duration) {
        while let Some(run) = &mut self.run {
            let start = Instant::now();
            if let Err(why) = run(self.pieces) {
                self.fail(why);
                return;
            }
            let took = start.elapsed();
            if took * 2 > go || self.pieces >= self.load.most {
                return;
            }
            self.resize((go.as_secs_f64() / took.as_secs_f64().max(1e-9)).clamp(2.0, 20.0));
        }
    }

    fn go(&mut self, go: Duration) {
        let Some(run) = &mut self.run else { return };
        let start = Instant::now();
        match (run(self.pieces), &mut self.outcome) {
            (Ok(took), Outcome::Did(costs)) => costs.push(took / self.pieces as f64),
            (Ok(_), _) => {}
            (Err(why), _) => self.fail(why),
        }
        // A job that was quick while it was warmed up may be slow for good where other programs run.
        let took = start.elapsed();
        if took > go * 4 {
            self.resize(go.as_secs_f64() / took.as_secs_f64());
        }
    }

    fn resize(&mut self, factor: f64) {
        let pieces = (self.pieces as f64 * factor) as usize;
        self.pieces = pieces.clamp(self.load.least, self.load.most);
    }

    fn fail(&mut self, why: String) {
        self.run = None;
        self.outcome = Outcome::Wrong(why);
    }

    fn finish(self) -> Entry {
        Entry {
            name: self.name,
            target: self.target,
            outcome: self.outcome,
        }
    }
}

impl Entry {
    /// The costs of its rounds, if it did the job.
    pub fn costs(&self) -> &[f64] {
        match &self.outcome {
            Outcome::Did(costs) => costs,
            _ => &[],
        }
    }

    /// The middle one of its costs.
    pub fn cost(&self) -> Option<f64> {
        median(self.costs().iter().copied())
    }
}

impl Standing {
    /// How many times as long as an entry's ours took: the middle of the rounds' ratios.
    pub fn ratio(&self, entry: &Entry) -> Option<f64> {
        let ours = self.entries.first()?.costs();
        median(ours.iter().zip(entry.costs()).map(|(ours, its)| ours / its))
    }

    /// Whether ours reaches what it is to reach beside an entry; `None` where nothing is asked, or can be said.
    pub fn holds(&self, entry: &Entry) -> Option<bool> {
        let ratio = self.ratio(entry)?;
        Some(match entry.target? {
            Target::AtLeast(speed) => ratio * speed <= 1.0,
            Target::AtMost(time) => ratio <= time,
        })
    }

    /// Whether ours costs no more than it may.
    pub fn is_within(&self) -> Option<bool> {
        Some(self.entries.first()?.cost()? <= self.at_most?)
    }
}

/// The middle one of some numbers.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len().checked_sub(1)? / 2;
    Some(if numbers.len() % 2 == 1 {
        numbers[middle]
    } else {
        (numbers[middle] + numbers[middle + 1]) / 2.0
    })
}

/// Nanoseconds that `work` takes, and what it gives.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_nanos() as f64, result)
}

/// An error unless `right`.
pub fn check(right: bool, what: &str) -> Result<(), String> {
    if right {
        Ok(())
    } else {
        Err(format!("{what} is wrong"))
    }
}

/// What an error says.
pub fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}
