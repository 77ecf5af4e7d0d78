use super::*;
use multiproc_testkit::{CountingAllocator, hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn hostile_handshake() {
    hostile("handshake", &handshake_seeds(), handshake);
}

#[test]
fn hostile_inbox() {
    hostile("inbox", &inbox_seeds(), inbox);
}
