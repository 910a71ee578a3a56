//! Drawings over two axes of numbers: curves, dots, and bars that stand on the lower axis.

use crate::canvas::{self, Anchor, Canvas, Svg, failed, fill, fine, line, text};
use crate::palette::{self, AXIS, Colour, GRID, MUTED};
use crate::{Result, format};
use plotters::chart::ChartBuilder;
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::series::LineSeries;

/// How the points of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mark {
    /// A line through them.
    Line,
    /// A line through them that marks what others are compared with.
    Dashed,
    /// A dot each.
    Dots,
    /// A line with a dot at each.
    LineAndDots,
    /// Bars from 0, of a width that is given.
    Bars(f64),
}

/// Points of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// What they are; nameless ones are not in the legend.
    pub name: String,
    /// Their places.
    pub points: Vec<(f64, f64)>,
    /// Their colour.
    pub colour: Colour,
    /// How they are drawn.
    pub mark: Mark,
}

/// What stands along an axis.
pub(crate) struct Axis<'a> {
    /// What it counts.
    pub name: &'a str,
    /// From where to where; by the points where it is not given.
    pub range: Option<(f64, f64)>,
    /// How its numbers are written.
    pub write: fn(f64) -> String,
}

impl<'a> Axis<'a> {
    /// An axis that is as long as the points want it.
    pub(crate) fn of(name: &'a str) -> Axis<'a> {
        Axis { name, range: None, write: format::number }
    }

    /// An axis of shares.
    pub(crate) fn share(name: &'a str) -> Axis<'a> {
        Axis { name, range: Some((0.0, 1.0)), write: format::number }
    }

    fn range(&self, values: impl Iterator<Item = f64>, room: f64, from_zero: bool) -> (f64, f64) {
        let (low, high) = self.range.unwrap_or_else(|| {
            let start = if from_zero { (0.0, 0.0) } else { (f64::INFINITY, f64::NEG_INFINITY) };
            let (low, high) = values.fold(start, |(low, high), v| (low.min(v), high.max(v)));
            let more = (high - low) * room;
            (if from_zero { low } else { low - more }, high + more)
        });
        // plotters wants numbers whose distance is one.
        let middle = (low / 2.0 + high / 2.0).clamp(-1e300, 1e300);
        let (low, high) = (low.clamp(-1e300, 1e300), high.clamp(-1e300, 1e300));
        let least = middle.abs().max(1e-290) * 1e-9;
        if low.is_finite() && high.is_finite() && high - low > least {
            return (low, high);
        }
        let middle = if middle.is_finite() { middle } else { 0.0 };
        let half = if middle == 0.0 { 1.0 } else { middle.abs() * 0.1 };
        (middle - half, middle + half)
    }
}

/// A drawing of series.
///
/// # Errors
/// None that a caller could cause.
pub(crate) fn chart(title: &str, size: (f64, f64), x: &Axis, y: &Axis, series: &[Series]) -> Result<Svg> {
    canvas::draw(title, size, |canvas| {
        let named: Vec<(String, Colour)> =
            series.iter().filter(|s| !s.name.is_empty()).map(|s| (s.name.clone(), s.colour)).collect();
        let top = if named.is_empty() { 10.0 } else { canvas.legend(66.0, &named)? + 2.0 };
        plot(canvas, top, x, y, series)
    })
}

fn plot(canvas: &Canvas, top: f64, x: &Axis, y: &Axis, series: &[Series]) -> Result<()> {
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let all = || series.iter().flat_map(|s| &s.points).filter(finite);
    let bars = series.iter().any(|s| matches!(s.mark, Mark::Bars(_)));
    let (x0, x1) = x.range(all().map(|p| p.0), if bars { 0.0 } else { 0.02 }, false);
    let (y0, y1) = y.range(all().map(|p| p.1), 0.06, bars);
    let mut chart = ChartBuilder::on(&canvas.area)
        .margin_top(fine(top))
        .margin_right(fine(14.0))
        .margin_bottom(fine(4.0))
        .margin_left(fine(4.0))
        .x_label_area_size(fine(38.0))
        .y_label_area_size(fine(62.0))
        .build_cartesian_2d(x0..x1, y0..y1)
        .map_err(failed)?;
    let (write_x, write_y) = (x.write, y.write);
    let (label, name) = (text(10.5, MUTED, Anchor::Middle), text(11.0, MUTED, Anchor::Middle));
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(line(GRID, 1.0, 1.0))
        .axis_style(line(AXIS, 1.0, 1.0))
        .set_all_tick_mark_size(fine(3.0))
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|v| write_x(*v))
        .y_label_formatter(&|v| write_y(*v))
        .label_style(label)
        .axis_desc_style(name)
        .x_desc(x.name)
        .y_desc(y.name)
        .draw()
        .map_err(failed)?;
    for s in series {
        let points = || s.points.iter().filter(finite).copied();
        match s.mark {
            Mark::Line | Mark::LineAndDots => {
                chart.draw_series(LineSeries::new(points(), line(s.colour, 2.0, 1.0))).map_err(failed)?;
            }
            Mark::Dashed => {
                let ends: Vec<(f64, f64)> = points().collect();
                for pair in ends.windows(2) {
                    let at = |t: f64| {
                        (pair[0].0 + (pair[1].0 - pair[0].0) * t, pair[0].1 + (pair[1].1 - pair[0].1) * t)
                    };
                    let dashes = (0..40).step_by(2).map(|i| {
                        let ends = vec![at(f64::from(i) / 40.0), at(f64::from(i + 1) / 40.0)];
                        PathElement::new(ends, line(s.colour, 1.2, 1.0))
                    });
                    chart.draw_series(dashes).map_err(failed)?;
                }
            }
            Mark::Bars(width) => {
                let one = |(x, y): (f64, f64)| {
                    Rectangle::new([(x - width / 2.0, 0.0), (x + width / 2.0, y)], fill(s.colour, 0.75))
                };
                chart.draw_series(points().map(one)).map_err(failed)?;
            }
            Mark::Dots => {}
        }
        if matches!(s.mark, Mark::Dots | Mark::LineAndDots) {
            let (radius, style) =
                if s.mark == Mark::Dots { (2.2, fill(s.colour, 0.45)) } else { (3.2, fill(s.colour, 1.0)) };
            chart.draw_series(points().map(|p| Circle::new(p, fine(radius), style))).map_err(failed)?;
        }
    }
    Ok(())
}

/// A straight line to compare others with.
pub(crate) fn reference(name: &str, from: (f64, f64), to: (f64, f64)) -> Series {
    Series { name: name.into(), points: vec![from, to], colour: palette::AXIS, mark: Mark::Dashed }
}
