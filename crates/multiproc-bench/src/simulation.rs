//! A model of the pool on machines with more cores than this one: `cargo xtask bench simulate`.
//!
//! One thread drives: it spends [`Costs::parent`] on each task, for all workers together, whatever their number. A worker spends
//! [`Costs::worker`] on each, and the task itself. Both costs grow by the share of lines that have to be fetched from another
//! socket. Workers are served in turns, each up to a window of tasks, as the scheduler does; a worker that runs dry sleeps, and waking
//! it costs the parent [`Costs::wake`]. Nothing else is in the model: no memory bandwidth, no other programs, no turbo.

/// Nanoseconds, of a trivial task's way on the machine that is modelled.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// What the driving thread spends on a task: encoding, sending, hearing, decoding.
    parent: f64,
    /// What a worker spends on it: claiming, decoding, calling, encoding, answering.
    worker: f64,
    /// Another socket's line, per task, of the parent's and of the worker's cost.
    remote: f64,
    /// What waking a sleeper costs who wakes.
    wake: f64,
}

/// Of two cores with nobody else on them, by the processor time of parent and workers (docs/PERFORMANCE.md); what half a line
/// from another socket takes is an estimate, to be replaced by a measurement where there is one.
const COSTS: Costs = Costs {
    parent: 35.0,
    worker: 25.0,
    remote: 60.0,
    wake: 1_500.0,
};

/// A machine.
#[derive(Clone, Copy, Debug)]
struct Machine {
    cores: usize,
    sockets: usize,
}

/// So many tasks wait at a worker at most.
const WINDOW: usize = 4096;
/// As many as settle the figures.
const TASKS: usize = 300_000;

/// What came of a run.
struct Outcome {
    tasks_per_second: f64,
    /// The share of the workers' time that was work on tasks' own length.
    efficiency: f64,
    wakes: usize,
}

/// Runs `TASKS` tasks of `length` nanoseconds by `pools` pools that share the machine's cores.
fn simulate(machine: Machine, pools: usize, length: f64) -> Outcome {
    let workers = (machine.cores / pools).saturating_sub(1).max(1);
    let remote = 1.0 - 1.0 / machine.sockets as f64;
    let sending = COSTS.parent + COSTS.remote * remote;
    let working = COSTS.worker + COSTS.remote * remote + length;
    let tasks = TASKS / pools;
    // When each worker will have done what it was sent, and the ends of what it has not answered yet.
    let mut free_at = vec![0.0_f64; workers];
    let mut pending: Vec<std::collections::VecDeque<f64>> = vec![Default::default(); workers];
    let (mut now, mut sent, mut wakes, mut turn) = (0.0_f64, 0, 0, 0);
    while sent < tasks {
        let mut served = false;
        for _ in 0..workers {
            let worker = turn % workers;
            turn += 1;
            let waits = &mut pending[worker];
            while waits.front().is_some_and(|end| *end <= now) {
                waits.pop_front();
            }
            // A burst to each, as `Scheduler::run` has it, but no more than the horizon's 5 ms of work.
            let window = ((5e6 / length.max(1.0)) as usize).clamp(2, WINDOW);
            let burst = (window - waits.len().min(window))
                .min(128)
                .min(tasks - sent);
            if burst > 0 && free_at[worker] < now && sent > 0 {
                wakes += 1;
                now += COSTS.wake;
            }
            for _ in 0..burst {
                now += sending;
                free_at[worker] = free_at[worker].max(now) + working;
                waits.push_back(free_at[worker]);
                sent += 1;
                served = true;
            }
        }
        if !served {
            // All windows are full: until the first answer.
            let first = pending.iter().filter_map(|waits| waits.front().copied());
            now = first.fold(f64::INFINITY, f64::min).max(now);
        }
    }
    let end = free_at.iter().copied().fold(now, f64::max);
    let all = (tasks * pools) as f64;
    Outcome {
        tasks_per_second: all / end * 1e9,
        efficiency: tasks as f64 * length / (end * workers as f64),
        wakes,
    }
}

/// Prints what the model says.
pub fn show() {
    let machines = [(2, 1), (16, 1), (64, 1), (64, 2), (256, 2), (256, 4)];
    println!("a model, not a measurement: {COSTS:?}\n");
    println!("cores sockets pools   task      tasks/s  of the cores' time  wakes per 1,000");
    for (cores, sockets) in machines {
        for pools in [1, 4] {
            for length in [0.0, 1e3, 1e4, 1e5, 1e6] {
                let machine = Machine { cores, sockets };
                if pools * 2 > cores {
                    continue;
                }
                let outcome = simulate(machine, pools, length);
                println!(
                    "{cores:>5} {sockets:>7} {pools:>5} {:>6} {:>12} {:>18.1}% {:>16.1}",
                    crate::table::figure(crate::race::Unit::Time, length),
                    crate::table::figure(crate::race::Unit::Rate, 1e9 / outcome.tasks_per_second),
                    100.0 * outcome.efficiency,
                    1_000.0 * outcome.wakes as f64 / (TASKS / pools) as f64,
                );
            }
        }
    }
}
