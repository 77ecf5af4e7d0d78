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

#[test]
fn hostile_forkserver() {
    hostile("forkserver", &forkserver_seeds(), forkserver);
}

#[test]
fn hostile_environment() {
    hostile("environment", &environment_seeds(), environment);
}
