//! A timeline as a picture: a lane for each seat, an axis of time, a legend.
//!
//! - [`axis`]: where a moment lies, and which moments are named
//! - [`lanes`]: tasks and workers of one seat; tasks that are too short to be seen are drawn together
//!
//! Its size is bounded by the number of lanes, however many tasks there are.

mod axis;
mod lanes;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::stats::{bare, short};
use super::timeline::{TaskOutcome, Timeline};
use axis::Axis;

const WIDTH: f64 = 1200.0;
/// Left of the lanes, for their names, and right of them, for how busy they were.
const LEFT: f64 = 120.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 64.0;
const LANE: f64 = 26.0;
const GAP: f64 = 8.0;
/// More lanes are not drawn.
const MOST_LANES: usize = 128;
/// More calls than these have no colour of their own in the legend.
const MOST_CALLS: usize = 6;

/// Of calls, one after the other and from the beginning again: told apart by those who see no red or green too.
const COLOURS: [&str; 6] = [
    "#4477aa", "#66a61e", "#228899", "#aa7744", "#8866aa", "#777777",
];

const STYLE: &str = "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:12px;fill:#333}\
.title{font-size:16px;font-weight:600}.faint{fill:#777}.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:#e4e4e4;stroke-width:1}.alive{fill:#f1f3f5}.start{fill:url(#starting)}\
.lost{fill:#cc3311}.panicked{fill:#ee7733}.failed{fill:#ee3377}.running{fill:url(#running)}\
.death{stroke:#cc3311;stroke-width:2}.end-of-worker{stroke:#999;stroke-width:1.5}";

const PATTERNS: &str = "<defs><pattern id=\"starting\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#f1f3f5\"/><rect width=\"2\" height=\"6\" \
fill=\"#c4cbd2\"/></pattern><pattern id=\"running\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#bbccee\"/><rect width=\"3\" height=\"6\" \
fill=\"#6688cc\"/></pattern></defs>";

pub(super) fn render(timeline: &Timeline) -> String {
    let seats = timeline.workers.iter().map(|worker| worker.seat + 1).max();
    let seats = seats.unwrap_or_default();
    let lanes = seats.min(MOST_LANES);
    let axis = Axis::of(timeline, LEFT, WIDTH - LEFT - RIGHT);
    let bottom = TOP + lanes as f64 * (LANE + GAP);
    let height = bottom + 96.0;
    let mut svg = Svg::default();
    svg.add(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">"#
    ));
    svg.add(format_args!("<style>{STYLE}</style>{PATTERNS}"));
    svg.add(format_args!(
        r##"<rect width="100%" height="100%" fill="#fff"/>"##
    ));
    heading(&mut svg, timeline, seats);
    for (x, name) in axis.ticks() {
        svg.add(format_args!(
            r#"<line class="grid" x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{:.1}"/>"#,
            TOP - 6.0,
            bottom
        ));
        svg.text("middle faint", x, bottom + 16.0, &name);
    }
    for seat in 0..lanes {
        lanes::draw(
            &mut svg,
            timeline,
            seat,
            &axis,
            TOP + seat as f64 * (LANE + GAP),
        );
    }
    svg.text("faint", 16.0, TOP - 12.0, "seat");
    svg.text("end faint", LEFT - 10.0, TOP - 12.0, "process");
    svg.text("end faint", WIDTH - 8.0, TOP - 12.0, "busy");
    svg.text(
        "middle",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        bottom + 34.0,
        "time since the pool was made",
    );
    legend(&mut svg, timeline, bottom + 62.0);
    svg.add(format_args!("</svg>"));
    svg.0
}

fn heading(svg: &mut Svg, timeline: &Timeline, seats: usize) {
    svg.text("title", 16.0, 26.0, "Pool timeline");
    let mut text = format!(
        "{} tasks, {} workers on {seats} seats, {}",
        timeline.tasks.len(),
        timeline.workers.len(),
        short(axis::end_of(timeline))
    );
    let notes = [
        (timeline.forgotten, "older tasks are not shown"),
        (timeline.implausible, "tasks had times that cannot be"),
        (
            seats.saturating_sub(MOST_LANES) as u64,
            "more lanes are not shown",
        ),
    ];
    for (count, what) in notes {
        if count > 0 {
            // A string takes all there is memory for.
            let _written = write!(text, "; {count} {what}");
        }
    }
    svg.text("faint", 140.0, 26.0, &text);
}

/// What the colours mean, as far as they are used.
fn legend(svg: &mut Svg, timeline: &Timeline, y: f64) {
    let mut calls: BTreeMap<u64, (&str, usize)> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, &str> = BTreeMap::new();
    for task in &timeline.tasks {
        if let Some(class) = class_of(task.outcome) {
            outcomes.insert(class, task.outcome.name());
        } else {
            calls.entry(task.call).or_insert((task.function, 0)).1 += task.items;
        }
    }
    let mut entries = Vec::new();
    for (call, (function, count)) in calls.iter().take(MOST_CALLS) {
        let fill = format!(r#"fill="{}""#, colour_of(*call));
        entries.push((fill, format!("call {call}: {} × {count}", bare(function))));
    }
    for (class, name) in outcomes {
        entries.push((format!(r#"class="{class}""#), name.to_string()));
    }
    entries.push((r#"class="start""#.to_string(), "worker starts".to_string()));
    entries.push((r#"class="alive""#.to_string(), "worker waits".to_string()));
    let more = calls.len().saturating_sub(MOST_CALLS);
    let (mut x, mut y) = (16.0, y);
    for (look, name) in entries {
        let name = cut(&name);
        // About as wide as a letter is.
        let width = 34.0 + 6.6 * name.chars().count() as f64;
        if x + width > WIDTH - 16.0 {
            (x, y) = (16.0, y + 18.0);
        }
        svg.add(format_args!(
            r#"<rect {look} x="{x:.1}" y="{:.1}" width="14" height="12" rx="2"/>"#,
            y - 10.0
        ));
        svg.text("", x + 20.0, y, &name);
        x += width;
    }
    if more > 0 {
        svg.text("faint", x, y, &format!("and {more} more calls"));
    }
}

/// A name that is not too long for a legend.
fn cut(name: &str) -> String {
    const MOST: usize = 48;
    match name.char_indices().nth(MOST) {
        Some((place, _)) => format!("{}…", &name[..place]),
        None => name.to_string(),
    }
}

fn colour_of(call: u64) -> &'static str {
    let place = usize::try_from(call.saturating_sub(1) % COLOURS.len() as u64);
    COLOURS[place.unwrap_or_default()]
}

/// The class of what did not simply return.
fn class_of(outcome: TaskOutcome) -> Option<&'static str> {
    match outcome {
        TaskOutcome::Returned => None,
        TaskOutcome::Panicked => Some("panicked"),
        TaskOutcome::Failed => Some("failed"),
        TaskOutcome::Lost => Some("lost"),
        TaskOutcome::Running => Some("running"),
    }
}

#[derive(Default)]
struct Svg(String);

impl Svg {
    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // A string takes all there is memory for.
        let _written = self.0.write_fmt(element);
        self.0.push('\n');
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        ));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
