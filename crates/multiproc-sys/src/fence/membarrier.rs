//! By the system call `membarrier`, of which the *global expedited* kind interrupts those processors alone that run a
//! process which has registered. A thread that runs nowhere has passed a fence when it was put aside.

/// Of Linux's `membarrier.h`.
const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// Has this process take part, for good. Whether it does.
#[must_use]
pub fn register() -> bool {
    call(REGISTER_GLOBAL_EXPEDITED)
}

/// Has each thread of those that take part pass a fence, and this one. Whether they have.
#[must_use]
pub fn heavy() -> bool {
    call(GLOBAL_EXPEDITED)
}

fn call(command: libc::c_int) -> bool {
    // SAFETY: no memory is passed; the last two arguments are not looked at without a flag.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

    use super::*;

    #[test]
    fn of_two_sides_that_write_and_then_read_one_sees_the_other() {
        if !register() {
            return;
        }
        const ROUNDS: u32 = 2_000;
        let [go, mine, theirs, answer] = [(); 4].map(|()| AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    while go.load(Ordering::Acquire) != round {
                        std::thread::yield_now();
                    }
                    theirs.store(round, Ordering::Relaxed);
                    compiler_fence(Ordering::SeqCst);
                    let saw = mine.load(Ordering::Relaxed) == round;
                    answer.store(round << 1 | u32::from(saw), Ordering::Release);
                }
            });
            for round in 1..=ROUNDS {
                go.store(round, Ordering::Release);
                mine.store(round, Ordering::Relaxed);
                assert!(heavy());
                let saw = theirs.load(Ordering::Relaxed) == round;
                let other = loop {
                    let answer = answer.load(Ordering::Acquire);
                    if answer >> 1 == round {
                        break answer & 1 == 1;
                    }
                    std::thread::yield_now();
                };
                assert!(saw || other, "round {round}");
            }
        });
    }
}
