//! What multiproc does of each job.

use std::fs;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use multiproc::channel::Bytes;
use multiproc::pool::Chunks;
use multiproc::process::StartMethod;
use multiproc::{Barrier, Lock, Pool, Process, Receiver, RwLock, Sender, SharedArray, SharedValue};
use serde_bytes::ByteBuf;

use crate::jobs::{self, BULK, MESSAGE, square};
use crate::kernel::rest;
use crate::python::WORKERS;
use crate::race::{Run, check, say, timed};

/// Tasks that are scheduled each by itself.
pub fn map(workers: usize) -> Result<Run, String> {
    let pool = Pool::new(workers).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let (took, results) = timed(|| pool.map(square, 0..tasks as u64));
        jobs::check_squares(&results.map_err(say)?)?;
        Ok(took)
    }))
}

/// Tasks of as many items as CPython's `Pool.map` makes them by default.
pub fn map_in_chunks(workers: usize) -> Result<Run, String> {
    let pool = Pool::new(workers).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let pool = pool.with(|policy| policy.chunksize(Chunks::PerWorker(4)));
        let (took, results) = timed(|| pool.map(square, 0..tasks as u64));
        jobs::check_squares(&results.map_err(say)?)?;
        Ok(took)
    }))
}

/// One task after the other.
pub fn apply() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let apply = |n| pool.apply(square, n);
        let (took, results) = timed(|| (0..tasks as u64).map(apply).collect::<Result<Vec<_>, _>>());
        jobs::check_squares(&results.map_err(say)?)?;
        Ok(took)
    }))
}

/// One task, after both sides have been asleep.
pub fn apply_rested() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let mut sum = 0.0;
        for n in 0..tasks as u64 {
            rest();
            let (took, result) = timed(|| pool.apply(square, n));
            check(result.map_err(say)? == square(n), "a square")?;
            sum += took;
        }
        Ok(sum)
    }))
}

/// A process, started and joined.
pub fn process() -> Result<Run, String> {
    Ok(Box::new(|times| {
        let run = || Process::spawn(|n: u64| n + 1, 6)?.join();
        let (took, all_well) = timed(|| (0..times).all(|_| run().is_ok_and(|n| n == 7)));
        check(all_well, "a child's result")?;
        Ok(took)
    }))
}

/// As [`process`], by a fork server.
pub fn fork_server() -> Result<Run, String> {
    Ok(Box::new(|times| {
        let run = || {
            let builder = Process::builder().start_method(StartMethod::ForkServer);
            builder.spawn(|n: u64| n + 1, 6)?.join()
        };
        let (took, all_well) = timed(|| (0..times).all(|_| run().is_ok_and(|n| n == 7)));
        check(all_well, "a child's result")?;
        Ok(took)
    }))
}

/// Sums what comes, and answers with the sum when it is asked by a 0; everything else is one more than what counts.
fn summing((numbers, answers): (Receiver<u64>, Sender<u64>)) {
    let mut sum = 0;
    while let Ok(number) = numbers.recv() {
        match number.checked_sub(1) {
            Some(number) => sum += number,
            None => {
                let answer = answers.send(std::mem::take(&mut sum));
                answer.expect("the parent listens");
            }
        }
    }
}

/// Answers each number with the number, looking for the next all the time, until [`PAUSE`]; then sleeps until the next.
fn echoing((numbers, answers): (Receiver<u64>, Sender<u64>)) {
    while let Ok(mut number) = numbers.recv() {
        while number != PAUSE {
            answers.send(number).expect("the parent listens");
            number = receive_spinning(&numbers);
        }
    }
}

const PAUSE: u64 = u64::MAX;

fn receive_spinning(numbers: &Receiver<u64>) -> u64 {
    loop {
        match numbers.try_recv() {
            Ok(number) => return number,
            Err(multiproc::channel::TryRecvError::Empty) => std::hint::spin_loop(),
            // The other side is gone, or has broken the channel: it is not this side's to go on.
            Err(_) => return PAUSE,
        }
    }
}

/// A child at the other ends of two channels.
type Lines = (Process<()>, Sender<u64>, Receiver<u64>);

fn lines(child: fn((Receiver<u64>, Sender<u64>))) -> Result<Lines, String> {
    let (sender, numbers) = multiproc::channel::<u64>().map_err(say)?;
    let (answers, receiver) = multiproc::channel::<u64>().map_err(say)?;
    let child = Process::spawn(child, (numbers, answers)).map_err(say)?;
    Ok((child, sender, receiver))
}

/// Numbers from one process to another.
pub fn one_way() -> Result<Run, String> {
    let (_child, sender, receiver) = lines(summing)?;
    Ok(Box::new(move |messages| {
        let messages = messages as u64;
        let (took, result) = timed(|| {
            (1..=messages).try_for_each(|number| sender.send(number))?;
            sender.send(0)?;
            Ok::<_, multiproc::channel::SendError<u64>>(receiver.recv())
        });
        let sum = result.map_err(say)?.map_err(say)?;
        check(sum == messages * (messages - 1) / 2, "a sum")?;
        Ok(took)
    }))
}

/// There and back.
pub fn round_trip() -> Result<Run, String> {
    let (_child, sender, receiver) = lines(summing)?;
    Ok(Box::new(move |trips| {
        let trip = || sender.send(0).is_ok() && receiver.recv().is_ok_and(|sum| sum == 0);
        let (took, all_well) = timed(|| (0..trips).all(|_| trip()));
        check(all_well, "an answer")?;
        Ok(took)
    }))
}

/// There and back, by two sides that look all the time.
pub fn round_trip_spinning() -> Result<Run, String> {
    let (_child, sender, receiver) = lines(echoing)?;
    Ok(Box::new(move |trips| {
        let trip = |number| sender.send(number).is_ok() && receive_spinning(&receiver) == number;
        check(trip(0), "an answer")?;
        let (took, all_well) = timed(|| (0..trips as u64).all(trip));
        check(all_well, "an answer")?;
        sender.send(PAUSE).map_err(say)?;
        Ok(took)
    }))
}

/// Takes so many messages, and answers whether they were right.
fn weighing((messages, counts, answers): (Receiver<Bytes>, Receiver<u64>, Sender<bool>)) {
    while let Ok(count) = counts.recv() {
        let is_right = |message: Bytes| message.len() == MESSAGE && message[MESSAGE - 1] == 7;
        let all = (0..count).all(|_| messages.recv().is_ok_and(is_right));
        answers.send(all).expect("the parent listens");
    }
}

/// Messages of some size from one process to another.
pub fn messages_of_bytes() -> Result<Run, String> {
    let (sender, messages) = multiproc::channel::<Bytes>().map_err(say)?;
    let (counter, counts) = multiproc::channel::<u64>().map_err(say)?;
    let (answers, receiver) = multiproc::channel::<bool>().map_err(say)?;
    let child = Process::spawn(weighing, (messages, counts, answers)).map_err(say)?;
    Ok(Box::new(move |times| {
        let _alive = &child;
        let messages = vec![Bytes::from(vec![7_u8; MESSAGE]); times];
        let (took, all_well) = timed(|| {
            let told = counter.send(times as u64).is_ok();
            let mut messages = messages.into_iter();
            let sent = messages.all(|message| sender.send(message).is_ok());
            told && sent && receiver.recv().is_ok_and(|right| right)
        });
        check(all_well, "a message")?;
        Ok(took / MESSAGE as f64)
    }))
}

/// The large payload as bytes, and how many arrived.
pub fn bytes() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    let data = ByteBuf::from(vec![7_u8; BULK]);
    Ok(Box::new(move |times| {
        let send = || pool.map(|data: ByteBuf| ends(&data), [&data]);
        let (took, all_well) = timed(|| (0..times).all(|_| send().is_ok_and(are_right)));
        check(all_well, "the payload")?;
        Ok(took / BULK as f64)
    }))
}

/// The large payload as bytes that are the sender's memory.
pub fn lent_bytes() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    let data = Bytes::from(vec![7_u8; BULK]);
    Ok(Box::new(move |times| {
        let send = || pool.map(|data: Bytes| ends(&data), [&data]);
        let (took, all_well) = timed(|| (0..times).all(|_| send().is_ok_and(are_right)));
        check(all_well, "the payload")?;
        Ok(took / BULK as f64)
    }))
}

/// The large payload as bytes, made a vector.
pub fn bytes_into_vector() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    let data = Bytes::from(vec![7_u8; BULK]);
    Ok(Box::new(move |times| {
        let send = || pool.map(|data: Bytes| ends(&data.into_vec()), [&data]);
        let (took, all_well) = timed(|| (0..times).all(|_| send().is_ok_and(are_right)));
        check(all_well, "the payload")?;
        Ok(took / BULK as f64)
    }))
}

/// The large payload as a vector.
pub fn vector() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    let data = vec![7_u8; BULK];
    Ok(Box::new(move |times| {
        let send = || pool.map(|data: Vec<u8>| ends(&data), [&data]);
        let (took, all_well) = timed(|| (0..times).all(|_| send().is_ok_and(are_right)));
        check(all_well, "the payload")?;
        Ok(took / BULK as f64)
    }))
}

/// Tasks with payloads of so many bytes each.
pub fn payload(bytes: usize) -> Result<Run, String> {
    let pool = Pool::new(WORKERS).map_err(say)?;
    let data = ByteBuf::from(vec![7_u8; bytes]);
    Ok(Box::new(move |tasks| {
        let items = std::iter::repeat_n(&data, tasks);
        let (took, results) = timed(|| pool.map(|data: ByteBuf| data.len(), items));
        let results = results.map_err(say)?;
        let right = results.len() == tasks && results.iter().all(|length| *length == bytes);
        check(right, "a payload")?;
        Ok(took)
    }))
}

/// Length, first and last of a payload.
fn ends(data: &[u8]) -> (usize, u8, u8) {
    (data.len(), data[0], data[data.len() - 1])
}

fn are_right(results: Vec<(usize, u8, u8)>) -> bool {
    results == [(BULK, 7, 7)]
}

/// The large payload as a handle.
pub fn shared_array() -> Result<Run, String> {
    let pool = Pool::new(1).map_err(say)?;
    let data = SharedArray::<u8>::zeroed(BULK).map_err(say)?;
    Ok(Box::new(move |times| {
        let send = || pool.apply(|data: SharedArray<u8>| data.len(), data.clone());
        let (took, all_well) = timed(|| (0..times).all(|_| send().is_ok_and(|n| n == BULK)));
        check(all_well, "the payload")?;
        Ok(took)
    }))
}

/// One that takes a lock and releases it.
fn turns<L: 'static>(lock: L, turn: impl Fn(&L) -> bool + 'static) -> Run {
    Box::new(move |times| {
        let (took, all_well) = timed(|| (0..times).all(|_| turn(black_box(&lock))));
        check(all_well, "a lock")?;
        Ok(took)
    })
}

/// A lock between processes, of which only this one takes it; here and below.
pub fn lock() -> Result<Run, String> {
    let lock = Lock::new().map_err(say)?;
    Ok(turns(lock, |lock| lock.lock().is_ok()))
}

pub fn mutex() -> Result<Run, String> {
    let mutex = SharedValue::new(0_u64).map_err(say)?;
    Ok(turns(mutex, |mutex| mutex.lock().is_ok()))
}

pub fn rwlock() -> Result<Run, String> {
    let lock = RwLock::new(0_u64).map_err(say)?;
    Ok(turns(lock, |lock| lock.read().is_ok()))
}

/// The standard library's.
pub fn std_mutex() -> Result<Run, String> {
    Ok(turns(Mutex::new(()), |mutex| mutex.lock().is_ok()))
}

/// The standard library's.
pub fn std_rwlock() -> Result<Run, String> {
    let lock = std::sync::RwLock::new(());
    Ok(turns(lock, |lock| lock.read().is_ok()))
}

fn increment((value, start, times): (SharedValue<u64>, Barrier, usize)) {
    start.wait().expect("nobody dies");
    for _ in 0..times {
        *value.lock().expect("nobody dies") += 1;
    }
}

/// Two processes that increment one number under its lock.
pub fn increments() -> Result<Run, String> {
    Ok(Box::new(|times| {
        let value = SharedValue::new(0_u64).map_err(say)?;
        let start = Barrier::new(3).map_err(say)?;
        let each = times / 2;
        let spawn = |_| Process::spawn(increment, (value.clone(), start.clone(), each));
        let children = (0..2)
            .map(spawn)
            .collect::<Result<Vec<_>, _>>()
            .map_err(say)?;
        start.wait().map_err(say)?;
        let (took, joined) = timed(|| children.iter().try_for_each(Process::join));
        joined.map_err(say)?;
        check(value.get().map_err(say)? == 2 * each as u64, "the number")?;
        Ok(took)
    }))
}

const NUMBERS: usize = 8 << 20;

fn add_up(numbers: &[f64]) -> f64 {
    black_box(numbers).iter().sum()
}

/// The sum of an array under its lock.
pub fn sum_shared() -> Result<Run, String> {
    let array = SharedArray::from_slice(&vec![1.0_f64; NUMBERS]).map_err(say)?;
    Ok(Box::new(move |times| {
        let sum = || add_up(&array.lock().expect("nobody dies"));
        let (took, all_well) = timed(|| (0..times).all(|_| sum() == NUMBERS as f64));
        check(all_well, "the sum")?;
        Ok(took)
    }))
}

/// The sum of a vector.
pub fn sum_vector() -> Result<Run, String> {
    let vector = vec![1.0_f64; NUMBERS];
    Ok(Box::new(move |times| {
        let (took, all_well) = timed(|| (0..times).all(|_| add_up(&vector) == NUMBERS as f64));
        check(all_well, "the sum")?;
        Ok(took)
    }))
}

/// Tasks of so many loops.
pub fn tasks(workers: usize, loops: u64) -> Result<Run, String> {
    let pool = Pool::new(workers).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let (took, results) = timed(|| pool.map(jobs::spin, std::iter::repeat_n(loops, tasks)));
        jobs::check_spins(&results.map_err(say)?, tasks, loops)?;
        Ok(took)
    }))
}

/// A pool whose workers have all done something and have nothing to do.
fn idle_pool() -> Result<(Pool, Vec<u32>), String> {
    let pool = Pool::new(2).map_err(say)?;
    let mut pids = pool
        .map(
            |()| {
                std::thread::sleep(Duration::from_millis(1));
                std::process::id()
            },
            [(); 100],
        )
        .map_err(say)?;
    pids.sort_unstable();
    pids.dedup();
    std::thread::sleep(Duration::from_millis(100));
    Ok((pool, pids))
}

/// What one worker has for itself.
pub fn idle_memory() -> Result<Run, String> {
    let (pool, pids) = idle_pool()?;
    Ok(Box::new(move |_| {
        let _alive = &pool;
        private_memory(pids[0])
    }))
}

/// The memory that a process shares with no other.
pub fn private_memory(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(path).map_err(say)?;
    let lines = text.lines().filter_map(|line| {
        let figure = line
            .strip_prefix("Private_Dirty:")
            .or_else(|| line.strip_prefix("Private_Clean:"))?;
        figure.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    Ok(lines.sum::<f64>() * 1024.0)
}

/// How often all threads of an idle pool, parent's and workers', were switched to in a while.
pub fn idle_switches() -> Result<Run, String> {
    let (pool, pids) = idle_pool()?;
    Ok(Box::new(move |_| {
        let _alive = &pool;
        let this = std::process::id();
        let all = || -> Result<u64, String> {
            let processes = pids.iter().map(|pid| switches(*pid, None));
            let own = switches(this, Some("multiproc-pool"));
            processes.chain([own]).sum()
        };
        let before = all()?;
        std::thread::sleep(Duration::from_millis(200));
        Ok((all()? - before) as f64)
    }))
}

/// The context switches of a process's threads, of all or of those of a name.
fn switches(pid: u32, name: Option<&str>) -> Result<u64, String> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).map_err(say)? {
        let folder = thread.map_err(say)?.path();
        let status = fs::read_to_string(folder.join("status")).map_err(say)?;
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim_start_matches(':').trim().to_owned())
        };
        if name.is_none_or(|name| field("Name").as_deref() == Some(name)) {
            let count = |key| field(key).and_then(|value| value.parse::<u64>().ok());
            sum += count("voluntary_ctxt_switches").unwrap_or(0);
            sum += count("nonvoluntary_ctxt_switches").unwrap_or(0);
        }
    }
    Ok(sum)
}
