use super::*;
use multiproc_testkit::{CountingAllocator, hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn hostile_codec() {
    hostile("codec", &codec_seeds(), codec);
}

#[test]
fn hostile_frame() {
    hostile("frame", &frame_seeds(), frame);
}
