//! The contenders that are crates.

use std::hint::black_box;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use iceoryx2::prelude::{
    LogLevel, Node, NodeBuilder, ServiceName, ipc as ipc_service, set_log_level,
};
use ipc_channel::ipc::{self, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender};
use multiproc::Process;
use rayon::prelude::*;

use crate::jobs::{self, MESSAGE, square};
use crate::python::WORKERS;
use crate::race::{Run, check, say, timed};

/// What has to run first in `main`.
pub fn init() {
    procspawn::init();
}

/// Independent tasks by procspawn's pool, each with a handle.
pub fn procspawn_map() -> Result<Run, String> {
    let pool = procspawn::Pool::new(WORKERS).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let (took, results) = timed(|| {
            let spawn = |n| procspawn::spawn!(in pool, (n) || square(n));
            let handles: Vec<_> = (0..tasks as u64).map(spawn).collect();
            let joined = handles.into_iter().map(procspawn::JoinHandle::join);
            joined.collect::<Result<Vec<u64>, _>>()
        });
        jobs::check_squares(&results.map_err(say)?)?;
        Ok(took)
    }))
}

/// One task after the other by procspawn's pool.
pub fn procspawn_apply() -> Result<Run, String> {
    let pool = procspawn::Pool::new(WORKERS).map_err(say)?;
    Ok(Box::new(move |tasks| {
        let (took, results) = timed(|| {
            let apply = |n| procspawn::spawn!(in pool, (n) || square(n)).join();
            (0..tasks as u64).map(apply).collect::<Result<Vec<_>, _>>()
        });
        jobs::check_squares(&results.map_err(say)?)?;
        Ok(took)
    }))
}

/// A process started and joined by procspawn.
pub fn procspawn_process() -> Result<Run, String> {
    Ok(Box::new(move |times| {
        let run = || procspawn::spawn((), |()| ()).join().is_ok();
        let (took, all_well) = timed(|| (0..times).all(|_| run()));
        check(all_well, "a child's end")?;
        Ok(took)
    }))
}

fn threads(workers: usize) -> Result<rayon::ThreadPool, String> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(workers);
    builder.build().map_err(say)
}

/// Tasks on rayon's threads, each scheduled by itself.
pub fn rayon_map(workers: usize) -> Result<Run, String> {
    let pool = threads(workers)?;
    Ok(Box::new(move |tasks| {
        let square = black_box(square as fn(u64) -> u64);
        let items = (0..tasks).into_par_iter().with_max_len(1);
        let (took, results) =
            timed(|| pool.install(|| items.map(|n| square(n as u64)).collect::<Vec<_>>()));
        jobs::check_squares(&results)?;
        Ok(took)
    }))
}

/// Tasks of so many loops on rayon's threads.
pub fn rayon_tasks(workers: usize, loops: u64) -> Result<Run, String> {
    let pool = threads(workers)?;
    Ok(Box::new(move |tasks| {
        let items = (0..tasks).into_par_iter().with_max_len(1);
        let (took, results) =
            timed(|| pool.install(|| items.map(|_| jobs::spin(loops)).collect::<Vec<_>>()));
        jobs::check_spins(&results, tasks, loops)?;
        Ok(took)
    }))
}

/// Tasks on two of rayon's threads, each of which copies a payload of so many bytes, as a task that is to own it must.
pub fn rayon_payload(bytes: usize) -> Result<Run, String> {
    let pool = threads(WORKERS)?;
    let data = vec![7_u8; bytes];
    Ok(Box::new(move |tasks| {
        let items = (0..tasks).into_par_iter().with_max_len(1);
        let length = |_| black_box(data.clone()).len();
        let (took, results) = timed(|| pool.install(|| items.map(length).collect::<Vec<_>>()));
        let right = results.len() == tasks && results.iter().all(|length| *length == bytes);
        check(right, "a payload")?;
        Ok(took)
    }))
}

/// The number 0 asks for the sum since the last, everything else is one more than what is to be summed.
fn sum(incoming: impl Fn() -> Option<u64>, outgoing: impl Fn(u64)) {
    let mut sum = 0;
    while let Some(number) = incoming() {
        match number.checked_sub(1) {
            Some(number) => sum += number,
            None => outgoing(std::mem::take(&mut sum)),
        }
    }
}

fn one_way(send: impl Fn(u64) + 'static, answer: impl Fn() -> Option<u64> + 'static) -> Run {
    Box::new(move |messages| {
        let messages = messages as u64;
        let (took, result) = timed(|| {
            (1..=messages).for_each(&send);
            send(0);
            answer()
        });
        check(result == Some(messages * (messages - 1) / 2), "a sum")?;
        Ok(took)
    })
}

/// `u64`s from one thread to another, by crossbeam-channel; unbounded without a capacity.
pub fn crossbeam(capacity: Option<usize>) -> Result<Run, String> {
    let make = || match capacity {
        Some(capacity) => crossbeam_channel::bounded(capacity),
        None => crossbeam_channel::unbounded(),
    };
    let (sender, there): (Sender<u64>, Receiver<u64>) = make();
    let (back, answers) = make();
    std::thread::spawn(move || {
        sum(
            || there.recv().ok(),
            |total| back.send(total).expect("the main thread listens"),
        );
    });
    let send = move |number| sender.send(number).expect("the other thread listens");
    Ok(one_way(send, move || answers.recv().ok()))
}

/// The other process of ipc-channel's contenders: it answers as [`sum`] does.
fn ipc_child(name: String) {
    let (sender, there) = ipc::channel::<u64>().expect("a channel can be made");
    let (back, answers) = ipc::channel::<u64>().expect("a channel can be made");
    let first = IpcSender::connect(name).expect("the parent waits");
    first.send((sender, answers)).expect("the parent waits");
    sum(
        || there.recv().ok(),
        |total| back.send(total).expect("the parent listens"),
    );
}

type Ends = (IpcSender<u64>, IpcReceiver<u64>);

fn ipc_ends() -> Result<(Process<()>, Ends), String> {
    let (server, name) = IpcOneShotServer::<Ends>::new().map_err(say)?;
    let child = Process::spawn(ipc_child, name).map_err(say)?;
    let (_, ends) = server.accept().map_err(say)?;
    Ok((child, ends))
}

/// `u64`s from one process to another, by ipc-channel.
pub fn ipc_one_way() -> Result<Run, String> {
    let (_child, (sender, answers)) = ipc_ends()?;
    let send = move |number| sender.send(number).expect("the child listens");
    Ok(one_way(send, move || answers.recv().ok()))
}

/// There and back between two processes, by ipc-channel.
pub fn ipc_round_trip() -> Result<Run, String> {
    let (_child, (sender, answers)) = ipc_ends()?;
    Ok(Box::new(move |trips| {
        let (took, sums) = timed(|| {
            // Nothing was sent since the last, so that the sum is 0.
            (0..trips).all(|_| sender.send(0).is_ok() && answers.recv().is_ok_and(|sum| sum == 0))
        });
        check(sums, "an answer")?;
        Ok(took)
    }))
}

/// The other process of [`ipc_bytes`]: answers each message with its length.
fn ipc_bytes_child(name: String) {
    let (sender, there) = ipc::bytes_channel().expect("a channel can be made");
    let (back, answers) = ipc::channel::<u64>().expect("a channel can be made");
    let first = IpcSender::connect(name).expect("the parent waits");
    first.send((sender, answers)).expect("the parent waits");
    while let Ok(message) = there.recv() {
        back.send(message.len() as u64).expect("the parent listens");
    }
}

/// Messages of some size from one process to another, by ipc-channel.
pub fn ipc_bytes() -> Result<Run, String> {
    let (server, name) =
        IpcOneShotServer::<(IpcBytesSender, IpcReceiver<u64>)>::new().map_err(say)?;
    let child = Process::spawn(ipc_bytes_child, name).map_err(say)?;
    let (_, (sender, answers)) = server.accept().map_err(say)?;
    let message = vec![7_u8; MESSAGE];
    Ok(Box::new(move |times| {
        let _alive = &child;
        let (took, all_well) = timed(|| {
            let sent = (0..times).all(|_| sender.send(&message).is_ok());
            let is_right = |length| length == MESSAGE as u64;
            sent && (0..times).all(|_| answers.recv().is_ok_and(is_right))
        });
        check(all_well, "a message")?;
        Ok(took / MESSAGE as f64)
    }))
}

/// The name of a service and its way back.
fn service(name: &str) -> Result<[ServiceName; 2], String> {
    let name = |way| format!("{name}/{way}").as_str().try_into().map_err(say);
    Ok([name("there")?, name("back")?])
}

/// Both ports of one side, with what keeps them alive.
struct Ports {
    _node: Node<ipc_service::Service>,
    publisher: iceoryx2::port::publisher::Publisher<ipc_service::Service, u64, ()>,
    subscriber: iceoryx2::port::subscriber::Subscriber<ipc_service::Service, u64, ()>,
}

impl Ports {
    fn open(outgoing: &ServiceName, incoming: &ServiceName) -> Result<Ports, String> {
        let node = NodeBuilder::new()
            .create::<ipc_service::Service>()
            .map_err(say)?;
        let open = |name| {
            let builder = node.service_builder(name).publish_subscribe::<u64>();
            builder.open_or_create().map_err(say)
        };
        let (outgoing, incoming) = (open(outgoing)?, open(incoming)?);
        Ok(Ports {
            publisher: outgoing.publisher_builder().create().map_err(say)?,
            subscriber: incoming.subscriber_builder().create().map_err(say)?,
            _node: node,
        })
    }

    /// Looks for a message until there is one; not all the time, where there is time.
    fn receive(&self, pause: Duration) -> Option<u64> {
        loop {
            if let Some(sample) = self.subscriber.receive().ok()? {
                return Some(*sample);
            }
            match pause {
                Duration::ZERO => std::hint::spin_loop(),
                pause => std::thread::sleep(pause),
            }
        }
    }
}

/// A child that does not notice when nobody speaks to it any more: it is ended with its contender.
struct Ended(Process<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Where it cannot be killed it has ended.
        let _killed = self.0.kill();
        let _status = self.0.join();
    }
}

/// Lets the child of iceoryx2's contender rest.
const PAUSE: u64 = u64::MAX;
const REST: Duration = Duration::from_micros(200);

fn iceoryx_child(name: String) {
    set_log_level(LogLevel::Fatal);
    let [there, back] = service(&name).expect("the parent has made these names");
    let ports = Ports::open(&back, &there).expect("the parent has them open");
    while let Some(mut number) = ports.receive(REST) {
        while number != PAUSE {
            let sent = ports.publisher.send_copy(number);
            sent.expect("the parent listens");
            number = ports.receive(Duration::ZERO).unwrap_or(PAUSE);
        }
    }
}

/// There and back between two processes that look all the time, by iceoryx2's publish and subscribe.
pub fn iceoryx_round_trip() -> Result<Run, String> {
    set_log_level(LogLevel::Fatal);
    let name = format!("multiproc-bench/{}", std::process::id());
    let [there, back] = service(&name)?;
    let ports = Ports::open(&there, &back)?;
    let child = Ended(Process::spawn(iceoryx_child, name).map_err(say)?);
    // A message that nobody subscribes to yet is delivered to nobody.
    while ports.publisher.send_copy(0).map_err(say)? == 0 {
        if !child.0.is_alive().map_err(say)? {
            return Err("the child has ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    check(ports.receive(Duration::ZERO) == Some(0), "an answer")?;
    ports.publisher.send_copy(PAUSE).map_err(say)?;
    Ok(Box::new(move |trips| {
        let _alive = &child;
        let trip = |number| {
            let sent = ports.publisher.send_copy(number).is_ok();
            sent && ports.receive(Duration::ZERO) == Some(number)
        };
        check(trip(0), "an answer")?;
        let (took, all_well) = timed(|| (0..trips as u64).all(trip));
        check(all_well, "an answer")?;
        ports.publisher.send_copy(PAUSE).map_err(say)?;
        Ok(took)
    }))
}
