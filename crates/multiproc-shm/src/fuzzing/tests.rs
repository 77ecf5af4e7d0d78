use super::*;
use multiproc_testkit::{CountingAllocator, hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn hostile_ring() {
    hostile("ring", &ring_seeds(), ring);
}

#[test]
fn hostile_segment() {
    let mut taken = 0_u64;
    hostile("segment", &segment_seeds(), |bytes| {
        taken += u64::from(segment(bytes))
    });
    assert!(
        taken > 100,
        "hardly any comes as far as being taken: {taken}"
    );
}

#[test]
fn what_is_good_is_taken() {
    for seed in segment_seeds() {
        assert!(segment(&seed), "{seed:?}");
    }
}

#[test]
fn one_piece_named_twice_is_refused() {
    let forged = lent_seed(14, &vec![LENT_RUN; 2]);
    assert!(!segment(&forged));
}

/// Whatever number a peer has left in any word, nothing adds up to a panic.
#[test]
fn each_word_at_its_ends() {
    let spoiled = |seed: &[u8], decode: fn(&[u8])| {
        for at in 1..seed.len() - 8 {
            for word in [0, u64::MAX, i64::MAX as u64, 1 << 32] {
                let mut bytes = seed.to_vec();
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
                decode(&bytes);
            }
        }
    };
    for seed in ring_seeds() {
        for end in 0..4 {
            let seed = [&[end][..], &seed[1..]].concat();
            spoiled(&seed, ring);
        }
    }
    for seed in segment_seeds() {
        spoiled(&seed[..seed.len().min(400)], |bytes| {
            let _taken: bool = segment(bytes);
        });
    }
}
