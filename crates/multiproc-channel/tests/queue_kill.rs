//! Producers and consumers of a queue killed at any instant: order, nothing twice, one message lost at most by each
//! consumer that is killed, and nobody waits beyond its deadline.
//!
//! `MULTIPROC_KILLS` sets how many are killed.

mod oracle;

use std::collections::HashMap;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use multiproc_channel::{Queue, RecvTimeoutError, Sender, channel};
use multiproc_process::Process;
use multiproc_testkit::{linger, within};
use multiproc_wire::Descriptor;

use oracle::oracle;

const ROLES: usize = 4;
const LIMIT: Duration = Duration::from_secs(60);
const BRIEFLY: Duration = Duration::from_millis(2);

/// Whose it is, its number, bytes that tell whose they are, and now and then a file.
type Message = (u32, u64, String, Option<Descriptor>);
/// Who took it, whose it is, its number.
type Taken = (u32, u32, u64);

fn produce((queue, name): (Queue<Message>, u32)) {
    let file = Descriptor::from(std::fs::File::open("/dev/null").unwrap());
    for number in 0.. {
        // Some are long enough to be outside the queue's memory.
        let length = match number % 50 {
            0 => 20_000,
            rest => usize::try_from(rest * 7).unwrap(),
        };
        let file = (number % 7 == 0).then(|| file.clone());
        let text = ["a", "b", "c"][(name % 3) as usize].repeat(length);
        if queue.send((name, number, text, file)).is_err() {
            return;
        }
    }
}

fn consume((queue, name, taken): (Queue<Message>, u32, Sender<Taken>)) {
    for message in &queue {
        taken.send(judge(name, message.unwrap())).unwrap();
    }
}

fn judge(taker: u32, (name, number, text, file): Message) -> Taken {
    let mark = b"abc"[(name % 3) as usize];
    assert!(text.bytes().all(|byte| byte == mark));
    assert_eq!(file.is_some(), number % 7 == 0);
    (taker, name, number)
}

/// By how much the longest wait was too long.
#[derive(Clone, Copy, Debug, Default)]
struct Overrun {
    seen: Duration,
    /// Without what the thread waited for a processor, which is the machine's to say.
    ours: Duration,
}

/// Beyond any that were seen, and well below a sleep that nobody ended.
const TOO_LONG: Duration = Duration::from_millis(100);

/// How long this thread has waited for a processor so far; nothing where the kernel does not count it.
fn waited_for_a_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split_whitespace().nth(1);
    Duration::from_nanos(nanoseconds.and_then(|it| it.parse().ok()).unwrap_or(0))
}

#[test]
fn a_queue_survives_its_producers_and_consumers() {
    let kills: u32 = std::env::var("MULTIPROC_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(60);
    let oracle = oracle();
    let (lost, killed_consumers) = within(LIMIT + Duration::from_millis(100) * kills, move || {
        run(kills)
    });
    assert!(
        lost <= killed_consumers,
        "{lost} lost by {killed_consumers}"
    );
    oracle.finish();
}

/// Kills so many, and gives how many messages were lost and how many consumers were killed.
fn run(kills: u32) -> (u64, u64) {
    let queue = Queue::<Message>::bounded(64).unwrap();
    let (sender, taken) = channel::<Taken>().unwrap();
    let judging = thread::spawn(move || {
        let mut all: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut last: HashMap<(u32, u32), u64> = HashMap::new();
        for message in &taken {
            let (taker, name, number) = message.unwrap();
            if let Some(before) = last.insert((taker, name), number) {
                assert!(before < number, "in order of each producer");
            }
            all.entry(name).or_default().push(number);
        }
        all
    });
    let hasty = thread::spawn({
        let (queue, sender) = (queue.clone(), sender.clone());
        move || take_hastily(&queue, &sender)
    });
    let mut next = 1..;
    let mut start = |role: usize| {
        let name = next.next().unwrap();
        if role < ROLES {
            Process::spawn(produce, (queue.clone(), name)).unwrap()
        } else {
            Process::spawn(consume, (queue.clone(), name, sender.clone())).unwrap()
        }
    };
    let mut children: Vec<_> = (0..2 * ROLES).map(&mut start).collect();
    let (mut state, mut killed_consumers) = (0x2545_f491_4f6c_dd1d_u64, 0);
    for _ in 0..kills {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        linger(Duration::from_micros(state % 3_000));
        let role = usize::try_from(state >> 32).unwrap() % children.len();
        let fresh = start(role);
        let victim = std::mem::replace(&mut children[role], fresh);
        victim.kill().unwrap();
        killed_consumers += u64::from(role >= ROLES);
        assert!(victim.join().is_err());
    }
    queue.close().unwrap();
    for child in children {
        child.join().unwrap();
    }
    let worst = hasty.join().unwrap();
    drop(sender);
    let all = judging.join().unwrap();
    let (mut lost, mut count) = (0, 0);
    for mut numbers in all.into_values() {
        numbers.sort_unstable();
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "nothing twice"
        );
        count += numbers.len() as u64;
        lost += numbers.last().unwrap() + 1 - numbers.len() as u64;
    }
    let figure = format!(
        "FIGURE queue: {kills} of {ROLES} producers and {ROLES} consumers killed, {count} messages arrived, \
         {lost} lost by {killed_consumers} killed consumers, longest wait past a deadline {:?}, {:?} of it not \
         for a processor",
        worst.seen, worst.ours
    );
    let _nobody_reads = writeln!(std::io::stderr(), "{figure}");
    if waited_for_a_processor() > Duration::ZERO {
        assert!(worst.ours < TOO_LONG, "{worst:?} past a deadline");
    }
    (lost, killed_consumers)
}

/// Takes with a deadline, and gives the longest wait past one.
fn take_hastily(queue: &Queue<Message>, taken: &Sender<Taken>) -> Overrun {
    let mut worst = Overrun::default();
    loop {
        let (begin, waited) = (Instant::now(), waited_for_a_processor());
        let message = queue.recv_timeout(BRIEFLY);
        let overrun = begin.elapsed().saturating_sub(BRIEFLY);
        let waited = waited_for_a_processor().saturating_sub(waited);
        worst.seen = worst.seen.max(overrun);
        worst.ours = worst.ours.max(overrun.saturating_sub(waited));
        match message {
            Ok(message) => taken.send(judge(0, message)).unwrap(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected(_)) => return worst,
            Err(RecvTimeoutError::Failed(error)) => panic!("{error}"),
        }
        linger(BRIEFLY);
    }
}
