//! The source of hostile bytes finds what it is there to find.

use std::collections::HashSet;
use std::panic::catch_unwind;

use multiproc_testkit::{CountingAllocator, hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A length, and as many bytes.
fn good() -> Vec<Vec<u8>> {
    vec![vec![3, 0, 0, 0, 7, 8, 9]]
}

fn length(input: &[u8]) -> usize {
    let bytes = input.first_chunk().copied().unwrap_or_default();
    usize::try_from(u32::from_le_bytes(bytes)).unwrap()
}

#[test]
fn a_decoder_that_trusts_a_length_is_found_out() {
    let trusting = |input: &[u8]| {
        if input.len() > 4 {
            assert_ne!(input[4..][..length(input)].len(), usize::MAX);
        }
    };
    assert!(catch_unwind(|| hostile("none", &good(), trusting)).is_err());
}

#[test]
fn a_decoder_that_takes_memory_for_a_claim_is_found_out() {
    let greedy = |input: &[u8]| {
        let room = vec![0_u8; length(input).min(1 << 32)];
        assert_ne!(std::hint::black_box(room).len(), usize::MAX);
    };
    assert!(catch_unwind(|| hostile("none", &good(), greedy)).is_err());
}

#[test]
fn inputs_differ_and_some_are_bombs() {
    let (mut seen, mut longest) = (HashSet::new(), 0);
    hostile("none", &good(), |input| {
        longest = longest.max(input.len());
        seen.insert(input.to_vec());
    });
    assert!(seen.len() > 10_000, "{}", seen.len());
    assert!(longest > 10_000, "{longest}");
}
