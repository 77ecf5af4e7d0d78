//! Waits: they end when what they wait for comes, and fail at their deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use multiproc_testkit::{Percentiles, eventually, forever, within};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn eventually_ends_as_soon_as_it_holds() {
    let mut looks = 0;
    eventually(LONG, "the third look", || {
        looks += 1;
        looks == 3
    });
    assert_eq!(looks, 3);
}

#[test]
fn eventually_fails_at_the_deadline_and_names_what() {
    let start = Instant::now();
    let panic = catch_unwind(|| eventually(SHORT, "pigs fly", || false)).expect_err("it fails");
    assert!(start.elapsed() >= SHORT);
    let message = panic.downcast::<String>().expect("a formatted message");
    assert_eq!(*message, "not within 50ms: pigs fly");
}

#[test]
fn eventually_looks_once_with_no_time_at_all() {
    eventually(Duration::ZERO, "what holds already", || true);
}

#[test]
fn within_returns_the_value() {
    assert_eq!(within(LONG, || 7), 7);
}

#[test]
fn within_fails_at_the_deadline() {
    let panic = catch_unwind(|| within(SHORT, || forever())).expect_err("it fails");
    assert_eq!(
        *panic.downcast::<String>().expect("a formatted message"),
        "no return within 50ms"
    );
}

#[test]
fn within_passes_a_panic_on() {
    let panic = catch_unwind(|| within(LONG, || panic!("inside"))).expect_err("it fails");
    assert_eq!(
        *panic.downcast::<&str>().expect("a literal message"),
        "inside"
    );
}

#[test]
fn percentiles_are_nearest_ranks_in_any_order() {
    let mut report = Percentiles::new("kill to error");
    for n in (1..=200).rev() {
        report.add(Duration::from_millis(n));
    }
    assert_eq!(
        report.to_string(),
        "kill to error: n=200 p50=100ms p99=198ms max=200ms"
    );
    let mut one = Percentiles::new("one");
    one.add(SHORT);
    assert_eq!([one.p50(), one.p99(), one.max()], [SHORT; 3]);
}

#[test]
fn percentiles_of_nothing_fail() {
    assert_eq!(Percentiles::new("nothing").to_string(), "nothing: n=0");
    assert!(catch_unwind(AssertUnwindSafe(|| Percentiles::new("nothing").p50())).is_err());
}
