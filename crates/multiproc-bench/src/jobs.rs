//! The jobs of the table, and who does them.

use std::hint::black_box;

use crate::kernel;
use crate::ours;
use crate::peers;
use crate::python::{Python, WORKERS};
use crate::race::{Contender, Job, Target, Unit, check, timed};

use Target::{AtLeast, AtMost};

/// The trivial task.
pub fn square(n: u64) -> u64 {
    n.wrapping_mul(n)
}

pub fn check_squares(results: &[u64]) -> Result<(), String> {
    let right = results
        .iter()
        .zip(0..)
        .all(|(result, n)| *result == square(n));
    check(right, "a square")
}

/// The task that takes as long as it is told to.
pub fn spin(loops: u64) -> u64 {
    (0..loops).fold(1, |x: u64, _| black_box(x.wrapping_mul(5)))
}

pub fn check_spins(results: &[u64], tasks: usize, loops: u64) -> Result<(), String> {
    let expected = spin(loops);
    let right = results.len() == tasks && results.iter().all(|result| *result == expected);
    check(right, "a result")
}

/// So many loops of [`spin`] take so many nanoseconds here.
pub fn loops_for(nanoseconds: f64) -> u64 {
    const LOOPS: u64 = 1_000_000;
    let fastest = (0..10)
        .map(|_| timed(|| black_box(spin(LOOPS))).0)
        .fold(f64::INFINITY, f64::min);
    (nanoseconds * LOOPS as f64 / fastest).max(1.0) as u64
}

/// As many as the machine has.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

const MICROSECOND: f64 = 1e3;
const MILLION: usize = 1_000_000;
/// The size of a message of bytes.
pub const MESSAGE: usize = 1 << 20;
/// The size of the large payload.
pub const BULK: usize = 100 << 20;

pub fn all(python: &Python) -> Vec<Job> {
    let mut jobs = vec![map_one(python), map_default(python)];
    jobs.extend(applies(python));
    jobs.extend(starts(python));
    jobs.extend(channels(python));
    jobs.extend(bulk(python));
    jobs.extend(locks(python));
    jobs.extend([sum(), tasks(python)]);
    jobs.extend(idle(python));
    jobs
}

fn map_one(python: &Python) -> Job {
    Job {
        name: "map, trivial task, chunksize 1, 2 workers",
        unit: Unit::Rate,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", || ours::map(WORKERS)).load(1000, MILLION),
            Contender::new("CPython Pool.map", python.does("map_one"))
                .target(AtLeast(200.0))
                .load(200, 5_000),
            Contender::new("CPython futures", python.does("futures_map")).load(200, 5_000),
            Contender::new("procspawn Pool", peers::procspawn_map)
                .target(AtLeast(400.0))
                .load(200, 5_000),
            Contender::new("rayon with_max_len(1)", || peers::rayon_map(WORKERS))
                .target(AtLeast(0.5))
                .load(1000, MILLION),
        ],
    }
}

fn map_default(python: &Python) -> Job {
    Job {
        name: "map, trivial task, default chunks, 1 M items, 2 workers",
        unit: Unit::Rate,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", || ours::map(WORKERS)).load(MILLION, MILLION),
            Contender::new("CPython Pool.map", python.does("map_default"))
                .target(AtLeast(20.0))
                .load(MILLION, MILLION),
            Contender::new("ours in CPython's chunks", || ours::map_in_chunks(WORKERS))
                .load(MILLION, MILLION),
        ],
    }
}

fn applies(python: &Python) -> [Job; 2] {
    let back_to_back = Job {
        name: "apply, back to back",
        unit: Unit::Time,
        at_most: Some(0.5 * MICROSECOND),
        contenders: vec![
            Contender::new("multiproc", ours::apply).load(1000, MILLION),
            Contender::new("spinning ping-pong", kernel::spinning)
                .target(AtMost(1.5))
                .load(1000, MILLION),
            Contender::new("CPython Pool.apply", python.does("apply"))
                .target(AtLeast(10.0))
                .load(50, 5_000),
            Contender::new("CPython futures", python.does("submit")).load(50, 5_000),
            Contender::new("procspawn Pool", peers::procspawn_apply)
                .target(AtLeast(10.0))
                .load(50, 5_000),
        ],
    };
    let asleep = Job {
        name: "apply, both sides asleep before",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", ours::apply_rested).load(20, 2_000),
            Contender::new("futex ping-pong", kernel::rested)
                .target(AtMost(1.5))
                .load(20, 2_000),
        ],
    };
    [back_to_back, asleep]
}

fn starts(python: &Python) -> [Job; 2] {
    let spawn = Job {
        name: "start a process and join it",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc Spawn", ours::process).load(10, 1_000),
            Contender::new("std Command", kernel::command)
                .target(AtMost(1.15))
                .load(10, 1_000),
            Contender::new("posix_spawn", kernel::posix_spawn).load(10, 1_000),
            Contender::new("CPython fork", python.does("process")).load(10, 1_000),
            Contender::new("procspawn", peers::procspawn_process).load(10, 1_000),
        ],
    };
    let server = Job {
        name: "start a process and join it, by a fork server",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc ForkServer", ours::fork_server).load(10, 1_000),
            Contender::new("fork, _exit, wait", kernel::fork_and_wait)
                .target(AtMost(2.0))
                .load(10, 1_000),
        ],
    };
    [spawn, server]
}

fn channels(python: &Python) -> [Job; 4] {
    let one_way = Job {
        name: "channel, u64 one way",
        unit: Unit::Rate,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", ours::one_way).load(1000, MILLION),
            Contender::new("ipc-channel", peers::ipc_one_way)
                .target(AtLeast(20.0))
                .load(100, MILLION),
            Contender::new("crossbeam bounded(4096)", || peers::crossbeam(Some(4096)))
                .target(AtLeast(1.0))
                .load(1000, MILLION),
            Contender::new("crossbeam unbounded", || peers::crossbeam(None)).load(1000, MILLION),
            Contender::new("CPython Pipe", python.does("pipe")).load(100, MILLION),
            Contender::new("CPython SimpleQueue", python.does("queue")).load(100, MILLION),
        ],
    };
    let sleeping = Job {
        name: "channel, round trip",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", ours::round_trip).load(100, MILLION),
            Contender::new("futex ping-pong", kernel::sleeping)
                .target(AtMost(1.3))
                .load(100, MILLION),
            Contender::new("ipc-channel", peers::ipc_round_trip).load(100, MILLION),
            Contender::new("CPython Pipe", python.does("round_trip")).load(100, MILLION),
        ],
    };
    let spinning = Job {
        name: "channel, round trip, spinning",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", ours::round_trip_spinning).load(100, MILLION),
            Contender::new("iceoryx2", peers::iceoryx_round_trip)
                .target(AtMost(1.0))
                .load(100, MILLION),
            Contender::new("spinning ping-pong", kernel::spinning).load(100, MILLION),
        ],
    };
    let bytes = Job {
        name: "channel, messages of 1 MiB",
        unit: Unit::Bandwidth,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc Bytes", ours::messages_of_bytes).load(10, 200),
            Contender::new("warm memcpy", || kernel::warm_memcpy(MESSAGE))
                .target(AtLeast(0.5))
                .load(10, 10_000),
            Contender::new("ipc-channel", peers::ipc_bytes).load(10, 200),
        ],
    };
    [one_way, sleeping, spinning, bytes]
}

fn bulk(python: &Python) -> [Job; 3] {
    let bytes = Job {
        name: "100 MiB to a worker, as bytes",
        unit: Unit::Bandwidth,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc Bytes", ours::lent_bytes).load(1, 10),
            Contender::new("multiproc ByteBuf", ours::bytes).load(1, 10),
            Contender::new("warm memcpy", || kernel::warm_memcpy(BULK))
                .target(AtLeast(0.5))
                .load(1, 10),
            Contender::new("CPython Pool.apply", python.bulk(BULK)).load(1, 10),
        ],
    };
    let vector = Job {
        name: "100 MiB to a worker, as a new Vec<u8>",
        unit: Unit::Bandwidth,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc Bytes::into_vec", ours::bytes_into_vector).load(1, 10),
            Contender::new("multiproc Vec<u8>", ours::vector).load(1, 10),
            Contender::new("memcpy to fresh memory", || kernel::fresh_memcpy(BULK))
                .target(AtLeast(0.8))
                .load(1, 10),
        ],
    };
    let shared = Job {
        name: "100 MiB to a worker, as a SharedArray",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc SharedArray", ours::shared_array).load(100, MILLION),
            Contender::new("an empty apply", ours::apply)
                .target(AtMost(2.0))
                .load(1000, MILLION),
        ],
    };
    [bytes, vector, shared]
}

fn locks(python: &Python) -> [Job; 4] {
    let uncontended = Job {
        name: "lock and unlock, uncontended",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc Lock", ours::lock).load(1000, MILLION),
            Contender::new("std Mutex", ours::std_mutex)
                .target(AtMost(2.0))
                .load(1000, MILLION),
            Contender::new("CPython Lock", python.does("lock")).load(1000, MILLION),
        ],
    };
    let mutex = Job {
        name: "a Mutex taken and released, uncontended",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc Mutex", ours::mutex).load(1000, MILLION),
            Contender::new("std Mutex", ours::std_mutex)
                .target(AtMost(2.0))
                .load(1000, MILLION),
        ],
    };
    let read = Job {
        name: "an RwLock taken to read and released, uncontended",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc RwLock", ours::rwlock).load(1000, MILLION),
            Contender::new("std RwLock", ours::std_rwlock)
                .target(AtMost(2.0))
                .load(1000, MILLION),
        ],
    };
    let contended = Job {
        name: "increments under a lock by 2 processes",
        unit: Unit::Rate,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc SharedValue", ours::increments).load(10_000, MILLION),
            Contender::new("CPython Value", python.does("increments"))
                .target(AtLeast(5.0))
                .load(10_000, 50_000),
        ],
    };
    [uncontended, mutex, read, contended]
}

fn sum() -> Job {
    Job {
        name: "sum of 8 M f64, pages touched",
        unit: Unit::Time,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc SharedArray", ours::sum_shared).load(1, 100),
            Contender::new("a Vec<f64>", ours::sum_vector)
                .target(AtMost(1.05))
                .load(1, 100),
        ],
    }
}

fn tasks(python: &Python) -> Job {
    let loops = loops_for(1000.0 * MICROSECOND);
    let cores = cores();
    Job {
        name: "CPU tasks of 1 ms on all cores",
        unit: Unit::Rate,
        at_most: None,
        contenders: vec![
            Contender::new("multiproc", move || ours::tasks(cores, loops)).load(20, 1_000),
            Contender::new("rayon with_max_len(1)", move || {
                peers::rayon_tasks(cores, loops)
            })
            .target(AtLeast(0.97))
            .load(20, 1_000),
            Contender::new("CPython Pool.map", python.tasks(1000.0 * MICROSECOND)).load(20, 1_000),
        ],
    }
}

fn idle(python: &Python) -> [Job; 2] {
    let memory = Job {
        name: "an idle worker's private memory",
        unit: Unit::Memory,
        at_most: Some(1.5 * (1 << 20) as f64),
        contenders: vec![
            Contender::new("multiproc", ours::idle_memory).load(1, 1),
            Contender::new("CPython Pool", python.idle_memory()).load(1, 1),
        ],
    };
    let wakes = Job {
        name: "context switches of an idle pool in 200 ms",
        unit: Unit::Count,
        at_most: Some(0.0),
        contenders: vec![Contender::new("multiproc", ours::idle_switches).load(1, 1)],
    };
    [memory, wakes]
}
