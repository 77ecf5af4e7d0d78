use super::*;
use multiproc_testkit::{CountingAllocator, hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn hostile_travel() {
    for seed in travel_seeds() {
        assert!(travel(&seed), "what is good is taken: {seed:?}");
    }
    hostile("travel", &travel_seeds(), |bytes| {
        let _taken: bool = travel(bytes);
    });
}

/// Whatever number a peer has left in any word, nothing adds up to a panic.
#[test]
fn each_word_at_its_ends() {
    for seed in travel_seeds() {
        let image = 2 + usize::from(seed[1]);
        for at in (image..seed.len() - 8).step_by(4) {
            for word in [0, u64::MAX, i64::MAX as u64, 1 << 32] {
                let mut bytes = seed.clone();
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
                let _taken: bool = travel(&bytes);
            }
        }
    }
}

#[test]
fn hostile_line() {
    hostile("line", &line_seeds(), line);
}

#[test]
fn hostile_queue() {
    for seed in queue_seeds() {
        assert!(queue(&seed), "what is good is taken: {seed:?}");
    }
    hostile("queue", &queue_seeds(), |bytes| {
        let _taken: bool = queue(bytes);
    });
}

#[test]
fn each_word_of_a_queue_at_its_ends() {
    for seed in queue_seeds() {
        let image = 2 + usize::from(seed[1]);
        for at in (image..seed.len() - 8).step_by(4) {
            for word in [0, u64::MAX, i64::MAX as u64, 1 << 32] {
                let mut bytes = seed.clone();
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
                let _taken: bool = queue(&bytes);
            }
        }
    }
}
