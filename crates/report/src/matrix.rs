//! The confusion matrix.

use crate::canvas::{self, Anchor, Svg, bold, fill, line, text};
use crate::palette::{GRID, INK, MUTED, series};
use crate::{Result, format};
use engine::evaluation::figures::Confusion;

/// Rows by true and decided class; a cell is the stronger the larger its share of its true class.
///
/// # Errors
/// None that a caller could cause.
pub(crate) fn confusion(title: &str, matrix: &Confusion) -> Result<Svg> {
    let side = matrix.side().max(1);
    let mut labels: Vec<String> = matrix.labels.clone();
    if matrix.others > 0 {
        labels.push(format!("{} others", matrix.others));
    }
    let room = if side > 6 { 90.0 } else { 130.0 };
    let labels: Vec<String> = labels.iter().map(|l| canvas::fit(l, 11.0, room)).collect();
    let widest = labels.iter().map(|l| canvas::wide(l, 11.0)).fold(30.0, f64::max);
    let cell = match side {
        0..=2 => 110.0,
        3..=4 => 84.0,
        5..=8 => 58.0,
        9..=12 => 44.0,
        _ => 34.0,
    };
    let size = if side > 8 { 9.0 } else { 12.0 };
    let slim = if side <= 4 {
        cell * 0.62
    } else if side <= 8 {
        cell * 0.75
    } else {
        cell * 0.8
    };
    // Labels stand where they fit above their columns, and lie where they do not.
    let standing = widest > cell - 8.0;
    let (left, top) = (widest + 34.0, if standing { widest + 34.0 } else { 44.0 });
    let (width, height) = (left + cell * side as f64 + 8.0, top + slim * side as f64 + 8.0);
    canvas::draw(title, (width, height), |c| {
        let name = text(11.0, MUTED, Anchor::Middle);
        c.text("decided", (left + cell * side as f64 / 2.0, 9.0), &name)?;
        let turned = name.transform(plotters::style::FontTransform::Rotate270);
        c.text("true", (9.0, top + slim * side as f64 / 2.0), &turned)?;
        for (i, label) in labels.iter().enumerate() {
            let x = left + cell * (i as f64 + 0.5);
            if standing {
                let style =
                    text(11.0, INK, Anchor::Left).transform(plotters::style::FontTransform::Rotate270);
                c.text(label, (x, top - 7.0), &style)?;
            } else {
                c.text(label, (x, top - 12.0), &text(11.0, INK, Anchor::Middle))?;
            }
            let y = top + slim * (i as f64 + 0.5);
            c.text(label, (left - 8.0, y), &text(11.0, INK, Anchor::Right))?;
        }
        for row in 0..side {
            let cells = &matrix.cells[row * side..(row + 1) * side];
            let total: u64 = cells.iter().sum();
            for (column, rows) in cells.iter().enumerate() {
                let share = if total > 0 { *rows as f64 / total as f64 } else { 0.0 };
                let (x, y) = (left + cell * column as f64, top + slim * row as f64);
                let ends = ((x + 1.0, y + 1.0), (x + cell - 1.0, y + slim - 1.0));
                c.rectangle(ends.0, ends.1, line(GRID, 1.0, 1.0))?;
                // What is wrong is of another colour than what is right.
                let colour = series(usize::from(row != column));
                if *rows > 0 {
                    c.rectangle(ends.0, ends.1, fill(colour, 0.06 + 0.5 * share))?;
                }
                let (x, y) = (x + cell / 2.0, y + slim / 2.0);
                if side <= 4 {
                    c.text(&format::whole(*rows as i64), (x, y - 8.0), &bold(15.0, INK, Anchor::Middle))?;
                    c.text(&format::percent(share), (x, y + 11.0), &text(11.0, INK, Anchor::Middle))?;
                } else if *rows > 0 {
                    c.text(&brief(*rows), (x, y), &text(size, INK, Anchor::Middle))?;
                }
            }
        }
        Ok(())
    })
}

/// A count in four characters or so.
fn brief(rows: u64) -> String {
    match rows {
        0..10_000 => rows.to_string(),
        10_000..1_000_000 => format!("{}k", rows / 1000),
        _ => format!("{}M", rows / 1_000_000),
    }
}
