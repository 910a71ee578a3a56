//! Lying bars with their labels, and distributions then and now.

use crate::Result;
use crate::canvas::{self, Anchor, Svg, fill, line, text};
use crate::palette::{AXIS, Colour, GRID, INK, MUTED, series};

/// A label with a value a side.
pub(crate) struct Bar {
    /// What it is of.
    pub label: String,
    /// Its length by side, 0 or more.
    pub values: Vec<f64>,
    /// What is written at its end, by side.
    pub notes: Vec<String>,
}

/// Bars from the top down, those of a label beneath each other.
///
/// # Errors
/// None that a caller could cause.
pub(crate) fn lying(title: &str, width: f64, legend: &[(String, Colour)], bars: &[Bar]) -> Result<Svg> {
    const SIZE: f64 = 11.0;
    let sides = bars.iter().map(|b| b.values.len()).max().unwrap_or(1).max(1);
    let (thick, noted) = if sides == 1 { (13.0, 10.0) } else { (10.5, 9.0) };
    let step = thick * sides as f64 + 7.0;
    let top = if legend.is_empty() { 6.0 } else { 28.0 };
    let height = top + step * bars.len() as f64 + 6.0;
    let labels: Vec<String> = bars.iter().map(|b| canvas::fit(&b.label, SIZE, width * 0.42)).collect();
    let left = labels.iter().map(|l| canvas::wide(l, SIZE)).fold(40.0, f64::max) + 10.0;
    let right = bars.iter().flat_map(|b| &b.notes).map(|n| canvas::wide(n, 10.0)).fold(20.0, f64::max) + 12.0;
    let longest = bars.iter().flat_map(|b| &b.values).copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    canvas::draw(title, (width, height), |c| {
        if !legend.is_empty() {
            c.legend(left, legend)?;
        }
        c.path(&[(left, top), (left, height - 4.0)], line(AXIS, 1.0, 1.0))?;
        for (i, (bar, label)) in bars.iter().zip(&labels).enumerate() {
            let y = top + step * i as f64 + 3.5;
            let middle = y + thick * sides as f64 / 2.0;
            c.text(label, (left - 7.0, middle), &text(SIZE, INK, Anchor::Right))?;
            for (side, value) in bar.values.iter().enumerate() {
                let share = if longest > 0.0 && value.is_finite() { value.max(0.0) / longest } else { 0.0 };
                let end = left + (width - left - right) * share;
                let y = y + thick * side as f64;
                c.rectangle((left, y), (end, y + thick - 1.0), fill(series(side), 0.85))?;
                if let Some(note) = bar.notes.get(side) {
                    c.text(note, (end + 5.0, y + thick / 2.0), &text(noted, MUTED, Anchor::Left))?;
                }
            }
        }
        Ok(())
    })
}

/// A distribution of numbers, or two over each other, with the ends of the axis written below.
///
/// # Errors
/// None that a caller could cause.
pub(crate) fn ranges(
    title: &str,
    (width, height): (f64, f64),
    edges: &[f64],
    shares: &[Vec<f64>],
    write: fn(f64) -> String,
) -> Result<Svg> {
    let highest = shares.iter().flatten().copied().fold(0.0, f64::max).max(1e-9);
    let (left, right, top, bottom) = (6.0, width - 6.0, 6.0, height - 20.0);
    canvas::draw(title, (width, height), |c| {
        for part in [0.5, 1.0] {
            let y = bottom - (bottom - top) * part;
            c.path(&[(left, y), (right, y)], line(GRID, 1.0, 1.0))?;
        }
        let bars = edges.len().saturating_sub(1).max(1);
        let step = (right - left) / bars as f64;
        let sides = shares.len();
        for (side, shares) in shares.iter().enumerate() {
            let opacity = if sides == 1 { 0.85 } else { 0.5 };
            for (i, share) in shares.iter().enumerate().filter(|s| *s.1 > 0.0) {
                let x = left + step * i as f64;
                let y = bottom - (bottom - top) * share / highest;
                c.rectangle((x, y), (x + step - 0.75, bottom), fill(series(side), opacity))?;
            }
            // The outline of the later side is seen where bars lie over each other.
            if side > 0 {
                let mut outline = vec![(left, bottom)];
                for (i, share) in shares.iter().enumerate() {
                    let y = bottom - (bottom - top) * share / highest;
                    outline.extend([(left + step * i as f64, y), (left + step * (i + 1) as f64, y)]);
                }
                outline.push((right, bottom));
                c.path(&outline, line(series(side), 1.5, 1.0))?;
            }
        }
        c.path(&[(left, bottom), (right, bottom)], line(AXIS, 1.0, 1.0))?;
        let label = |at: usize| edges.get(at).map_or(String::new(), |e| write(*e));
        let y = height - 9.0;
        c.text(&label(0), (left, y), &text(10.0, MUTED, Anchor::Left))?;
        c.text(&label(bars), (right, y), &text(10.0, MUTED, Anchor::Right))?;
        let middle = label(bars / 2);
        let room = right - left - canvas::wide(&label(0), 10.0) - canvas::wide(&label(bars), 10.0);
        if room > canvas::wide(&middle, 10.0) + 30.0 {
            c.text(&middle, ((left + right) / 2.0, y), &text(10.0, MUTED, Anchor::Middle))?;
        }
        Ok(())
    })
}
