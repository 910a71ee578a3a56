//! An SVG to draw on. Lengths are in pixels of the page; plotters counts in whole ones of its own, so it is given
//! [`FINE`] of them for each.

use crate::palette::{self, Colour};
use crate::{Error, Result};
use maud::html;
use plotters::coord::Shift;
use plotters::prelude::{
    Color, DrawingArea, IntoDrawingArea, IntoFont, PathElement, Polygon, Rectangle, SVGBackend, ShapeStyle,
    TextStyle,
};
use plotters::style::FontStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// plotters' pixels in one of the page, along each axis.
const FINE: f64 = 4.0;
/// What plotters divides the size of a font by.
const FONT: f64 = 1.24;
/// The width of a character in those of its height; no font is asked, so it is that of a wide one.
const CHARACTER: f64 = 0.62;

/// plotters' area of a drawing.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Where a text stands about its point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    /// Right of it.
    Left,
    /// About it.
    Middle,
    /// Left of it.
    Right,
}

/// Something to draw on.
pub(crate) struct Canvas<'a> {
    /// plotters' own.
    pub(crate) area: Area<'a>,
    /// Its width.
    pub(crate) width: f64,
}

/// A finished drawing: trusted markup, in which all text of others is escaped.
#[derive(Debug, Clone, PartialEq)]
pub struct Svg {
    inner: String,
    width: f64,
    height: f64,
    title: String,
}

/// plotters' pixels.
pub(crate) fn fine(x: f64) -> i32 {
    (x * FINE).round() as i32
}

/// The style of a text; `size` is that of its letters.
pub(crate) fn text(size: f64, colour: Colour, anchor: Anchor) -> TextStyle<'static> {
    let h = match anchor {
        Anchor::Left => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::Right => HPos::Right,
    };
    let font = ("sans-serif", size * FINE * FONT).into_font();
    font.color(&colour.rgb()).pos(Pos::new(h, VPos::Center))
}

/// As [`text`], bold.
pub(crate) fn bold(size: f64, colour: Colour, anchor: Anchor) -> TextStyle<'static> {
    let mut style = text(size, colour, anchor);
    style.font = style.font.style(FontStyle::Bold);
    style
}

/// A line of a width.
pub(crate) fn line(colour: Colour, width: f64, opacity: f64) -> ShapeStyle {
    ShapeStyle { color: colour.rgb().mix(opacity), filled: false, stroke_width: fine(width).max(1) as u32 }
}

/// A filling.
pub(crate) fn fill(colour: Colour, opacity: f64) -> ShapeStyle {
    ShapeStyle { color: colour.rgb().mix(opacity), filled: true, stroke_width: 0 }
}

/// How wide a text is, about.
pub(crate) fn wide(text: &str, size: f64) -> f64 {
    text.chars().map(one).sum::<f64>() * size
}

/// The width of a character; those of scripts beyond the alphabets are about square.
fn one(c: char) -> f64 {
    if c < '\u{1100}' { CHARACTER } else { 1.05 }
}

/// The beginning of a text, on one line, that is no wider than `room`.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    let line: String = text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if wide(&line, size) <= room {
        return line;
    }
    let mut left = room / size - 1.05;
    let fits = |c: &char| {
        left -= one(*c);
        left >= 0.0
    };
    line.chars().take_while(fits).chain(['…']).collect()
}

/// plotters' errors, of which drawing into memory has none.
pub(crate) fn failed(e: impl std::fmt::Display) -> Error {
    Error::internal(format!("could not draw: {e}"))
}

/// Draws. The title is read by those who do not see the drawing.
///
/// # Errors
/// Those of `draw`.
pub(crate) fn draw(
    title: &str,
    (width, height): (f64, f64),
    draw: impl FnOnce(&Canvas) -> Result<()>,
) -> Result<Svg> {
    let mut svg = String::new();
    let size = (fine(width) as u32, fine(height) as u32);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let canvas = Canvas { area, width };
        draw(&canvas)?;
        canvas.area.present().map_err(failed)?;
    }
    // The outer element is written by [`Svg`], for what it is to be used in.
    let inner =
        svg.split_once('>').map(|parts| parts.1).and_then(|rest| rest.trim_end().strip_suffix("</svg>"));
    let inner = inner.ok_or_else(|| Error::internal("a drawing is not an svg element"))?.to_string();
    Ok(Svg { inner, width, height, title: title.to_string() })
}

impl Canvas<'_> {
    /// Writes.
    pub(crate) fn text(&self, what: &str, at: (f64, f64), style: &TextStyle) -> Result<()> {
        self.area.draw_text(what, style, (fine(at.0), fine(at.1))).map_err(failed)
    }

    /// Draws or fills a rectangle.
    pub(crate) fn rectangle(&self, from: (f64, f64), to: (f64, f64), style: ShapeStyle) -> Result<()> {
        if !style.filled {
            // plotters gives the lines of rectangles no width.
            return self.path(&[from, (to.0, from.1), to, (from.0, to.1), from], style);
        }
        let corners = [(fine(from.0), fine(from.1)), (fine(to.0), fine(to.1))];
        self.area.draw(&Rectangle::new(corners, style)).map_err(failed)
    }

    /// Draws a line along points.
    pub(crate) fn path(&self, points: &[(f64, f64)], style: ShapeStyle) -> Result<()> {
        let points: Vec<(i32, i32)> = points.iter().map(|p| (fine(p.0), fine(p.1))).collect();
        self.area.draw(&PathElement::new(points, style)).map_err(failed)
    }

    /// Fills what lies within points.
    pub(crate) fn polygon(&self, points: &[(f64, f64)], style: ShapeStyle) -> Result<()> {
        let points: Vec<(i32, i32)> = points.iter().map(|p| (fine(p.0), fine(p.1))).collect();
        self.area.draw(&Polygon::new(points, style)).map_err(failed)
    }

    /// A row, or rows, of names with their colours from the upper left corner on. Gives the height that they take.
    pub(crate) fn legend(&self, left: f64, names: &[(String, Colour)]) -> Result<f64> {
        const SIZE: f64 = 11.0;
        let (mut x, mut y) = (left, 10.0);
        for (name, colour) in names {
            let width = 16.0 + wide(name, SIZE) + 12.0;
            if x > left && x + width > self.width {
                (x, y) = (left, y + 16.0);
            }
            self.rectangle((x, y - 4.5), (x + 9.0, y + 4.5), fill(*colour, 0.9))?;
            self.text(name, (x + 14.0, y), &text(SIZE, palette::INK, Anchor::Left))?;
            x += width;
        }
        Ok(y + 12.0)
    }
}

impl Svg {
    fn open(&self, size: &str, style: &str) -> String {
        let title = html! { title { (self.title) } }.into_string();
        // The dark page's colours are found by this class; fonts are the page's.
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"damson\" role=\"img\" viewBox=\"0 0 {} {}\"{size}>{title}{style}",
            fine(self.width),
            fine(self.height)
        )
    }

    /// For a page that has the style sheet.
    pub(crate) fn within_page(&self) -> String {
        let size = format!(" style=\"width:{}px\"", self.width);
        format!("{}{}</svg>", self.open(&size, ""), self.inner)
    }

    /// A file of its own.
    pub fn into_file(self) -> String {
        let size = format!(" width=\"{}\" height=\"{}\"", self.width, self.height);
        let style = format!("<style>{}</style>", palette::style());
        clean(&format!("{}{}</svg>\n", self.open(&size, &style), self.inner))
    }

    /// Its width on the page.
    pub(crate) fn width(&self) -> f64 {
        self.width
    }
}

/// Replaces what neither HTML nor XML may hold, and the characters that change the direction of the text after them.
pub(crate) fn clean(markup: &str) -> String {
    let bad = |c: char| {
        let control = c.is_control() && !matches!(c, '\n' | '\t');
        let direction = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{061C}');
        let none = matches!(c, '\u{FDD0}'..='\u{FDEF}') || (c as u32) & 0xFFFE == 0xFFFE;
        control || direction || none
    };
    markup.chars().map(|c| if bad(c) { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_in_words_and_titles() {
        let hostile = "</text></svg><script>alert('1')</script>&\"";
        let svg = draw(hostile, (100.0, 50.0), |c| {
            c.text(hostile, (5.0, 5.0), &text(11.0, palette::INK, Anchor::Left))
        });
        let file = svg.unwrap().into_file();
        assert!(!file.contains("<script") && !file.contains("&\""));
        assert_eq!(file.matches("</svg>").count(), 1);
        assert_eq!(file.matches("&lt;script&gt;").count(), 2);
    }

    #[test]
    fn texts_fit_their_room() {
        assert_eq!(fit("short", 10.0, 100.0), "short");
        for text in ["a text of some length", "表表表表表表表表表表表表", "a\u{1}b\nc d e f g h i j k l m"]
        {
            let found = fit(text, 10.0, 80.0);
            assert!(wide(&found, 10.0) <= 80.0 && found.ends_with('…') && !found.contains('\n'), "{found}");
        }
    }

    #[test]
    fn what_no_page_may_hold_is_replaced() {
        assert_eq!(
            clean("a\u{1}b\u{202E}c\u{FFFE}\nd\u{10FFFF}\te"),
            "a\u{FFFD}b\u{FFFD}c\u{FFFD}\nd\u{FFFD}\te"
        );
        assert_eq!(clean("schön ☃ 表 🫐"), "schön ☃ 表 🫐");
    }
}
