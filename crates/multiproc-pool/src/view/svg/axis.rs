//! Where a moment lies on the picture, and which moments are named.

use std::time::Duration;

use crate::view::timeline::Timeline;

/// Moments from the pool's beginning to the last that is known.
pub(super) struct Axis {
    left: f64,
    width: f64,
    /// In seconds; never 0.
    length: f64,
}

/// The last moment at which something is known to have happened.
pub(super) fn end_of(timeline: &Timeline) -> Duration {
    let workers = timeline.workers.iter();
    let workers = workers.map(|worker| worker.ended.or(worker.ready).unwrap_or(worker.started));
    let tasks = timeline.tasks.iter().map(|task| task.ended);
    workers.chain(tasks).max().unwrap_or(timeline.until)
}

impl Axis {
    pub(super) fn of(timeline: &Timeline, left: f64, width: f64) -> Axis {
        let length = end_of(timeline).as_secs_f64().max(1e-6);
        Axis {
            left,
            width,
            length,
        }
    }

    pub(super) fn x(&self, moment: Duration) -> f64 {
        let share = (moment.as_secs_f64() / self.length).min(1.0);
        self.left + share * self.width
    }

    /// Moments at round numbers, with what they are called.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let step = round_step(self.length / 8.0);
        let (scale, unit) = match self.length {
            l if l >= 2.0 => (1.0, "s"),
            l if l >= 2e-3 => (1e3, "ms"),
            _ => (1e6, "µs"),
        };
        let digits = usize::from(step * scale < 1.0) + usize::from(step * scale < 0.1);
        let name = |moment: f64| match moment {
            0.0 => "0".to_string(),
            moment => format!("{:.digits$} {unit}", moment * scale),
        };
        let ticks = (0..32_u8).map(|tick| f64::from(tick) * step);
        let ticks = ticks.take_while(|moment| *moment <= self.length);
        let x = |moment| self.left + moment / self.length * self.width;
        ticks.map(|moment| (x(moment), name(moment))).collect()
    }
}

/// The next longer of 1, 2 and 5, times a power of ten.
fn round_step(seconds: f64) -> f64 {
    let power = 10_f64.powf(seconds.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power >= seconds * 0.999);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (least, step) in [
            (0.9, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (0.03, 0.05),
            (60.0, 100.0),
        ] {
            assert!((round_step(least) / step - 1.0).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn an_axis_has_a_handful_of_ticks_with_units() {
        for millis in [1, 7, 90, 1500, 2500, 86_400_000] {
            let timeline = Timeline {
                until: Duration::from_millis(millis),
                ..Timeline::default()
            };
            let ticks = Axis::of(&timeline, 0.0, 100.0).ticks();
            assert!((4..=10).contains(&ticks.len()), "{millis}: {ticks:?}");
            let unit = if millis >= 2000 {
                " s"
            } else if millis >= 2 {
                " ms"
            } else {
                " µs"
            };
            assert!(
                ticks[1..].iter().all(|(_, name)| name.ends_with(unit)),
                "{ticks:?}"
            );
            assert!(ticks.iter().all(|(x, _)| (0.0..=100.0).contains(x)));
        }
    }
}
