use super::*;
use multiproc_testkit::{CountingAllocator, hostile};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn hostile_order() {
    hostile("order", &order_seeds(), order);
}

#[test]
fn hostile_report() {
    hostile("report", &report_seeds(), report);
}

#[test]
fn hostile_trigger() {
    hostile("trigger", &[b"1234:2".to_vec(), b"-1::".to_vec()], trigger);
}
