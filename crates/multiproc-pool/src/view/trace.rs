//! A timeline in the trace event format of Chrome: one JSON object, a "complete" event (`X`) for each task.

use std::fmt::Write;
use std::time::Duration;

use super::timeline::{TaskOutcome, Timeline};

pub(super) fn render(timeline: &Timeline) -> String {
    let pid = timeline.pid;
    let mut events = Events::default();
    events.add(format_args!(
        r#"{{"ph":"M","pid":{pid},"name":"process_name","args":{{"name":"pool"}}}}"#
    ));
    for (number, worker) in timeline.workers.iter().enumerate() {
        let (seat, worker_pid) = (worker.seat, worker.pid);
        // A number of a process may come back; the place among the workers does not.
        events.add(format_args!(
            r#"{{"ph":"M","pid":{pid},"tid":{number},"name":"thread_name","args":{{"name":"seat {seat}, pid {worker_pid}"}}}}"#
        ));
        events.add(format_args!(
            r#"{{"ph":"M","pid":{pid},"tid":{number},"name":"thread_sort_index","args":{{"sort_index":{seat}}}}}"#
        ));
        if let Some(ready) = worker.ready {
            let (at, took) = (
                Micros(worker.started),
                Micros(ready.saturating_sub(worker.started)),
            );
            events.add(format_args!(
                r#"{{"ph":"X","pid":{pid},"tid":{number},"cat":"worker","name":"start","ts":{at},"dur":{took}}}"#
            ));
        }
        if let Some(ended) = worker.ended {
            let at = Micros(ended);
            events.add(format_args!(
                r#"{{"ph":"i","s":"t","pid":{pid},"tid":{number},"cat":"worker","name":"end","ts":{at}}}"#
            ));
        }
    }
    for task in &timeline.tasks {
        let (number, call, item, outcome) =
            (task.worker, task.call, task.item, task.outcome.name());
        let function = Text(task.function);
        let (at, took) = (
            Micros(task.started),
            Micros(task.ended.saturating_sub(task.started)),
        );
        let colour = match task.outcome {
            TaskOutcome::Returned | TaskOutcome::Running => "",
            _ => r#","cname":"terrible""#,
        };
        events.add(format_args!(
            r#"{{"ph":"X","pid":{pid},"tid":{number},"cat":"task","name":"{call}.{item}","ts":{at},"dur":{took}{colour},"args":{{"call":{call},"item":{item},"function":{function},"outcome":"{outcome}"}}}}"#
        ));
    }
    events.finish(timeline)
}

#[derive(Default)]
struct Events(String);

impl Events {
    fn add(&mut self, event: std::fmt::Arguments<'_>) {
        if !self.0.is_empty() {
            self.0.push_str(",\n");
        }
        // A string takes all there is memory for.
        let _written = self.0.write_fmt(event);
    }

    fn finish(self, timeline: &Timeline) -> String {
        format!(
            "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"forgotten\":\"{}\",\"implausible\":\"{}\"}},\"traceEvents\":[\n{}\n]}}\n",
            timeline.forgotten, timeline.implausible, self.0
        )
    }
}

/// Microseconds, as the format has all times.
struct Micros(Duration);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.as_nanos();
        write!(f, "{}.{:03}", nanos / 1000, nanos % 1000)
    }
}

/// A text as JSON has it.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
