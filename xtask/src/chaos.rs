//! `chaos`: the pool with workers that are killed, stopped and hang, thousands of times; prints what it took.
//!
//! The same test with fewer rounds is part of `cargo test`.

use crate::steps::{Steps, cargo, run as run_command};

pub(crate) fn run(steps: &mut Steps, args: &[&str]) {
    steps.run("chaos", || {
        let times = match args {
            [] => 1,
            [times] => times
                .parse::<u32>()
                .map_err(|error| format!("`{times}` is no number of times: {error}"))?,
            _ => return Err("chaos takes one number at most".to_owned()),
        };
        let mut command = cargo(&[
            "test",
            "--release",
            "--package",
            "multiproc-pool",
            "--test",
            "chaos",
        ]);
        command
            .args(["--", "--test-threads", "1", "--nocapture"])
            .env("MULTIPROC_CHAOS", times.to_string());
        run_command(&mut command)
    });
}
