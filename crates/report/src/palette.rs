//! The colours: each has a value on a light page, which drawings are written in, and one on a dark page.

use plotters::style::RGBColor;
use std::fmt::Write;

/// A colour of drawings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Colour {
    light: u32,
    dark: u32,
}

impl Colour {
    /// As plotters has it.
    pub(crate) fn rgb(self) -> RGBColor {
        let byte = |shift: u32| (self.light >> shift) as u8;
        RGBColor(byte(16), byte(8), byte(0))
    }
}

const fn colour(light: u32, dark: u32) -> Colour {
    Colour { light, dark }
}

/// Text.
pub(crate) const INK: Colour = colour(0x1F2430, 0xE7E6EC);
/// Text of less weight.
pub(crate) const MUTED: Colour = colour(0x6A6F80, 0x9EA3B3);
/// Lines behind the data.
pub(crate) const GRID: Colour = colour(0xE6E4EC, 0x2E2D38);
/// Axes, and lines to compare with.
pub(crate) const AXIS: Colour = colour(0xA9A7B5, 0x62616E);
/// The inside of boxes.
pub(crate) const BOX: Colour = colour(0xF6F3F9, 0x24222C);
/// What has drifted, and other things to look at.
pub(crate) const ALERT: Colour = colour(0xC2413B, 0xF08A80);
/// Data, one after the other.
pub(crate) const SERIES: [Colour; 8] = [
    colour(0x7A4B93, 0xBE97D6),
    colour(0xD9822B, 0xEFAA63),
    colour(0x2B8A8A, 0x62C2BE),
    colour(0x4A74C9, 0x8FAEF2),
    colour(0xB8486B, 0xE88CA8),
    colour(0x6B8E23, 0xACCB63),
    colour(0x8C6D46, 0xCBAD84),
    colour(0x64748B, 0xA3B3C8),
];

/// The colour of series `i`.
pub(crate) fn series(i: usize) -> Colour {
    SERIES[i % SERIES.len()]
}

/// A style sheet for drawings: the colours of the dark page, where the reader wants it.
pub(crate) fn style() -> String {
    let mut css = String::from("@media (prefers-color-scheme:dark){");
    for Colour { light, dark } in [INK, MUTED, GRID, AXIS, BOX, ALERT].into_iter().chain(SERIES) {
        // plotters writes colours as attributes, in capitals.
        let _ = write!(
            css,
            ".damson [fill=\"#{light:06X}\"]{{fill:#{dark:06x}}}.damson [stroke=\"#{light:06X}\"]{{stroke:#{dark:06x}}}"
        );
    }
    css.push('}');
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_colour_has_its_dark_one() {
        let css = style();
        assert_eq!(css.matches("[fill=").count(), 14);
        assert!(css.contains(".damson [fill=\"#1F2430\"]{fill:#e7e6ec}"));
        let mut all: Vec<u32> =
            [INK, MUTED, GRID, AXIS, BOX, ALERT].iter().chain(&SERIES).map(|c| c.light).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 14, "two colours are the same on the light page");
    }
}
