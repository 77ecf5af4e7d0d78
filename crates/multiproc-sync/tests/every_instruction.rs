//! A process killed with SIGKILL after each single instruction of a lock's operations, while another
//! thread sleeps on the lock: that one goes on, and is told of the death where it must be.
//!
//! `ptrace` steps the process. Unoptimised, an operation has thousands of instructions, and a sample
//! of them is tried, a different one in each run; `MULTIPROC_EVERY_INSTRUCTION=1` tries all.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    if let Some((role, memory)) = support::Memory::inherited() {
        steps::child(&role, memory.shared());
    } else if !support::listed("others_go_on_after_a_death_at_any_instruction") {
        steps::run();
    }
}

#[cfg(not(loom))]
mod support;

#[cfg(not(loom))]
#[expect(clippy::print_stdout, reason = "a test program tells what it has done")]
mod steps {
    use std::fs;
    use std::io;
    use std::ptr;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::{Acquire, Release};
    use std::thread;
    use std::time::Instant;

    use multiproc_sync::primitive::thread_id;
    use multiproc_sync::{Deadline, Held, LockWord};

    use super::support::{Memory, Shared, eventually, limit, now};

    /// What the process is doing when it is killed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Case {
        /// It takes and releases a lock that nobody else wants.
        Alone,
        /// It releases the lock, and somebody sleeps.
        Releasing,
        /// It releases a lock that has somebody down as asleep although nobody is.
        Closing,
        /// It was woken to take the lock, and another sleeps behind it.
        Woken,
        /// As `Woken`, and somebody else has taken the lock before it could.
        Overtaken,
    }

    const CASES: [Case; 5] = [
        Case::Alone,
        Case::Releasing,
        Case::Closing,
        Case::Woken,
        Case::Overtaken,
    ];

    /// How many instructions of each case are tried.
    const TRIED: u64 = 50;

    pub(super) fn run() {
        let all = std::env::var_os("MULTIPROC_EVERY_INSTRUCTION").is_some();
        stay_on_one_core();
        for case in CASES {
            let begun = Instant::now();
            let (length, _) = kill_after(case, u64::MAX);
            let stride = if all { 1 } else { length.div_ceil(TRIED) };
            let (mut tried, mut told) = (0, 0);
            let mut steps = now() % stride;
            while steps < length {
                let (_, held) = kill_after(case, steps);
                tried += 1;
                told += u32::from(held != Held::Sound);
                steps += stride;
            }
            println!(
                "{case:?}: ok. Killed at {tried} of {length} instructions, the next taker was told {told} \
                 times, in {:?}",
                begun.elapsed()
            );
        }
    }

    /// A step is two switches between processes, which are ten times slower between cores.
    fn stay_on_one_core() {
        // SAFETY: takes no pointer.
        let here = unsafe { libc::sched_getcpu() }.cast_unsigned() as usize;
        // SAFETY: a set of cores is plain bits.
        let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel's number of a core is within the set.
        unsafe { libc::CPU_SET(here, &mut cores) };
        // SAFETY: `cores` is live and as long as said.
        unsafe { libc::sched_setaffinity(0, size_of_val(&cores), &raw const cores) };
    }

    pub(super) fn child(role: &str, shared: &Shared) {
        let case = CASES
            .into_iter()
            .find(|case| format!("{case:?}") == role)
            .unwrap();
        // What only a thread's first lock does is done now.
        let own = LockWord::default();
        assert_eq!(take(&own), Held::Sound);
        release(&own);
        let holds = matches!(case, Case::Releasing | Case::Closing);
        if holds {
            assert_eq!(take(&shared.lock), Held::Sound);
        }
        // SAFETY: takes no pointer that is looked at.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: takes no pointer.
        unsafe { libc::raise(libc::SIGSTOP) };
        if !holds {
            let _: Held = take(&shared.lock);
            shared.through[0].store(INSIDE, Release);
            shared.through[0].store(OUTSIDE, Release);
        }
        release(&shared.lock);
        // SAFETY: ends the process; nothing is left to be done.
        unsafe { libc::_exit(0) };
    }

    const INSIDE: u32 = 1;
    const OUTSIDE: u32 = 2;

    /// Has a process live for `steps` instructions of what `case` says, at most, and kills it. Says how
    /// many it came to execute, and what the next taker was told.
    fn kill_after(case: Case, steps: u64) -> (u64, Held) {
        let memory = Memory::new();
        let shared = memory.shared();
        if case == Case::Closing {
            seem_waited_for(&shared.lock);
        }
        let mut victim = Stepped::start(&memory, case);
        let sleeper = AtomicU32::new(0);
        thread::scope(|scope| {
            let sleeping_taker = || {
                let taker = scope.spawn(|| {
                    sleeper.store(thread_id(), Release);
                    let held = take(&shared.lock);
                    release(&shared.lock);
                    held
                });
                eventually("the taker's sleep", || {
                    let id = sleeper.load(Acquire);
                    id != 0 && sleeps_on_a_futex(&format!("self/task/{id}"))
                });
                taker
            };
            let taker = match case {
                Case::Alone | Case::Closing => None,
                Case::Releasing => Some(sleeping_taker()),
                Case::Woken | Case::Overtaken => {
                    assert_eq!(take(&shared.lock), Held::Sound);
                    victim.go_to_sleep();
                    let taker = sleeping_taker();
                    // First come, first woken.
                    release(&shared.lock);
                    if case == Case::Overtaken {
                        assert_eq!(take(&shared.lock), Held::Sound);
                    }
                    victim.finish_step();
                    Some(taker)
                }
            };
            let mut executed = 0;
            while executed < steps && victim.step() == Step::Executed {
                executed += 1;
            }
            victim.kill();
            let inside = shared.through[0].load(Acquire) == INSIDE;
            if case == Case::Overtaken {
                release(&shared.lock);
            }
            let held = taker.map_or_else(|| take(&shared.lock), |taker| taker.join().unwrap());
            assert!(
                !inside || held != Held::Sound,
                "killed inside, and no word of it"
            );
            if matches!(case, Case::Alone | Case::Closing) {
                release(&shared.lock);
            }
            shared.lock.clear_poison();
            assert_eq!(take(&shared.lock), Held::Sound);
            release(&shared.lock);
            (executed, held)
        })
    }

    /// Has somebody wait for the lock and give up, so that its word still says so.
    fn seem_waited_for(lock: &LockWord) {
        assert_eq!(take(lock), Held::Sound);
        thread::scope(|scope| {
            // SAFETY: not taken.
            scope.spawn(|| assert!(unsafe { lock.lock(Deadline::now()) }.is_err()));
        });
        release(lock);
    }

    fn take(lock: &LockWord) -> Held {
        // SAFETY: whoever maps the lock does so until it has released it or is dead.
        unsafe { lock.lock(limit()) }.expect("the lock does not come")
    }

    fn release(lock: &LockWord) {
        // SAFETY: the lock protects nothing but the tests' patience.
        unsafe { lock.unlock() };
    }

    fn sleeps_on_a_futex(task: &str) -> bool {
        let futex = format!("{} ", libc::SYS_futex);
        fs::read_to_string(format!("/proc/{task}/syscall"))
            .is_ok_and(|call| call.starts_with(&futex))
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        Executed,
        /// The instruction is a call that sleeps.
        Asleep,
        /// There was none left.
        Ended,
    }

    /// A child that executes one instruction at a time.
    struct Stepped {
        process: libc::pid_t,
        state: Step,
    }

    impl Stepped {
        fn start(memory: &Memory, case: Case) -> Stepped {
            let process = memory.start(&format!("{case:?}")).id().cast_signed();
            let mut stepped = Stepped {
                process,
                state: Step::Executed,
            };
            stepped.finish_step();
            stepped
        }

        fn step(&mut self) -> Step {
            if self.state == Step::Executed {
                self.resume(libc::PTRACE_SINGLESTEP);
            }
            self.state
        }

        /// Lets it run into a call that sleeps.
        fn go_to_sleep(&mut self) {
            while self.state == Step::Executed {
                // To the beginning of the next call, and through it.
                self.resume(libc::PTRACE_SYSCALL);
                self.step();
            }
            assert_eq!(self.state, Step::Asleep);
        }

        fn resume(&mut self, how: libc::c_uint) {
            let none = ptr::null_mut::<libc::c_void>();
            // SAFETY: the child is stopped and ours to trace; neither pointer is looked at.
            let result = unsafe { libc::ptrace(how, self.process, none, none) };
            assert_eq!(result, 0, "ptrace: {}", io::Error::last_os_error());
            let mut looks = 0_u32;
            while !self.look(libc::WNOHANG) {
                // The child runs on this core.
                thread::yield_now();
                looks += 1;
                if looks.is_multiple_of(64) && sleeps_on_a_futex(&self.process.to_string()) {
                    self.state = Step::Asleep;
                    return;
                }
            }
        }

        /// Waits for the end of a step that was asleep.
        fn finish_step(&mut self) {
            self.state = Step::Executed;
            assert!(self.look(0));
        }

        /// Whether the child has stopped or ended.
        fn look(&mut self, options: libc::c_int) -> bool {
            let mut status = 0;
            // SAFETY: `status` is live.
            let found = unsafe { libc::waitpid(self.process, &raw mut status, options) };
            assert!(found >= 0, "waitpid: {}", io::Error::last_os_error());
            if found > 0 && !libc::WIFSTOPPED(status) {
                assert!(
                    status == 0 || libc::WIFSIGNALED(status),
                    "the child failed: {status:#x}"
                );
                self.state = Step::Ended;
            }
            found > 0
        }

        fn kill(&mut self) {
            if self.state != Step::Ended {
                // SAFETY: takes no pointer; the child has not been reaped.
                unsafe { libc::kill(self.process, libc::SIGKILL) };
                while self.state != Step::Ended {
                    self.look(0);
                }
            }
        }
    }

    impl Drop for Stepped {
        fn drop(&mut self) {
            if !thread::panicking() || self.state != Step::Ended {
                self.kill();
            }
        }
    }
}
