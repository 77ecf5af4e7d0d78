//! Bars: one picture, a panel a job, a bar a contender.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::race::{Standing, say};
use crate::table::figure;

const WIDTH: u32 = 900;
const HEAD: u32 = 34;
const BAR: u32 = 22;
const GAP: u32 = 16;
/// Where bars begin, and where the longest ends.
const LEFT: i32 = 220;
const RIGHT: i32 = 760;
const OURS: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const OTHERS: RGBColor = RGBColor(0x75, 0x70, 0xb3);

/// Draws every job that more than one contender did.
///
/// # Errors
/// Where the file cannot be written.
pub fn draw(path: &Path, standings: &[Standing]) -> Result<(), String> {
    let panels: Vec<Panel<'_>> = standings.iter().filter_map(Panel::of).collect();
    let height = GAP + panels.iter().map(Panel::height).sum::<u32>();
    let area = SVGBackend::new(path, (WIDTH, height.max(1))).into_drawing_area();
    area.fill(&WHITE).map_err(say)?;
    let mut top = GAP;
    for panel in panels {
        panel.draw(&area, top)?;
        top += panel.height();
    }
    area.present().map_err(say)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

struct Panel<'a> {
    standing: &'a Standing,
    bars: Vec<(&'a str, f64)>,
}

impl Panel<'_> {
    fn of(standing: &Standing) -> Option<Panel<'_>> {
        let entries = standing.entries.iter();
        let bars: Vec<_> = entries
            .filter_map(|entry| Some((entry.name, entry.cost()?)))
            .collect();
        (bars.len() > 1).then_some(Panel { standing, bars })
    }

    fn height(&self) -> u32 {
        HEAD + BAR * self.bars.len() as u32 + GAP
    }

    /// Bars are as long as their logarithm, since contenders are orders of magnitude apart; longer is slower.
    fn draw(&self, area: &Area<'_>, top: u32) -> Result<(), String> {
        let black = |size| ("sans-serif", size).into_font().color(&BLACK);
        let title = format!("{} (logarithmic; shorter is better)", self.standing.name);
        let mut y = top as i32;
        area.draw(&Text::new(title, (GAP as i32, y), black(16.0)))
            .map_err(say)?;
        y += HEAD as i32 - 8;
        let costs = self.bars.iter().map(|(_, cost)| *cost);
        let most = costs.clone().fold(0.0, f64::max);
        // So that the shortest can be seen.
        let least = costs.fold(f64::INFINITY, f64::min) / 2.0;
        for (place, (name, cost)) in self.bars.iter().enumerate() {
            let share = (cost / least).ln() / (most / least).ln();
            let end = LEFT + (f64::from(RIGHT - LEFT) * share) as i32;
            let color = if place == 0 { OURS } else { OTHERS };
            let middle = y + BAR as i32 / 2;
            let bar = Rectangle::new([(LEFT, y + 3), (end, y + BAR as i32 - 3)], color.filled());
            area.draw(&bar).map_err(say)?;
            let right = black(13.0).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new((*name).to_owned(), (LEFT - 8, middle), right))
                .map_err(say)?;
            let left = black(13.0).pos(Pos::new(HPos::Left, VPos::Center));
            let value = figure(self.standing.unit, *cost);
            area.draw(&Text::new(value, (end + 6, middle), left))
                .map_err(say)?;
            y += BAR as i32;
        }
        Ok(())
    }
}
