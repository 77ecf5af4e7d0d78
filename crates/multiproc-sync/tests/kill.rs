//! Processes killed with SIGKILL at random instants while others take turns at the same lock: every
//! other goes on, and is told of each death that may have left something behind.
//!
//! `MULTIPROC_KILL_ROUNDS` and `MULTIPROC_KILL_SEED` set the number of rounds and repeat a run.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    if let Some((role, memory)) = support::Memory::inherited() {
        rounds::child(&role, memory.shared());
    } else if !support::listed("every_other_goes_on") {
        rounds::run();
    }
}

#[cfg(not(loom))]
mod support;

#[cfg(not(loom))]
#[expect(clippy::print_stdout, reason = "a test program tells what it has done")]
mod rounds {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Child;
    use std::sync::atomic::Ordering::{Acquire, Relaxed};
    use std::time::{Duration, Instant};

    use multiproc_sync::Deadline;

    use super::support::{Memory, Shared, announce, eventually, follow, limit, now};

    /// The actors: two that are killed, a process and a thread of the parent that are not.
    const VICTIMS: [usize; 2] = [0, 1];
    const SURVIVORS: [usize; 2] = [2, 3];
    /// No round starts after this, whatever number was asked for by default.
    const ENOUGH: Duration = Duration::from_secs(10);
    /// What a survivor is told when there are no more rounds.
    const END: u32 = u32::MAX;

    pub(super) fn child(role: &str, shared: &Shared) {
        let (actor, work) = role.split_once(' ').unwrap();
        match (actor.parse().unwrap(), work.parse().unwrap()) {
            (actor, work) if VICTIMS.contains(&actor) => loop {
                shared.turn(actor, work);
            },
            (actor, _) => survive(actor, shared),
        }
    }

    /// Takes turns until a round is over, and one more.
    fn survive(actor: usize, shared: &Shared) {
        let mut known = 0;
        loop {
            match follow(&shared.round, known, Deadline::NEVER) {
                END => return,
                // Even: a round is on. Odd: its victims are dead.
                round => {
                    while shared.round.load(Acquire) == round && round.is_multiple_of(2) {
                        shared.turn(actor, 0);
                    }
                    shared.turn(actor, 0);
                    known = round | 1;
                    announce(&shared.through[actor], known);
                }
            }
        }
    }

    pub(super) fn run() {
        let asked = std::env::var("MULTIPROC_KILL_ROUNDS")
            .ok()
            .map(|rounds| rounds.parse().unwrap());
        let rounds: u32 = asked.unwrap_or(300);
        let seed = std::env::var("MULTIPROC_KILL_SEED")
            .map_or_else(|_| now(), |seed| seed.parse().unwrap());
        let mut random = Random(seed | 1);
        println!("MULTIPROC_KILL_SEED={seed} repeats this run");
        let memory = Memory::new();
        let shared = memory.shared();
        let mut bystander = memory.start(&format!("{} 0", SURVIVORS[0]));
        let begun = Instant::now();
        let (mut done, mut told, mut latencies) = (0, 0, vec![]);
        std::thread::scope(|scope| {
            scope.spawn(|| survive(SURVIVORS[1], shared));
            let _stop = Stop(shared);
            while done < rounds && (asked.is_some() || begun.elapsed() < ENOUGH) {
                round(&memory, done, &mut random, &mut latencies);
                done += 1;
                assert!(
                    bystander.try_wait().unwrap().is_none(),
                    "the bystander is gone"
                );
            }
            told = shared.deaths_told.load(Relaxed);
        });
        assert!(bystander.wait().unwrap().success());
        assert!(
            u64::from(done) * 2 >= told,
            "more deaths were told of than there were"
        );
        latencies.sort_unstable();
        let at = |share: usize| {
            latencies
                .get(latencies.len() * share / 100)
                .map_or(0, |nanos| nanos / 1_000)
        };
        println!(
            "every_other_goes_on: ok. {done} rounds of 2 deaths; {} turns; {told} deaths told of; \
             kill of a holder to told of it, {} taken: p50 {} µs, p99 {} µs",
            shared
                .turns
                .iter()
                .map(|turns| turns.load(Relaxed))
                .sum::<u64>(),
            latencies.len(),
            at(50),
            at(99),
        );
    }

    /// Lets two victims take turns with the survivors, kills both, and has each survivor take a turn.
    fn round(memory: &Memory, number: u32, random: &mut Random, latencies: &mut Vec<u64>) {
        let shared = memory.shared();
        // In every other round the victims hold the lock for most of the time and the others sleep:
        // how soon these are told is measured then, with a core free for the dying to die on.
        let work = if number.is_multiple_of(2) {
            0
        } else {
            5_000 + random.below(50_000)
        };
        let before = VICTIMS.map(|victim| shared.turns[victim].load(Relaxed));
        let through = [0, 1].map(|which| shared.through[SURVIVORS[which]].load(Acquire));
        let told = shared.deaths_told.load(Relaxed);
        announce(&shared.round, number * 2 + 2);
        let mut victims = VICTIMS.map(|victim| Victim(memory.start(&format!("{victim} {work}"))));
        for (victim, before) in VICTIMS.into_iter().zip(before) {
            eventually("a victim's first turn", || {
                shared.turns[victim].load(Relaxed) > before
            });
        }
        let instant = now() + random.below(200_000);
        while now() < instant {
            std::hint::spin_loop();
        }
        let killed = now();
        for victim in &mut victims {
            victim.0.kill().unwrap();
        }
        announce(&shared.round, number * 2 + 3);
        for (survivor, before) in SURVIVORS.into_iter().zip(through) {
            follow(&shared.through[survivor], before, limit());
        }
        let dead = victims.map(|mut victim| {
            let status = victim.0.wait().unwrap();
            assert_eq!(
                status.signal(),
                Some(libc::SIGKILL),
                "a victim found something wrong: {status}"
            );
            victim.0.id()
        });
        if shared.deaths_told.load(Relaxed) > told {
            let owner = shared.told_of.load(Relaxed);
            assert!(
                owner == 0 || dead.contains(&owner),
                "{owner} was not killed in this round"
            );
            if work > 0 {
                latencies.push(shared.told_at.load(Relaxed).saturating_sub(killed));
            }
        }
    }

    /// Killed when a round is given up.
    struct Victim(Child);

    impl Drop for Victim {
        fn drop(&mut self) {
            if let Ok(None) = self.0.try_wait() {
                drop((self.0.kill(), self.0.wait()));
            }
        }
    }

    /// Lets the survivors end, also where a round has failed.
    struct Stop<'a>(&'a Shared);

    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            announce(&self.0.round, END);
        }
    }

    /// xorshift64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }
}
