//! The lane of one seat: its workers, one after the other, and their tasks.
//!
//! A task that is a pixel wide or more is a box of its own. Shorter ones are drawn column by column, the paler the
//! less of the column they fill; one that went wrong is seen however short it was.

use std::collections::HashSet;
use std::time::Duration;

use super::axis::Axis;
use super::{GAP, LANE, LEFT, RIGHT, Svg, WIDTH, class_of, colour_of};
use crate::view::stats::short;
use crate::view::timeline::{TaskOutcome, TaskSpan, Timeline};

/// What short tasks leave of a column of a pixel.
#[derive(Clone, Copy, Default, PartialEq)]
struct Column {
    /// How much of it they fill, in eighths.
    eighths: u8,
    call: u64,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels of a picture of fixed width"
)]
fn column_of(x: f64) -> usize {
    (x - LEFT).max(0.0) as usize
}

pub(super) fn draw(svg: &mut Svg, timeline: &Timeline, seat: usize, axis: &Axis, y: f64) {
    let mut last = None;
    let mut alive = Duration::ZERO;
    let end = super::axis::end_of(timeline);
    for worker in timeline.workers.iter().filter(|worker| worker.seat == seat) {
        last = Some(worker.pid);
        let ended = worker.ended.unwrap_or(end);
        let ready = worker.ready.unwrap_or(ended);
        alive += ended.saturating_sub(ready);
        bar(
            svg,
            r#"class="start""#,
            axis.x(worker.started),
            axis.x(ready),
            y,
            "",
        );
        bar(svg, r#"class="alive""#, axis.x(ready), axis.x(ended), y, "");
    }
    let of_seat = |task: &&TaskSpan| timeline.workers[task.worker].seat == seat;
    let tasks: Vec<&TaskSpan> = timeline.tasks.iter().filter(of_seat).collect();
    let busy: Duration = tasks
        .iter()
        .map(|task| task.ended.saturating_sub(task.started))
        .sum();
    let mut filled = vec![(0.0, 0); column_of(WIDTH - RIGHT) + 1];
    let mut boxes = Vec::new();
    let mut marked = HashSet::new();
    for task in tasks {
        let (from, to) = (axis.x(task.started), axis.x(task.ended));
        let wide = to - from >= 1.0;
        if wide || task.outcome != TaskOutcome::Returned {
            // Of those that went wrong in one place, one is seen.
            if wide || marked.insert((column_of(from), task.outcome)) {
                boxes.push((from, to, task));
            }
            continue;
        }
        let column = &mut filled[column_of(from)];
        *column = (column.0 + (to - from), task.call);
    }
    draw_columns(svg, &filled, y);
    for (from, to, task) in boxes {
        draw_box(svg, timeline, task, (from, to.max(from + 2.0)), y);
    }
    let lost = (timeline.tasks.iter()).filter(|task| task.outcome == TaskOutcome::Lost);
    let lost: HashSet<usize> = lost.map(|task| task.worker).collect();
    let workers = timeline.workers.iter().enumerate();
    for (number, worker) in workers.filter(|(_, worker)| worker.seat == seat) {
        let Some(ended) = worker.ended else { continue };
        let lost = lost.contains(&number);
        let (x, class) = (axis.x(ended), if lost { "death" } else { "end-of-worker" });
        svg.add(format_args!(
            r#"<line class="{class}" x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{:.1}"><title>pid {} ended</title></line>"#,
            y - GAP / 2.0 + 1.0,
            y + LANE + GAP / 2.0 - 1.0,
            worker.pid
        ));
    }
    let middle = y + LANE / 2.0 + 4.0;
    let name = last.map_or(String::new(), |pid| format!("pid {pid}"));
    svg.text("", 16.0, middle, &format!("{seat}"));
    svg.text("end faint", LEFT - 10.0, middle, &name);
    let share = match alive.as_secs_f64() {
        0.0 => 0.0,
        alive => (busy.as_secs_f64() / alive * 100.0).min(100.0),
    };
    svg.text("end", WIDTH - 8.0, middle, &format!("{share:.0} %"));
}

/// Columns that look the same, side by side, are one bar.
fn draw_columns(svg: &mut Svg, filled: &[(f64, u64)], y: f64) {
    let mut run: Option<(usize, Column)> = None;
    for place in 0..=filled.len() {
        let column = filled.get(place).map(|(fill, call)| Column {
            eighths: eighths(*fill),
            call: *call,
        });
        let column = column.filter(|column| column.eighths > 0);
        if run.map(|(_, column)| column) == column {
            continue;
        }
        if let Some((from, column)) = run {
            let opacity = f64::from(column.eighths) / 8.0;
            let look = format!(
                r#"fill="{}" fill-opacity="{opacity}""#,
                colour_of(column.call)
            );
            let (from, to) = (LEFT + from as f64, LEFT + place as f64);
            bar(svg, &look, from, to, y, "");
        }
        run = column.map(|column| (place, column));
    }
}

/// In eighths, one at least where there is anything.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number from 0 to 8"
)]
fn eighths(fill: f64) -> u8 {
    match fill {
        0.0 => 0,
        fill => (fill * 8.0).ceil().clamp(1.0, 8.0) as u8,
    }
}

fn draw_box(svg: &mut Svg, timeline: &Timeline, task: &TaskSpan, (from, to): (f64, f64), y: f64) {
    let look = match class_of(task.outcome) {
        Some(class) => format!(r#"class="{class}""#),
        None => format!(r#"fill="{}""#, colour_of(task.call)),
    };
    let title = format!(
        "task {} of call {}: {}\n{} in pid {}, {}",
        task.item,
        task.call,
        task.function,
        short(task.ended.saturating_sub(task.started)),
        timeline.workers[task.worker].pid,
        task.outcome.name()
    );
    // A line of white tells it from its neighbour.
    let gap = if to - from > 3.0 { 0.5 } else { 0.0 };
    bar(svg, &look, from, to - gap, y, &title);
}

fn bar(svg: &mut Svg, look: &str, from: f64, to: f64, y: f64, title: &str) {
    let width = to - from;
    if width <= 0.0 {
        return;
    }
    let title = match title {
        "" => String::new(),
        title => format!("<title>{}</title>", super::escaped(title)),
    };
    svg.add(format_args!(
        r#"<rect {look} x="{from:.2}" y="{y:.1}" width="{width:.2}" height="{LANE}">{title}</rect>"#
    ));
}
